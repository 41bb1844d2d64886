//! An assembler of pickles, and the containers of PyTorch around them.

use crate::fuzz_seeds::targets::pickle::zip;

/// A text.
pub fn text(text: &str) -> Vec<u8> {
    [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
}

/// A number.
pub fn int(number: i64) -> Vec<u8> {
    [&[0x8a, 8][..], &number.to_le_bytes()].concat()
}

/// A function or class.
pub fn global(module: &str, name: &str) -> Vec<u8> {
    format!("c{module}\n{name}\n").into_bytes()
}

pub fn tuple(items: &[Vec<u8>]) -> Vec<u8> {
    [b"(", &items.concat()[..], b"t"].concat()
}

pub fn ints(numbers: &[i64]) -> Vec<u8> {
    tuple(&numbers.iter().map(|&number| int(number)).collect::<Vec<_>>())
}

pub fn dict(items: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let items: Vec<Vec<u8>> = items.iter().map(|(key, value)| [text(key), value.clone()].concat()).collect();
    [b"}(", &items.concat()[..], b"u"].concat()
}

/// A call of a function.
pub fn call(function: Vec<u8>, arguments: &[Vec<u8>]) -> Vec<u8> {
    [function, tuple(arguments), b"R".to_vec()].concat()
}

/// A reference to a storage; `kind` is `Float` and so on.
pub fn storage(kind: &str, key: &str, count: i64) -> Vec<u8> {
    let class = global("torch", &format!("{kind}Storage"));
    [tuple(&[text("storage"), class, text(key), text("cpu"), int(count)]), b"Q".to_vec()].concat()
}

/// A tensor that is a view of a storage.
pub fn tensor(storage: Vec<u8>, offset: i64, shape: &[i64], strides: &[i64]) -> Vec<u8> {
    let arguments = [storage, int(offset), ints(shape), ints(strides), vec![0x89], b"N".to_vec()];
    call(global("torch._utils", "_rebuild_tensor_v2"), &arguments)
}

/// A pickle of one value.
pub fn pickle(value: &[u8]) -> Vec<u8> {
    [&[0x80, 2], value, b"."].concat()
}

/// A checkpoint in a zip file, with these storages.
pub fn archive(pickle: &[u8], storages: &[(&str, &[u8])]) -> Vec<u8> {
    let names: Vec<String> = storages.iter().map(|(key, _)| format!("a/data/{key}")).collect();
    let storages = names.iter().zip(storages).map(|(name, (_, content))| (name.as_str(), *content));
    zip(&[("a/data.pkl", pickle)].into_iter().chain(storages).collect::<Vec<_>>())
}

/// A checkpoint in the older container. Each storage has the number of its values, and their bytes.
pub fn legacy(object: &[u8], storages: &[(&str, i64, &[u8])]) -> Vec<u8> {
    let magic = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.".to_vec();
    let facts = pickle(&dict(&[("protocol_version", int(1001)), ("little_endian", vec![0x88])]));
    let keys: Vec<Vec<u8>> = storages.iter().map(|(key, ..)| text(key)).collect();
    let keys = pickle(&[b"](", &keys.concat()[..], b"e"].concat());
    let contents = storages.iter().map(|(_, count, bytes)| [&count.to_le_bytes(), *bytes].concat());
    [magic, pickle(&int(1001)), facts, object.to_vec(), keys, contents.collect::<Vec<_>>().concat()].concat()
}

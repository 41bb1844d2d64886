//! The container of PyTorch before 1.6: five pickles, then the storages.
//!
//! The pickles are a magic number, a version, facts about the machine, the object, and the keys of the storages. Each
//! storage is the number of its values in eight bytes, then the values.

use std::collections::{BTreeSet, HashMap};
use std::io::{BufRead, Read, Seek, SeekFrom};
use std::ops::Range;

use crate::checkpoint::table::{Table, TableError};

use super::globals::Global;
use super::machine::Machine;
use super::objects::{Id, Object, Objects};
use super::tensors;

const VERSION: i64 = 1001;

/// Reads the tensors of a file of `len` bytes, and the globals that its pickles name.
pub fn read(
    file: impl BufRead + Seek,
    len: u64,
    globals: &mut BTreeSet<Global>,
) -> Result<Table, TableError> {
    let mut machine = Machine::new(file, globals);
    let magic = machine.load()?;
    if !matches!(machine.objects[magic], Object::Magic) {
        return Err(invalid("it is a pickle, but PyTorch did not write it"));
    }
    let version = machine.load()?;
    if machine.objects.int(version) != Some(VERSION) {
        return Err(invalid("it has an unknown version of PyTorch's format"));
    }
    let facts = machine.load()?;
    if is_big_endian(&machine.objects, facts) {
        return Err(invalid("its numbers are big-endian; save it on a little-endian machine"));
    }
    let root = machine.load()?;
    let keys = machine.load()?;
    let (file, objects) = machine.finish();
    let storages = storages(file, len, &objects, keys)?;
    tensors::table(&objects, root, &storages, len)
}

fn is_big_endian(objects: &Objects, facts: Id) -> bool {
    let Object::Dict(facts) = &objects[facts] else { return false };
    let is = |&(key, value): &(Id, Id)| {
        objects.text(key) == Some("little_endian") && matches!(objects[value], Object::Bool(false))
    };
    facts.iter().any(is)
}

/// The bytes of each storage. They follow each other in the order of `keys`.
fn storages(
    mut file: impl Read + Seek,
    len: u64,
    objects: &Objects,
    keys: Id,
) -> Result<HashMap<String, Range<u64>>, TableError> {
    let Object::List(keys) = &objects[keys] else { return Err(invalid("it has no list of storages")) };
    let sizes: HashMap<&str, u64> = objects
        .iter()
        .filter_map(|object| if let Object::Storage(storage) = object { Some(storage) } else { None })
        .filter_map(|storage| Some((objects.text(storage.key)?, storage.dtype.bitsize() as u64 / 8)))
        .collect();
    let mut found = HashMap::new();
    let mut start = file.stream_position().map_err(TableError::Read)?;
    for &key in keys {
        let key = objects.text(key).unwrap_or_default();
        let Some(size) = sizes.get(key) else {
            return Err(invalid(&format!("storage `{key}` has values of an unknown type")));
        };
        let mut count = [0; 8];
        let beyond =
            || invalid(&format!("storage `{key}` is cut off; the file may be incomplete, download it again"));
        file.seek(SeekFrom::Start(start)).map_err(TableError::Read)?;
        file.read_exact(&mut count).map_err(|_| beyond())?;
        let bytes = u64::from_le_bytes(count).checked_mul(*size);
        let end = bytes.and_then(|bytes| (start + 8).checked_add(bytes)).filter(|&end| end <= len);
        let range = start + 8..end.ok_or_else(beyond)?;
        start = range.end;
        if found.insert(key.to_string(), range).is_some() {
            return Err(invalid(&format!("it has storage `{key}` twice")));
        }
    }
    Ok(found)
}

fn invalid(reason: &str) -> TableError {
    TableError::Invalid(reason.into())
}

//! From the values of a pickle to the table of its tensors.

use std::collections::HashMap;
use std::ops::Range;

use crate::checkpoint::table::{Stored, Table, TableError};

use super::objects::{Id, Object, Objects, Tensor};

/// How often a dict may be inside of another before the state dict is reached.
const MAX_NESTING: usize = 8;
/// As many dimensions as a tensor may have.
const MAX_DIMENSIONS: usize = 8;
/// As many tensors as a file may have. A whole checkpoint has some thousands.
const MAX_TENSORS: usize = 100_000;

/// The tensors of the state dict in `root`. `storages` has the bytes of each storage in a file of `len` bytes.
pub fn table(
    objects: &Objects,
    root: Id,
    storages: &HashMap<String, Range<u64>>,
    len: u64,
) -> Result<Table, TableError> {
    let mut table = Table::default();
    let mut copied = 0u64;
    for &(key, value) in state_dict(objects, root)? {
        let (Some(name), Object::Tensor(tensor)) = (objects.text(key), &objects[value]) else { continue };
        let stored = stored(objects, tensor, storages)
            .map_err(|reason| TableError::Invalid(format!("tensor `{name}`: {reason}")))?;
        // Views may overlap. All copies together are limited, so that a small file does not need much memory.
        copied = copied.saturating_add(stored.copied() as u64);
        if copied > len {
            let reason = format!("tensor `{name}`: its views have more values than the file");
            return Err(TableError::Invalid(reason));
        }
        table.tensors.insert(name.to_string(), stored);
        if table.tensors.len() > MAX_TENSORS {
            return Err(TableError::Invalid(format!("it has more than {MAX_TENSORS} tensors")));
        }
    }
    match table.tensors.is_empty() {
        true => Err(TableError::Invalid(without_tensors(objects, root))),
        false => Ok(table),
    }
}

/// Says that there are no tensors with names, or in which inner dicts they are, if there are several.
fn without_tensors(objects: &Objects, root: Id) -> String {
    let holds_tensors = |id: Id| match &objects[id] {
        Object::Dict(items) => items.iter().any(|(_, value)| matches!(objects[*value], Object::Tensor(_))),
        _ => false,
    };
    let items = state_dict(objects, root).unwrap_or_default();
    let dicts = items.iter().filter(|(_, value)| holds_tensors(*value));
    let names: Vec<_> =
        dicts.filter_map(|(key, _)| objects.text(*key)).take(4).map(|key| format!("`{key}`")).collect();
    match names.is_empty() {
        true => "it holds no tensors with names; save the model's state dict".into(),
        false => format!("it holds several dicts of tensors ({}); save one of them alone", names.join(", ")),
    }
}

/// The dict with the tensors: `root`, or the one that it has as `state_dict`, as `model`, or as its only value, and so on.
fn state_dict(objects: &Objects, root: Id) -> Result<&[(Id, Id)], TableError> {
    let dict = |id: Id| if let Object::Dict(items) = &objects[id] { Some(items.as_slice()) } else { None };
    let no_dict =
        || TableError::Invalid("it does not hold a dict of tensors; save the model's state dict".into());
    let mut items = dict(root).ok_or_else(no_dict)?;
    for _ in 0..=MAX_NESTING {
        let named = |name| {
            let found = items.iter().rev().find(|(key, _)| objects.text(*key) == Some(name));
            found.and_then(|(_, value)| dict(*value))
        };
        let only = || if let [(_, value)] = items { dict(*value) } else { None };
        match named("state_dict").or_else(|| named("model")).or_else(only) {
            Some(inner) => items = inner,
            None => return Ok(items),
        }
    }
    Err(TableError::Invalid(format!("its state dict is inside of more than {MAX_NESTING} other dicts")))
}

fn stored(
    objects: &Objects,
    tensor: &Tensor,
    storages: &HashMap<String, Range<u64>>,
) -> Result<Stored, String> {
    let Tensor { storage, offset, shape, strides } = *tensor;
    let key = objects.text(storage.key).unwrap_or_default();
    let Some(bytes) = storages.get(key) else { return Err(format!("the file has no storage `{key}`")) };
    let (dtype, count, found) = (storage.dtype, storage.count, bytes.end - bytes.start);
    let size = dtype.bitsize() as u64 / 8;
    if u64::try_from(count).ok().and_then(|count| count.checked_mul(size)) != Some(found) {
        return Err(format!(
            "storage `{key}` must have {count} values of {size} bytes, and has {found} bytes"
        ));
    }
    let number = |id| objects.int(id).and_then(|number| usize::try_from(number).ok());
    let list = |id| match &objects[id] {
        Object::Tuple(items) if items.len() <= MAX_DIMENSIONS => {
            items.iter().map(|&item| number(item)).collect::<Option<Vec<usize>>>()
        }
        _ => None,
    };
    match (list(shape), list(strides), number(offset)) {
        (Some(shape), Some(strides), Some(offset)) if shape.len() == strides.len() => {
            let bytes = bytes.start as usize..bytes.end as usize;
            Stored::view(dtype, shape, bytes, offset, strides)
        }
        _ => Err(format!(
            "shape, strides and offset must be numbers that are not negative, for at most {MAX_DIMENSIONS} dimensions"
        )),
    }
}

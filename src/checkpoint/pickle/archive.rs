//! The container of PyTorch since 1.6: a zip file whose members are stored without compression.
//!
//! `NAME/data.pkl` is the pickle and `NAME/data/KEY` are the storages.

use std::cell::Cell;
use std::collections::{BTreeSet, HashMap};
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;

use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive};

use crate::checkpoint::table::{Table, TableError};

use super::globals::Global;
use super::input::MAX_BYTES;
use super::machine::Machine;
use super::tensors;

/// The most bytes of the zip file's own tables. A member takes about 200.
const MAX_TABLES: u64 = 16 << 20;

/// Reads the tensors of a file of `len` bytes, and the globals that its pickle names.
pub fn read(file: impl Read + Seek, len: u64, globals: &mut BTreeSet<Global>) -> Result<Table, TableError> {
    let left = Cell::new(MAX_TABLES);
    let mut zip = ZipArchive::new(Limited { file, left: &left }).map_err(error)?;
    if zip.has_duplicate_names() || zip.has_overlapping_entries().map_err(error)? {
        return invalid("its zip members have the same name or the same bytes");
    }
    let members = members(&mut zip)?;
    let mut pickles = members.keys().filter_map(|name| name.strip_suffix("/data.pkl"));
    let (Some(folder), None) = (pickles.next(), pickles.next()) else {
        return invalid("it is a zip file, but not with one `data.pkl`, as PyTorch writes it");
    };
    let mut contents = |name: &str, most: u64| -> Result<Option<Vec<u8>>, TableError> {
        let Some((index, range)) = members.get(name) else { return Ok(None) };
        if range.end - range.start > most {
            return Err(TableError::Invalid(format!("`{name}` has more than {most} bytes")));
        }
        left.set(left.get() + range.end - range.start);
        let mut bytes = Vec::new();
        zip.by_index(*index).map_err(error)?.read_to_end(&mut bytes).map_err(|e| error(e.into()))?;
        Ok(Some(bytes))
    };
    if contents(&format!("{folder}/byteorder"), 64)?.is_some_and(|order| order.trim_ascii() != b"little") {
        return invalid("its numbers are big-endian; save it on a little-endian machine");
    }
    let pickle = contents(&format!("{folder}/data.pkl"), MAX_BYTES)?.unwrap_or_default();
    let mut machine = Machine::new(pickle.as_slice(), globals);
    let root = machine.load()?;
    let prefix = format!("{folder}/data/");
    let key = |name: &str| name.strip_prefix(&prefix).map(str::to_string);
    let storages =
        members.iter().filter_map(|(name, (_, range))| Some((key(name)?, range.clone()))).collect();
    tensors::table(&machine.finish().1, root, &storages, len)
}

/// The index and the bytes of each member. [`ZipArchive::has_overlapping_entries`] has checked that they are in the file.
fn members(
    zip: &mut ZipArchive<Limited<impl Read + Seek>>,
) -> Result<HashMap<String, (usize, Range<u64>)>, TableError> {
    let mut members = HashMap::new();
    for index in 0..zip.len() {
        let member = zip.by_index_raw(index).map_err(error)?;
        let name = String::from_utf8_lossy(member.name_raw()).into_owned();
        let is_stored = member.compression() == CompressionMethod::Stored && !member.encrypted();
        let range = member.data_start().map(|start| start..start + member.size());
        match range.filter(|_| is_stored && member.size() == member.compressed_size()) {
            Some(range) => members.insert(name, (index, range)),
            None => {
                let reason =
                    format!("its zip member `{name}` is compressed or encrypted; save it with torch.save");
                return Err(TableError::Invalid(reason));
            }
        };
    }
    Ok(members)
}

/// A file of which only some bytes can be read. The tables of a zip file take several times their size in memory.
struct Limited<'a, F> {
    file: F,
    left: &'a Cell<u64>,
}

impl<F: Read> Read for Limited<'_, F> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(bytes)?;
        let left = self.left.get().checked_sub(count as u64);
        self.left
            .set(left.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it has too many members"))?);
        Ok(count)
    }
}

impl<F: Seek> Seek for Limited<'_, F> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

/// Errors of the file itself are those that its content cannot cause.
fn error(error: ZipError) -> TableError {
    use io::ErrorKind::{InvalidData, InvalidInput, Other, UnexpectedEof};
    match error {
        ZipError::Io(e) if !matches!(e.kind(), InvalidData | InvalidInput | Other | UnexpectedEof) => {
            TableError::Read(e)
        }
        other => TableError::Invalid(format!(
            "its zip file is damaged: {other}; it may be incomplete, download it again"
        )),
    }
}

fn invalid<T>(reason: &str) -> Result<T, TableError> {
    Err(TableError::Invalid(reason.into()))
}

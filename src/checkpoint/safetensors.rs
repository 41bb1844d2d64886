//! The header of a safetensors file.

use std::io::Read;

use safetensors::SafeTensorError;
use safetensors::tensor::Metadata;

use crate::safetensors_header::{MAX_HEADER, parse};

use super::table::{Table, TableError};

/// The longest header that the format allows, in bytes. Not all of them are read.
const MAX_OF_FORMAT: u64 = 100_000_000;

/// Whether a file starts like safetensors: with the length of the header in eight bytes, then the header, which is JSON.
///
/// This must be checked before other formats, because a length can look like their first bytes: 19778 reads `BM`, the start
/// of a BMP file.
pub fn is_safetensors(bytes: &[u8]) -> bool {
    let length = bytes.first_chunk().map(|length| u64::from_le_bytes(*length));
    length.is_some_and(|length| length <= MAX_OF_FORMAT) && bytes.get(8) == Some(&b'{')
}

/// Reads and checks the header of a file of `len` bytes.
pub(super) fn read(file: &mut impl Read, len: u64) -> Result<Table, TableError> {
    let (header, start) = read_header(file, len)?;
    Ok(Table::of_header(&header, start))
}

/// Returns also where the tensors' data start.
fn read_header(file: &mut impl Read, len: u64) -> Result<(Metadata, usize), TableError> {
    const LENGTH: u64 = size_of::<u64>() as u64;
    let invalid = |e: SafeTensorError| TableError::Invalid(e.to_string());
    let mut length = [0; LENGTH as usize];
    if len < LENGTH {
        return Err(invalid(SafeTensorError::HeaderTooSmall));
    }
    file.read_exact(&mut length).map_err(TableError::Read)?;
    let length = u64::from_le_bytes(length);
    if length > MAX_HEADER {
        return Err(invalid(SafeTensorError::HeaderTooLarge));
    }
    let start = LENGTH + length;
    if start > len {
        return Err(invalid(SafeTensorError::InvalidHeaderLength));
    }
    let mut text = vec![0; length as usize];
    file.read_exact(&mut text).map_err(TableError::Read)?;
    let header = parse(&text).map_err(invalid)?;
    match start.checked_add(header.data_len() as u64) {
        Some(end) if end == len => Ok((header, start as usize)),
        _ => Err(invalid(SafeTensorError::MetadataIncompleteBuffer)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data: usize) -> Vec<u8> {
        [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &vec![0; data]].concat()
    }

    const HEADER: &str = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;

    #[test]
    fn a_header_is_read_as_safetensors_reads_it() {
        let right = file(HEADER, 8);
        let (header, start) = read_header(&mut right.as_slice(), right.len() as u64).expect("a header");
        assert_eq!((header.info("a").map(|a| a.shape.clone()), start), (Some(vec![2]), 8 + HEADER.len()));
        let gap = HEADER.replace("[0,8]", "[8,16]");
        let huge = HEADER.replace("[2]", "[4611686018427387904,4]");
        let too_long = [&100_000_001u64.to_le_bytes()[..], &[0; 100]].concat();
        for wrong in [
            Vec::new(),
            right[..7].to_vec(),
            right[..20].to_vec(),
            right[..right.len() - 1].to_vec(),
            [&right[..], b"x"].concat(),
            file("{", 0),
            file("[]", 0),
            file("\u{ff}", 0),
            file(&gap, 16),
            file(&huge, 8),
            too_long,
        ] {
            let ours = read_header(&mut wrong.as_slice(), wrong.len() as u64);
            assert!(ours.is_err() && safetensors::SafeTensors::read_metadata(&wrong).is_err());
        }
    }
}

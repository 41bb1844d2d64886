//! Reads an input within limits, because a device or a pipe may never end.

use std::io::{self, Read};

use anyhow::{Result, bail};

use vae::checkpoint::safetensors::is_safetensors;
use vae::picture::MAX_PIXELS;

/// The largest picture file in bytes: a picture with the most pixels, of four channels in 32-bit floats, without
/// compression, and as much again for metadata.
const MAX_PICTURE: u64 = MAX_PIXELS * 16 * 2;

/// How much is read of other content: enough for every small file that is recognized by more than its first bytes.
const MAX_OTHER: u64 = 64 << 20;

/// Free bytes after the content, so that one read finds its end.
const SPARE: usize = 64;

/// The first bytes, by which a picture or a safetensors file is recognized.
const START: u64 = 64;

/// Reads a picture, latents, or the start of anything else. Latents end where their header says.
///
/// `expected` is the number of bytes, as far as it is known. It saves many small reads, and has no effect on the result.
///
/// # Errors
/// If reading fails, or if a picture does not end within the limit.
pub fn read(mut input: impl Read, expected: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(expected.min(MAX_OTHER) as usize + SPARE);
    read_up_to(&mut input, START, &mut bytes)?;
    if is_safetensors(&bytes) {
        let header = bytes.first_chunk().map_or(0, |length| u64::from_le_bytes(*length));
        read_up_to(&mut input, 8 + header, &mut bytes)?;
        // One byte more, so that a file that is too long is not taken for a complete one.
        let end = (8 + header).saturating_add(data_length(bytes.get(8..).unwrap_or_default()));
        read_up_to(&mut input, end.saturating_add(1), &mut bytes)?;
    } else if image::guess_format(&bytes).is_ok() {
        read_up_to(&mut input, MAX_PICTURE + 1, &mut bytes)?;
        if bytes.len() as u64 > MAX_PICTURE {
            bail!("larger than {} GB, which no picture is", MAX_PICTURE / 1_000_000_000);
        }
    } else {
        read_up_to(&mut input, MAX_OTHER, &mut bytes)?;
    }
    Ok(bytes)
}

/// Reads until there are `end` bytes in all, or until the input ends.
fn read_up_to(input: &mut impl Read, end: u64, bytes: &mut Vec<u8>) -> io::Result<()> {
    let more = end.saturating_sub(bytes.len() as u64);
    input.take(more).read_to_end(bytes).map(drop)
}

/// Returns the end of the last tensor in the header of a safetensors file; 0 if the header is damaged.
fn data_length(header: &[u8]) -> u64 {
    let header: serde_json::Map<_, _> = serde_json::from_slice(header).unwrap_or_default();
    let ends = header.values().filter_map(|tensor| tensor.get("data_offsets")?.get(1)?.as_u64());
    ends.max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a safetensors file with `length` bytes of data.
    fn latents(length: usize) -> Vec<u8> {
        let header =
            format!(r#"{{"latents": {{"dtype":"U8","shape":[{length}],"data_offsets":[0,{length}]}}}}"#);
        [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &vec![7; length]].concat()
    }

    #[test]
    fn a_file_is_read_to_its_end() {
        for file in [vae::picture::SAMPLE_PNG.to_vec(), latents(1000), latents(0), b"text".to_vec(), vec![]] {
            assert_eq!(read(file.as_slice(), 7).expect("reads"), file);
            assert_eq!(
                read(&file[..file.len() / 2], file.len() as u64).expect("reads"),
                &file[..file.len() / 2]
            );
        }
    }

    #[test]
    fn an_endless_input_is_not_read_for_ever() {
        let endless = read(io::repeat(b'y'), 0).expect("reads");
        assert_eq!(endless.len() as u64, MAX_OTHER);
        let file = latents(1000);
        let endless = read(file.as_slice().chain(io::repeat(0)), 0).expect("reads");
        assert_eq!(endless.len(), file.len() + 1);
    }
}

//! Reads an input within limits, because a device or a pipe may never end.

use std::io::{self, Read};

use anyhow::{Result, bail};

use vae::checkpoint::safetensors::is_safetensors;
use vae::latents::Header;
use vae::picture::MAX_PIXELS;

use super::memory::check_bytes;

/// The largest picture file in bytes: a picture with the most pixels, of four channels in 32-bit floats, without
/// compression, and as much again for metadata.
const MAX_PICTURE: u64 = MAX_PIXELS * 16 * 2;

/// How much is read of other content: enough for every small file that is recognized by more than its first bytes.
const MAX_OTHER: u64 = 64 << 20;

/// How much is read at first of a picture whose length is not known.
const FIRST: u64 = 1 << 20;

/// Free bytes after the content, so that one read finds its end.
const SPARE: usize = 64;

/// The first bytes, by which a picture or a safetensors file is recognized.
const START: u64 = 64;

/// What is read as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// A picture. Of a safetensors file, only the start is read.
    Picture,
    /// A picture or latents.
    Any,
}

/// Reads a picture, latents, or the start of anything else. Latents end where their header says.
///
/// `expected` is the number of bytes, as far as it is known. It saves many small reads, and has no effect on the result.
///
/// # Errors
/// If reading fails, if a picture does not end within the limit, or if there is not enough memory.
pub fn read(mut input: impl Read, expected: u64, wanted: Wanted) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(expected.min(MAX_OTHER) as usize + SPARE);
    read_up_to(&mut input, START, &mut bytes)?;
    if is_safetensors(&bytes) {
        if wanted == Wanted::Any {
            read_latents(&mut input, &mut bytes)?;
        }
    } else if image::guess_format(&bytes).is_ok() {
        read_picture(&mut input, expected, &mut bytes)?;
    } else {
        read_up_to(&mut input, MAX_OTHER, &mut bytes)?;
    }
    Ok(bytes)
}

/// Reads the rest of a picture. A pipe has no known length, so its memory is checked each time that the content doubles.
fn read_picture(input: &mut impl Read, expected: u64, bytes: &mut Vec<u8>) -> Result<()> {
    let mut end = if expected > 0 { expected } else { FIRST };
    loop {
        end = end.min(MAX_PICTURE) + 1; // one byte more, to notice that there is more
        let more = end.saturating_sub(bytes.len() as u64);
        check_bytes(more, "the file")?;
        bytes.try_reserve_exact(more as usize)?;
        read_up_to(input, end, bytes)?;
        if (bytes.len() as u64) < end {
            return Ok(());
        }
        if end > MAX_PICTURE {
            bail!("larger than {} GB, which no picture is", MAX_PICTURE / 1_000_000_000);
        }
        end *= 2;
    }
}

/// Reads the rest of a safetensors file. Nothing after the header is read if it is damaged.
fn read_latents(input: &mut impl Read, bytes: &mut Vec<u8>) -> Result<()> {
    let length = bytes.first_chunk().map_or(0, |length| u64::from_le_bytes(*length));
    read_up_to(input, (8 + length).min(MAX_OTHER), bytes)?;
    let Ok(header) = Header::read(bytes.as_slice(), 0) else { return Ok(()) };
    let end = header.file_size().saturating_add(1); // so that a file that is too long is not taken for a complete one
    check_bytes(end - bytes.len() as u64, "the file")?;
    Ok(read_up_to(input, end, bytes)?)
}

/// Reads until there are `end` bytes in all, or until the input ends.
fn read_up_to(input: &mut impl Read, end: u64, bytes: &mut Vec<u8>) -> io::Result<()> {
    let more = end.saturating_sub(bytes.len() as u64);
    input.take(more).read_to_end(bytes).map(drop)
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
            assert_eq!(read(file.as_slice(), 7, Wanted::Any).expect("reads"), file);
            assert_eq!(
                read(&file[..file.len() / 2], file.len() as u64, Wanted::Any).expect("reads"),
                &file[..file.len() / 2]
            );
        }
    }

    #[test]
    fn an_endless_input_is_not_read_for_ever() {
        let endless = read(io::repeat(b'y'), 0, Wanted::Any).expect("reads");
        assert_eq!(endless.len() as u64, MAX_OTHER);
        let file = latents(1000);
        let endless = read(file.as_slice().chain(io::repeat(0)), 0, Wanted::Any).expect("reads");
        assert_eq!(endless.len(), file.len() + 1);
    }
}

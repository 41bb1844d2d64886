//! Reads the small files around weights, such as `config.json` and `model_index.json`, within a limit.

use std::fs::File;
use std::io::{Error, Read, Result};
use std::path::Path;

/// The largest such file in bytes. A config has a few thousand.
pub const MAX_SIZE: u64 = 1 << 20;

/// Reads a file as text.
///
/// # Errors
/// Those of the system, or if the file is larger than [`MAX_SIZE`] or not UTF-8.
pub fn read(path: &Path) -> Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MAX_SIZE + 1).read_to_string(&mut text)?;
    match text.len() as u64 {
        ..=MAX_SIZE => Ok(text),
        _ => Err(Error::other(format!(
            "it is larger than {MAX_SIZE} bytes, which is the limit for such a file"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_up_to_the_limit() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("config.json");
        for (size, is_read) in [(0, true), (MAX_SIZE, true), (MAX_SIZE + 1, false), (1 << 40, false)] {
            let sparse = File::create(&path).and_then(|file| file.set_len(size));
            sparse.expect("a file");
            assert_eq!(read(&path).is_ok_and(|text| text.len() as u64 == size), is_read, "{size}");
        }
    }
}

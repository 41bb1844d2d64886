//! Files in the user's cache folder: what was found out or compiled once, for later runs.

use std::io::Write;
use std::path::Path;

use sha2::{Digest, Sha256};

/// Bytes of a SHA-256.
const DIGEST: usize = 32;

/// The SHA-256 of some text, in hexadecimal.
pub fn digest(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads what [`write`] wrote, if it is complete.
pub fn read(place: &Path) -> Option<Vec<u8>> {
    let mut bytes = std::fs::read(place).ok()?;
    let digest = bytes.split_off(bytes.len().checked_sub(DIGEST)?);
    (Sha256::digest(&bytes).as_slice() == digest).then_some(bytes)
}

/// Writes the bytes and their digest: the driver would read past the end of a truncated program.
pub fn write(place: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = place.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.write_all(&Sha256::digest(bytes))?;
    file.persist(place)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_returns_complete_files_only() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = folder.path().join("new").join("a.cubin");
        assert_eq!(read(&place), None);
        write(&place, b"a program").expect("written");
        assert_eq!(read(&place).as_deref(), Some(&b"a program"[..]));
        let whole = std::fs::read(&place).expect("the file exists");
        for broken in [&whole[..whole.len() - 1], &whole[1..], &whole[..5], &[]] {
            std::fs::write(&place, broken).expect("written");
            assert_eq!(read(&place), None);
        }
    }
}

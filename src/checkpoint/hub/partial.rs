//! The received bytes of a file: appended on disk, hashed while they arrive, verified at the end.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use sha1::Sha1;
use sha2::{Digest, Sha256};
use tempfile::TempPath;

use crate::checkpoint::weights::hex;

/// A file that is being received.
pub struct Partial {
    path: PathBuf,
    file: File,
    len: u64,
    sha256: Sha256,
    /// Deletes a file with a name of its own unless it has been renamed.
    guard: Option<TempPath>,
}

impl Partial {
    /// Creates `path`, or continues what an earlier download left there.
    pub fn open(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        // Another user of a shared cache could have put a link there, to a file of ours.
        if fs::symlink_metadata(path).is_ok_and(|there| !there.is_file()) {
            fs::remove_file(path)?;
        }
        let mut file = File::options().create(true).truncate(false).read(true).write(true).open(path)?;
        let mut sha256 = Sha256::new();
        let len = read_blocks(&mut file, |block| sha256.update(block))?;
        Ok(Self { path: path.into(), file, len, sha256, guard: None })
    }

    /// Creates a file beside `path` that no other process uses. Another run does not continue it.
    pub fn create_beside(path: &Path) -> io::Result<Self> {
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let created =
            tempfile::Builder::new().prefix(&format!("{stem}.")).suffix(".incomplete").tempfile_in(folder)?;
        let (file, guard) = created.into_parts();
        Ok(Self { path: guard.to_path_buf(), file, len: 0, sha256: Sha256::new(), guard: Some(guard) })
    }

    /// Where the bytes are.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many bytes have arrived.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Adds bytes at the end.
    pub fn append(&mut self, block: &[u8]) -> io::Result<()> {
        self.file.write_all(block)?;
        self.sha256.update(block);
        self.len += block.len() as u64;
        Ok(())
    }

    /// Starts over with an empty file.
    pub fn clear(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.sha256 = Sha256::new();
        self.len = 0;
        Ok(())
    }

    /// Compares the content with what its ETag promises. Returns its digest if it differs.
    ///
    /// Without locks, what is on disk need not be what was written, and so it is read again.
    pub fn verify(&self, etag: &str) -> io::Result<Option<WrongDigest>> {
        if self.guard.is_some() {
            return verify_file(&self.path, etag);
        }
        let sha256 = || Ok(hex(&self.sha256.clone().finalize()));
        compare(etag, sha256, || git_sha1(&self.path))
    }

    /// Renames the file to its final name after its content is on disk.
    pub fn persist(self, path: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        drop(self.file); // Windows renames no open files
        fs::rename(self.path, path)
    }

    /// Deletes the file.
    pub fn delete(self) -> io::Result<()> {
        drop(self.file);
        fs::remove_file(self.path)
    }
}

pub const SHA256: &str = "SHA-256";
pub const GIT_SHA1: &str = "git SHA-1";

/// A digest that is not the announced one.
#[derive(Debug, PartialEq)]
pub struct WrongDigest {
    /// [`SHA256`] or [`GIT_SHA1`].
    pub kind: &'static str,
    /// The digest of the content.
    pub found: String,
}

/// Compares the file `path` with what its ETag promises. Returns its digest if it differs.
pub fn verify_file(path: &Path, etag: &str) -> io::Result<Option<WrongDigest>> {
    let sha256 = || {
        let mut sha256 = Sha256::new();
        read_blocks(&mut File::open(path)?, |block| sha256.update(block))?;
        Ok(hex(&sha256.finalize()))
    };
    compare(etag, sha256, || git_sha1(path))
}

/// The hub's ETag is the SHA-256 of a large file, and of a small one the SHA-1 that git computes. Any other ETag, which
/// a mirror may use, cannot be verified.
fn compare(
    etag: &str,
    sha256: impl FnOnce() -> io::Result<String>,
    git_sha1: impl FnOnce() -> io::Result<String>,
) -> io::Result<Option<WrongDigest>> {
    let (kind, found) = match etag.len() {
        _ if !etag.chars().all(|c| c.is_ascii_hexdigit()) => return Ok(None),
        64 => (SHA256, sha256()?),
        40 => (GIT_SHA1, git_sha1()?),
        _ => return Ok(None),
    };
    Ok((!found.eq_ignore_ascii_case(etag)).then_some(WrongDigest { kind, found }))
}

/// SHA-1 of git's header `blob LENGTH\0` and the content.
fn git_sha1(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut sha1 = Sha1::new();
    sha1.update(format!("blob {}\0", file.metadata()?.len()));
    read_blocks(&mut file, |block| sha1.update(block))?;
    Ok(hex(&sha1.finalize()))
}

/// Reads to the end. Returns the number of bytes.
fn read_blocks(reader: &mut impl Read, mut each: impl FnMut(&[u8])) -> io::Result<u64> {
    let mut buffer = vec![0; 1 << 20];
    let mut len = 0;
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(len),
            Ok(n) => {
                each(&buffer[..n]);
                len += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // printf hello | sha256sum; printf hello | git hash-object --stdin
    const HELLO_SHA256: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    const HELLO_GIT_SHA1: &str = "b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0";

    #[test]
    fn a_resumed_file_has_the_digest_of_the_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("blobs/x.incomplete");
        Partial::open(&path).expect("a file").append(b"hel").expect("space");
        let mut partial = Partial::open(&path).expect("a file");
        assert_eq!(partial.len(), 3);
        let wrong = partial.verify(HELLO_SHA256).expect("readable").expect("half of it");
        assert_eq!(wrong.kind, SHA256);
        partial.append(b"lo").expect("space");
        for etag in [HELLO_SHA256, HELLO_GIT_SHA1, &HELLO_SHA256.to_uppercase(), "some-etag", &"x".repeat(64)]
        {
            assert_eq!(partial.verify(etag).expect("readable"), None, "{etag}");
        }
        let done = path.with_extension("");
        partial.persist(&done).expect("renames");
        assert_eq!(fs::read(&done).expect("a file"), b"hello");
        assert_eq!(verify_file(&done, HELLO_SHA256).expect("readable"), None);
        fs::write(&done, "Hello").expect("a file");
        for etag in [HELLO_SHA256, HELLO_GIT_SHA1] {
            assert!(verify_file(&done, etag).expect("readable").is_some());
        }
    }

    #[test]
    fn a_cleared_file_starts_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut partial = Partial::open(&folder.path().join("x")).expect("a file");
        partial.append(b"garbage, longer").expect("space");
        partial.clear().expect("clears");
        partial.append(b"hello").expect("space");
        assert_eq!((partial.len(), partial.verify(HELLO_SHA256).expect("readable")), (5, None));
        partial.delete().expect("deletes");
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0);
    }

    #[test]
    fn without_locks_each_process_has_a_file_of_its_own_and_reads_it_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("blobs/x.incomplete");
        let create = || Partial::create_beside(&path).expect("a file");
        let (mut a, mut b) = (create(), create());
        assert!(a.path() != b.path() && a.path() != path);
        a.append(b"hello").expect("space");
        b.append(b"hello").expect("space");
        fs::write(b.path(), "damaged").expect("a file");
        assert_eq!(a.verify(HELLO_SHA256).expect("readable"), None);
        assert!(b.verify(HELLO_SHA256).expect("readable").is_some(), "what is on disk counts");
        let done = path.with_extension("");
        a.persist(&done).expect("renames");
        drop(b);
        let files = fs::read_dir(folder.path().join("blobs")).expect("a folder");
        assert_eq!((files.count(), fs::read(done).expect("a file")), (1, b"hello".to_vec()));
    }
}

//! Remembers the SHA-256 of a checkpoint's file from run to run, so that its 335 MB are hashed once.
//!
//! There is one small file for each checkpoint, `vae/digests/NAME` in the user's cache folder, where NAME is the
//! SHA-256 of the path. It has three lines: the path; device, inode, size, time of modification and time of change; the
//! digest. If the first two lines are not those of the file at hand, or anything else is wrong, the memo is ignored.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};

use crate::cache_folder;

use super::weights::hex;

/// A file that changed so recently is not remembered. The times of a file system are only as fine as its clock ticks: if
/// the file changed once more within one tick, its times would not show it. 2 seconds is the longest tick in use (FAT).
const SETTLING: Duration = Duration::from_secs(2);

/// Where the digest of one file is remembered.
#[derive(Debug)]
pub struct Memo {
    path: PathBuf,
    /// The lines before the digest.
    key: String,
    /// When the file will be old enough to be remembered.
    settled: SystemTime,
}

impl Memo {
    /// The memo of `file`, which was opened at `path`; `None` if the system has no inodes or no cache folder.
    pub fn of(path: &Path, file: &File) -> Option<Self> {
        Self::within(&cache_folder::of_vae()?, path, file)
    }

    #[cfg(unix)]
    fn within(cache: &Path, path: &Path, file: &File) -> Option<Self> {
        use std::os::unix::fs::MetadataExt;

        let name = format!("{:?}", path.canonicalize().ok()?); // on one line
        let m = file.metadata().ok()?;
        let (seconds, nanos) = (m.ctime().try_into().ok()?, m.ctime_nsec().try_into().ok()?);
        let identity = format!("{} {} {}", m.dev(), m.ino(), m.size());
        let times = format!("{}.{:09} {seconds}.{nanos:09}", m.mtime(), m.mtime_nsec());
        Some(Self {
            path: cache.join("digests").join(hex(&Sha256::digest(&name))),
            key: format!("{name}\n{identity} {times}\n"),
            settled: UNIX_EPOCH.checked_add(Duration::new(seconds, nanos))?.checked_add(SETTLING)?,
        })
    }

    #[cfg(not(unix))]
    fn within(_: &Path, _: &Path, _: &File) -> Option<Self> {
        None
    }

    /// The remembered digest.
    pub fn recall(&self) -> Option<String> {
        let text = fs::read_to_string(&self.path).ok()?;
        let digest = text.strip_prefix(&self.key)?.strip_suffix('\n')?;
        let is_digest = digest.len() == 64 && digest.chars().all(|c| c.is_ascii_hexdigit());
        is_digest.then(|| digest.to_string())
    }

    /// Remembers `digest`, if that is possible.
    pub fn remember(&self, digest: &str) {
        if self.settled < SystemTime::now() {
            self.write(digest);
        }
    }

    fn write(&self, digest: &str) -> Option<()> {
        let folder = self.path.parent()?;
        fs::create_dir_all(folder).ok()?;
        let file = tempfile::NamedTempFile::new_in(folder).ok()?;
        fs::write(file.path(), format!("{}{digest}\n", self.key)).ok()?;
        file.persist(&self.path).ok().map(drop)
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_memo_is_used_only_for_the_same_unchanged_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("w.safetensors");
        fs::write(&path, "one").expect("a file");
        let memo = || {
            let file = File::open(&path).expect("a file");
            Memo::within(&folder.path().join("cache"), &path, &file).expect("a memo")
        };
        let digest = hex(&Sha256::digest("one"));
        memo().remember(&digest);
        assert_eq!(memo().recall(), None, "the file is too new");
        memo().write(&digest).expect("writes");
        assert_eq!(memo().recall(), Some(digest.clone()));

        // Another content of the same length, with the same time of modification.
        let modified = fs::metadata(&path).and_then(|m| m.modified()).expect("a time");
        std::thread::sleep(Duration::from_millis(20));
        let file = File::options().write(true).open(&path).expect("a file");
        fs::write(&path, "two").expect("a file");
        file.set_modified(modified).expect("a time");
        assert_eq!(memo().recall(), None);

        for broken in ["", "x", &format!("{}abc\n", memo().key), &format!("{}{digest}", memo().key)] {
            fs::write(memo().path, broken).expect("a file");
            assert_eq!(memo().recall(), None, "{broken}");
        }
    }

    #[test]
    fn a_cache_folder_that_cannot_be_written_is_ignored() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        fs::write(&path, "one").expect("a file");
        let memo = Memo::within(&path, &path, &File::open(&path).expect("a file")).expect("a memo");
        assert_eq!(memo.write("digest"), None);
        assert_eq!(memo.recall(), None);
    }
}

//! Remembers the SHA-256 of input files from run to run, so that a run over finished outputs need not read all inputs.
//!
//! `vae/digests/inputs` in the user's cache folder has [`SLOTS`] slots of 64 bytes. The number of a file (its inode) chooses its slot,
//! so that the files of a folder are near each other; a file replaces another one with the same slot. A slot has the SHA-256 of the
//! content, and the SHA-256 of this and the file's [`State`]. A slot of another file, of another state, or of anything else
//! does not match, and the content is read again.

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};

use vae::cache_folder;

/// The file has at most 16 MiB, and less on the disk if fewer inputs were read.
const SLOTS: u64 = 1 << 18;

/// A SHA-256.
pub type Sha256Bytes = [u8; 32];

/// What changes with each change of a file's content: its number, its size, and the times of the last modification and of the last
/// change. Programs cannot set the latter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// In bytes.
    pub size: u64,
    modified: Option<SystemTime>,
    /// Device, inode, and seconds and nanoseconds of the last change. `None` on systems without them: there, the other fields
    /// do not show all changes.
    changed: Option<[u64; 4]>,
}

impl State {
    /// Returns the state of the file at `path`. Links are followed.
    pub fn of(path: &Path) -> io::Result<Self> {
        let metadata = fs::metadata(path)?;
        Ok(Self { size: metadata.len(), modified: metadata.modified().ok(), changed: changed(&metadata) })
    }

    /// Whether the next change will give another state. File systems round times: if a file changed a moment ago, it can change once
    /// more at the same time. 2 seconds is the longest unit in use (FAT).
    pub fn is_settled(&self) -> bool {
        const UNIT: Duration = Duration::from_secs(2);
        let Some([.., seconds, nanos]) = self.changed else { return false };
        let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        since
            .checked_sub(Duration::from_secs(seconds))
            .is_some_and(|age| age > UNIT + Duration::from_nanos(nanos))
    }

    /// Returns the slot of the file, and the SHA-256 of its state and of `digest`.
    fn seal(&self, digest: &Sha256Bytes) -> Option<(u64, Sha256Bytes)> {
        let changed @ [device, inode, ..] = self.changed?;
        let modified = self.modified?.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_nanos();
        let mut sha256 = Sha256::new();
        changed.iter().for_each(|number| sha256.update(number.to_le_bytes()));
        sha256.update(self.size.to_le_bytes());
        sha256.update(modified.to_le_bytes());
        sha256.update(digest);
        Some((inode.wrapping_add(device) % SLOTS, sha256.finalize().into()))
    }
}

#[cfg(unix)]
fn changed(metadata: &Metadata) -> Option<[u64; 4]> {
    use std::os::unix::fs::MetadataExt;

    let (seconds, nanos) = (metadata.ctime().try_into().ok()?, metadata.ctime_nsec().try_into().ok()?);
    Some([metadata.dev(), metadata.ino(), seconds, nanos])
}

#[cfg(not(unix))]
fn changed(_: &Metadata) -> Option<[u64; 4]> {
    None
}

/// The file with the digests.
#[derive(Debug)]
pub struct InputDigests {
    file: Option<File>,
}

impl InputDigests {
    /// Returns those in the user's cache folder. Without such a folder, nothing is remembered.
    pub fn of_user() -> &'static Self {
        static OF_USER: LazyLock<InputDigests> = LazyLock::new(|| {
            cache_folder::of_vae().map_or(InputDigests { file: None }, |cache| InputDigests::within(&cache))
        });
        &OF_USER
    }

    /// Returns those in a cache folder.
    pub fn within(cache: &Path) -> Self {
        let folder = cache.join("digests");
        let open = |path| File::options().read(true).write(true).create(true).truncate(false).open(path);
        let file = fs::create_dir_all(&folder).and_then(|()| open(folder.join("inputs")));
        Self { file: file.ok() }
    }

    /// Returns the SHA-256 of a file in this state, if it is known.
    pub fn recall(&self, state: &State) -> Option<Sha256Bytes> {
        let (slot, _) = state.seal(&[0; 32])?;
        let (mut file, mut bytes) = (self.file.as_ref()?, [0; 64]);
        file.seek(SeekFrom::Start(slot * 64)).and_then(|_| file.read_exact(&mut bytes)).ok()?;
        let (digest, seal) = bytes.split_first_chunk::<32>()?;
        state.seal(digest).is_some_and(|(_, wanted)| *seal == wanted).then_some(*digest)
    }

    /// Remembers the SHA-256 of a file. It was in this state before and after it was read, and was settled before.
    pub fn remember(&self, state: &State, digest: &Sha256Bytes) {
        if let (Some(mut file), Some((slot, seal))) = (self.file.as_ref(), state.seal(digest)) {
            let slot = file.seek(SeekFrom::Start(slot * 64));
            let _ = slot.and_then(|_| file.write_all(&[*digest, seal].concat())); // in one piece
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    /// Returns a folder with a file of some bytes, and the state of the file.
    fn file() -> (tempfile::TempDir, State) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("input");
        fs::write(&path, "some bytes").expect("a file");
        let state = State::of(&path).expect("a file");
        (folder, state)
    }

    #[test]
    fn only_a_file_that_has_not_changed_for_a_while_is_settled() {
        let (_folder, mut state) = file();
        assert!(!state.is_settled());
        let [device, inode, seconds, nanos] = state.changed.expect("a time");
        state.changed = Some([device, inode, seconds - 4, nanos]);
        assert!(state.is_settled());
        state.changed = Some([device, inode, seconds + 3600, nanos]);
        assert!(!state.is_settled(), "the clock of another machine");
        state.changed = None;
        assert!(!state.is_settled());
    }

    #[test]
    fn a_digest_is_recalled_for_the_same_state_alone() {
        let (folder, state) = file();
        let digests = InputDigests::within(folder.path());
        assert_eq!(digests.recall(&state), None);
        digests.remember(&state, &[1; 32]);
        assert_eq!(InputDigests::within(folder.path()).recall(&state), Some([1; 32]));
        for field in 0..4 {
            let mut other = state.clone();
            other.changed.as_mut().expect("a time")[field] += SLOTS; // the same slot
            assert_eq!(digests.recall(&other), None, "{field}");
            digests.remember(&other, &[2; 32]);
            assert_eq!(digests.recall(&other), Some([2; 32]), "{field}");
        }
        assert_eq!(digests.recall(&state), None, "the slot has another file");
        let second = Duration::from_secs(1);
        for other in [
            State { size: 1, ..state.clone() },
            State { modified: state.modified.map(|modified| modified - second), ..state.clone() },
        ] {
            digests.remember(&state, &[1; 32]);
            assert_eq!(digests.recall(&other), None);
        }
    }

    #[test]
    fn a_damaged_file_and_a_missing_folder_are_as_if_nothing_is_known() {
        let (folder, state) = file();
        let digests = InputDigests::within(folder.path());
        digests.remember(&state, &[1; 32]);
        let path = folder.path().join("digests/inputs");
        let whole = fs::read(&path).expect("a file");
        let slot = whole.len() - 64;
        for damaged in [slot, slot + 31, slot + 32, slot + 63] {
            let mut bytes = whole.clone();
            bytes[damaged] ^= 1;
            fs::write(&path, bytes).expect("a file");
            assert_eq!(digests.recall(&state), None, "{damaged}");
        }
        fs::write(&path, &whole[..whole.len() - 1]).expect("a file");
        assert_eq!(digests.recall(&state), None);
        let nowhere = InputDigests::within(&folder.path().join("input"));
        nowhere.remember(&state, &[1; 32]);
        assert_eq!(nowhere.recall(&state), None);
    }
}

//! Temporary files beside the outputs: files that are being written, and claims on outputs.
//!
//! | name | what |
//! | --- | --- |
//! | `.vae-BOOT-RANDOM.tmp` | the content of an output, until it is complete and renamed |
//! | `.vae-HASH.lock` | an empty file: some process works on the output whose name has this hash |
//!
//! Each is locked while its process lives, and is removed when it is no longer needed, by a signal too. Those of a killed
//! process are removed by the next run into the same folder: [`remove_leftovers`].

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tempfile::TempPath;

use super::paths::{FileId, folder_of, is_same_file};

const PREFIX: &str = ".vae-";

/// Identifies the running system among those that share a folder. File systems on a network may give a lock to a process
/// on one system although a process on another has it. Empty if it is unknown.
static BOOT: LazyLock<String> = LazyLock::new(|| {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.chars().take(8).collect()
});

/// What this process has in the folders of its outputs. Files get and lose their names under this lock.
static LIVE: Mutex<Live> = Mutex::new(Live { files: BTreeMap::new(), folders: BTreeSet::new() });

struct Live {
    /// The temporary files, which must be removed.
    files: BTreeMap<PathBuf, Option<FileId>>,
    /// The folders whose new names may not be on the disk yet.
    folders: BTreeSet<PathBuf>,
}

impl Live {
    fn insert(&mut self, path: &Path) {
        self.files.insert(path.to_path_buf(), FileId::of(path));
    }

    /// Removes a temporary file. If another file has its name by now, that file stays.
    fn remove(&mut self, path: &Path) {
        if self.files.remove(path).is_some_and(|file| file == FileId::of(path)) {
            let _ = fs::remove_file(path);
        }
    }
}

fn live() -> MutexGuard<'static, Live> {
    LIVE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes all temporary files of this process. From then on, no file is created or renamed, so the process must end.
#[cfg(unix)]
pub fn remove_all() {
    let mut live = live();
    while let Some((path, _)) = live.files.first_key_value() {
        let path = path.clone();
        live.remove(&path);
    }
    std::mem::forget(live);
}

/// Removes what is left of the last claim, and waits until the disk has the names of all files that were renamed. This is
/// done once for a whole run, because it can take longer than a small picture. Not all systems can do this, and not all
/// need it.
pub fn finish() {
    end_last_claim();
    let folders = std::mem::take(&mut live().folders);
    if cfg!(unix) {
        for folder in folders {
            let _ = File::open(folder).and_then(|folder| folder.sync_all());
        }
    }
}

/// A file that is removed when this is dropped, unless it has been renamed.
#[derive(Debug)]
struct Temporary {
    path: PathBuf,
    file: File,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        live().remove(&self.path);
    }
}

impl Temporary {
    /// Whether the file still has its name. Another process can remove a file that is not locked yet.
    fn has_its_name(&self) -> bool {
        is_same_file(&self.file.metadata(), &fs::symlink_metadata(&self.path))
    }
}

/// A new file in a folder, under a temporary name.
#[derive(Debug)]
pub struct NewFile(Temporary);

impl NewFile {
    /// Creates an empty file. It has the permissions that the umask leaves, as any file.
    pub fn create_in(folder: &Path) -> io::Result<Self> {
        loop {
            let file = Self::create_unlocked(folder)?;
            match file.0.file.try_lock() {
                Ok(()) if !file.0.has_its_name() => {}
                Err(TryLockError::WouldBlock) => {} // another process is about to remove it
                Ok(()) | Err(TryLockError::Error(_)) => return Ok(file),
            }
        }
    }

    fn create_unlocked(folder: &Path) -> io::Result<Self> {
        let prefix = format!("{PREFIX}{}-", *BOOT);
        let mut builder = tempfile::Builder::new();
        builder.prefix(&prefix).suffix(".tmp");
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let mut live = live();
        let (file, path) = builder.tempfile_in(folder)?.keep().map_err(|e| e.error)?;
        live.insert(&path);
        Ok(Self(Temporary { path, file }))
    }

    /// The open file, to write the content.
    pub fn file(&mut self) -> &mut File {
        &mut self.0.file
    }

    /// Writes all of the content and waits until the disk has it.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.file.write_all(bytes)?;
        self.sync()
    }

    /// Waits until the disk has the content.
    pub fn sync(&self) -> io::Result<()> {
        match self.0.file.sync_all() {
            Err(e) if is_unsupported(&e) => Ok(()),
            result => result,
        }
    }

    /// Sets the permissions.
    pub fn set_permissions(&self, permissions: fs::Permissions) -> io::Result<()> {
        self.0.file.set_permissions(permissions)
    }

    /// Gives the file its final name. An existing file of this name is replaced.
    pub fn replace(self, path: &Path) -> io::Result<()> {
        self.rename_by(path, |temporary| fs::rename(temporary, path))
    }

    /// Gives the file its final name, which no other file may have.
    pub fn rename(self, path: &Path) -> io::Result<()> {
        self.rename_by(path, |temporary| rename_to_new(temporary, path))
    }

    fn rename_by(self, path: &Path, rename: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
        let mut live = live();
        rename(&self.0.path)?;
        live.files.remove(&self.0.path);
        live.folders.insert(folder_of(path).to_path_buf());
        Ok(())
    }
}

/// Renames a file. No other file may have the new name.
fn rename_to_new(old: &Path, new: &Path) -> io::Result<()> {
    match rename_exclusively(old, new) {
        Err(e) if is_unsupported(&e) => match fs::symlink_metadata(new) {
            Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
            Err(_) => fs::rename(old, new),
        },
        result => result,
    }
}

/// The same in one step. File systems that can neither rename without replacing nor make links do not support it, as many on a
/// network.
fn rename_exclusively(old: &Path, new: &Path) -> io::Result<()> {
    let Err(error) = TempPath::try_from_path(old)?.persist_noclobber(new) else { return Ok(()) };
    error.path.keep().map_err(|e| e.error)?;
    Err(error.error)
}

/// Whether a file system has no such function: ENOSYS or EOPNOTSUPP, and EINVAL or EPERM from those on a network.
fn is_unsupported(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidInput, PermissionDenied, Unsupported};
    matches!(error.kind(), Unsupported | InvalidInput | PermissionDenied)
}

/// The file of the last claim. The next claim renames it: creating a file soon after others were deleted is slow on some
/// file systems, such as ext4.
static ENDED: Mutex<Option<Temporary>> = Mutex::new(None);

fn ended_claim() -> MutexGuard<'static, Option<Temporary>> {
    ENDED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes the file of the last claim, if no claim has followed. Other processes could take it for a claim.
pub fn end_last_claim() {
    drop(ended_claim().take());
}

/// The right to work on an output, which only one process has. It ends when this is dropped.
#[derive(Debug)]
pub struct Claim {
    file: Option<Temporary>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(file) = self.file.take() {
            let before = ended_claim().replace(file);
            drop(before);
        }
    }
}

impl Claim {
    /// The claim on an output that needs none.
    pub fn none() -> Self {
        Self { file: None }
    }

    /// Claims the output at `path`, or returns `None` if another process has the claim.
    ///
    /// If the file system has no locks, every process gets the claim.
    pub fn new(path: &Path) -> io::Result<Option<Self>> {
        let hash = Sha256::digest(path.file_name().unwrap_or_default().as_encoded_bytes());
        let hash: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let path = folder_of(path).join(format!("{PREFIX}{hash}.lock"));
        loop {
            if let Some(claim) = Self::by_renaming(&path) {
                return Ok(Some(claim));
            }
            let mut live = live();
            let file = match open_claim(&path) {
                Ok(None) => continue,
                Ok(Some(file)) if file.metadata()?.is_file() => file,
                Err(e) if fs::symlink_metadata(&path).is_ok_and(|there| there.is_file()) => return Err(e),
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(e),
                _ => return Ok(Some(Self::none())), // a link, a pipe or a folder, not by this program
            };
            match file.try_lock() {
                _ if path.is_symlink() => return Ok(Some(Self::none())), // not by this program
                Ok(()) if is_same_file(&file.metadata(), &fs::symlink_metadata(&path)) => {
                    live.insert(&path);
                    return Ok(Some(Self { file: Some(Temporary { path, file }) }));
                }
                Ok(()) => {} // another process has just removed it
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(_)) => {
                    let _ = fs::remove_file(&path);
                    return Ok(Some(Self::none()));
                }
            }
        }
    }

    /// Claims the output whose claims have the name `path` with the file of the last claim, which is locked already.
    fn by_renaming(path: &Path) -> Option<Self> {
        let mut file = ended_claim().take()?;
        if file.path.parent() != path.parent() || !file.has_its_name() {
            return None;
        }
        let mut live = live();
        if rename_exclusively(&file.path, path).is_err() {
            drop(live); // before the file, which needs the lock to be removed
            return None;
        }
        live.files.remove(&file.path);
        live.insert(path);
        file.path = path.to_path_buf();
        Some(Self { file: Some(file) })
    }
}

/// Creates the file of a claim, or opens that of another process or user. Returns `None` if it has just been removed.
/// Links are not followed, and a pipe that somebody has put there is not waited for.
fn open_claim(path: &Path) -> io::Result<Option<File>> {
    match File::options().create_new(true).write(true).open(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        result => return result.map(Some),
    }
    let mut options = File::options();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NOFOLLOW | libc::O_NONBLOCK);
    match options.write(true).open(path).or_else(|_| options.write(false).read(true).open(path)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}

/// Whether the folder treats `a.png` and `A.png` as one name. This differs from folder to folder, so a file is created to
/// find out.
pub fn ignores_case(folder: &Path) -> bool {
    NewFile::create_in(folder).is_ok_and(|NewFile(probe)| {
        let name = probe.path.file_name().unwrap_or_default().to_ascii_uppercase();
        probe.path.with_file_name(name).exists()
    })
}

/// Removes the temporary files of killed processes from a folder. Those of a live process stay: it has locked them, or,
/// if locks do not work or do not reach the other system, they are younger than a day.
pub fn remove_leftovers(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else { continue };
        let is_claim = name.ends_with(".lock");
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        if !is_file || !(is_claim || name.ends_with(".tmp")) {
            continue;
        }
        let Ok(file) = File::options().write(true).open(entry.path()) else { continue };
        let is_free = match file.try_lock() {
            Ok(()) => is_claim || is_of_this_system(name),
            Err(TryLockError::WouldBlock) => continue,
            Err(TryLockError::Error(_)) => false,
        };
        if (is_free || is_old(&file)) && is_same_file(&file.metadata(), &fs::symlink_metadata(entry.path())) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn is_of_this_system(name: &str) -> bool {
    !BOOT.is_empty() && name[PREFIX.len()..].starts_with(&format!("{}-", *BOOT))
}

fn is_old(file: &File) -> bool {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let modified = file.metadata().and_then(|metadata| metadata.modified());
    modified.is_ok_and(|time| time.elapsed().is_ok_and(|age| age > DAY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leftovers_are_removed_and_live_files_are_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        let live = NewFile::create_in(folder.path()).expect("a file");
        let claim = Claim::new(&path("a.png")).expect("a claim").expect("no other process");
        let elsewhere = [".vae-01234567-abcdef.tmp", ".vae-abcdef.tmp", ".vae-notes.txt", "a.tmp"];
        let own = format!(".vae-{}-abcdef.tmp", *BOOT);
        let leftovers = [own.as_str(), ".vae-0123456789abcdef.lock"];
        for name in elsewhere.iter().chain(&leftovers) {
            fs::write(path(name), "half").expect("a file");
        }
        let old = fs::File::options().write(true).open(path(".vae-abcdef.tmp")).expect("a file");
        old.set_modified(std::time::SystemTime::now() - Duration::from_secs(25 * 60 * 60)).expect("a time");
        remove_leftovers(folder.path());
        assert!(live.0.path.exists() && claim.file.as_ref().is_some_and(|file| file.path.exists()));
        assert_eq!(path(&own).exists(), BOOT.is_empty());
        assert_eq!(elsewhere.map(|name| path(name).exists()), [true, false, true, true]);
        assert!(!path(leftovers[1]).exists());
        drop((live, claim));
        finish();
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 3);
    }

    #[test]
    fn only_one_claim_on_an_output_is_given() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.png");
        let claim = || Claim::new(&path).expect("a folder that can be written");
        let first = claim().expect("no other claim");
        assert!(claim().is_none());
        assert!(Claim::new(&folder.path().join("b.png")).expect("a claim").is_some());
        drop(first);
        while claim().is_none() {
            std::thread::yield_now(); // a claim in another test may be about to remove the file
        }
    }

    #[test]
    fn a_file_of_another_process_that_has_the_name_is_not_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        let claim = Claim::new(&folder.path().join("a.png")).expect("a claim").expect("no other process");
        let path = claim.file.as_ref().expect("a file").path.clone();
        fs::remove_file(&path).and_then(|()| fs::write(&path, "another's")).expect("a file");
        drop(claim);
        end_last_claim();
        assert_eq!(fs::read(&path).expect("a file"), b"another's");
    }

    #[test]
    fn a_file_is_not_replaced_by_a_new_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a");
        let file = |content: &str| {
            let mut file = NewFile::create_in(folder.path()).expect("a file");
            file.write(content.as_bytes()).expect("writes");
            file
        };
        file("first").rename(&path).expect("a new name");
        assert_eq!(file("second").rename(&path).map_err(|e| e.kind()), Err(io::ErrorKind::AlreadyExists));
        assert_eq!(fs::read(&path).expect("a file"), b"first");
        file("third").replace(&path).expect("replaces");
        assert_eq!(fs::read(&path).expect("a file"), b"third");
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
    }
}

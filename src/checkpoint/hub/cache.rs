//! The names of a repository's files in the cache, as `hf-hub` and Python's `huggingface_hub` spell them:
//!
//! ```text
//! models--owner--name/refs/main                          the commit that a branch or tag points to
//! models--owner--name/snapshots/COMMIT/vae/config.json   a link into blobs/
//! models--owner--name/blobs/ETAG                         the content of a file
//! models--owner--name/blobs/ETAG.incomplete              the bytes received so far
//! models--owner--name/blobs/ETAG.RANDOM.incomplete       the same, where there are no locks
//! .locks/models--owner--name/ETAG.lock                   held during a download
//! ```

use std::fs::{self, File, TryLockError};
use std::path::{Component, Path, PathBuf};
use std::{io, iter};

use hf_hub::{Repo, RepoType};

use crate::checkpoint::small_file;

use super::refresh::DAY;

/// The folder of one repository, seen at one revision.
pub struct RepoCache {
    folder: PathBuf,
    locks: PathBuf,
    revision: String,
}

impl RepoCache {
    /// The folder of the model `id` in `cache`. Nothing is created.
    pub fn new(cache: &Path, id: &str, revision: &str) -> Self {
        let name = Repo::new(id.to_string(), RepoType::Model).folder_name();
        Self {
            folder: cache.join(&name),
            locks: cache.join(".locks").join(&name),
            revision: revision.to_string(),
        }
    }

    /// The commit of the revision, if the cache has a snapshot of it. `refs/` lists branches and tags; any other
    /// revision is a commit.
    pub fn commit(&self) -> Option<String> {
        let commit = small_file::read(&self.reference()).ok();
        let commit = commit.map_or_else(|| self.revision.clone(), |text| text.trim().to_string());
        (is_plain(&commit) && self.snapshot(&commit).is_dir()).then_some(commit)
    }

    /// The path of `file` in the revision's snapshot, if it is there and not a dangling link.
    pub fn file(&self, file: &str) -> Option<PathBuf> {
        self.commit().map(|commit| self.snapshot(&commit).join(file)).filter(|path| path.exists())
    }

    /// Where the content of the file with this ETag is kept.
    pub fn blob(&self, etag: &str) -> PathBuf {
        self.folder.join("blobs").join(etag)
    }

    /// Where the content is collected during a download.
    pub fn partial(&self, etag: &str) -> PathBuf {
        self.folder.join("blobs").join(format!("{etag}.incomplete"))
    }

    /// Locks the blob against other processes until the returned file is dropped. Calls `wait` if another process
    /// holds the lock, and then waits for it. Python takes the same lock. Fails if the file system has no locks.
    pub fn lock(&self, etag: &str, wait: impl FnOnce()) -> io::Result<File> {
        fs::create_dir_all(&self.locks)?;
        let path = self.locks.join(format!("{etag}.lock"));
        let file = File::options().create(true).truncate(false).write(true).open(path)?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => {
                wait();
                file.lock()?;
            }
            Err(TryLockError::Error(e)) => return Err(e),
            Ok(()) => {}
        }
        Ok(file)
    }

    /// Makes the blob visible as `file` of the snapshot of `commit`.
    ///
    /// Replaces a link that is there already. Copies the blob if the file system has no links.
    pub fn publish(&self, etag: &str, commit: &str, file: &str) -> io::Result<PathBuf> {
        let path = self.snapshot(commit).join(file);
        let up = Path::new(file).components().count() + 1; // out of the snapshot
        let target = iter::repeat_n("..", up).collect::<PathBuf>().join("blobs").join(etag);
        place(&path, |path| symlink(&target, path))
            .or_else(|_| place(&path, |path| fs::copy(self.blob(etag), path).map(drop)))?;
        Ok(path)
    }

    /// Makes `commit` that of the revision, unless the revision is the commit itself.
    pub fn point_to(&self, commit: &str) -> io::Result<()> {
        let reference = self.reference();
        if self.revision == commit || small_file::read(&reference).ok().as_deref() == Some(commit) {
            return Ok(());
        }
        place(&reference, |path| fs::write(path, commit))
    }

    /// Removes what interrupted downloads of `file` have left and no later one continues, if that is older than a day:
    /// content with a name of its own, and temporary files beside the links.
    pub fn remove_leftovers(&self, etag: &str, commit: &str, file: &str) {
        let is_partial = |name: &str| {
            let random = name.strip_prefix(etag).and_then(|rest| rest.strip_suffix(".incomplete"));
            random.is_some_and(|random| random.len() > 1 && random.starts_with('.'))
        };
        remove_old(&self.folder.join("blobs"), is_partial);
        for path in [self.snapshot(commit).join(file), self.reference()] {
            let is_temporary = |name: &str| name.starts_with(PREFIX) && name.ends_with(SUFFIX);
            remove_old(path.parent().unwrap_or(Path::new(".")), is_temporary);
        }
    }

    fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit)
    }

    fn reference(&self) -> PathBuf {
        self.folder.join("refs").join(&self.revision)
    }
}

/// The start and the end of temporary names.
const PREFIX: &str = ".vae-";
const SUFFIX: &str = ".tmp";

/// Removes the files of these names that are older than a day and that no process has locked.
fn remove_old(folder: &Path, is_ours: impl Fn(&str) -> bool) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let is_ours = entry.file_name().to_str().is_some_and(&is_ours);
        let Ok(metadata) = entry.metadata() else { continue }; // of a link, not of its target
        let age = metadata.modified().ok().and_then(|time| time.elapsed().ok());
        if !is_ours || metadata.is_dir() || age.is_none_or(|age| age < DAY) {
            continue;
        }
        let is_locked = metadata.is_file()
            && File::open(entry.path())
                .is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)));
        if !is_locked {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Creates `path` under a temporary name beside it, then renames it, so that it is never visible incomplete.
fn place(path: &Path, create: impl FnMut(&Path) -> io::Result<()>) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let created = tempfile::Builder::new().prefix(PREFIX).suffix(SUFFIX).make_in(folder, create)?;
    created.persist(path).map_err(|e| e.error)
}

#[cfg(unix)]
use std::os::unix::fs::symlink;
#[cfg(windows)]
use std::os::windows::fs::symlink_file as symlink;

/// Whether a text from a server may become a file's name: letters, digits and hyphens.
pub fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.len() <= 200 && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
}

/// Whether a revision is a whole commit, which never changes. Branches and tags can move.
pub fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.chars().all(|c| c.is_ascii_hexdigit())
}

/// Whether a revision stays inside `refs/`.
pub fn is_valid_revision(revision: &str) -> bool {
    let mut components = Path::new(revision).components().peekable();
    components.peek().is_some() && components.all(|part| matches!(part, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_stays_inside_the_cache() {
        for valid in ["main", "refs/pr/1", "v1.0", "0123456789abcdef"] {
            assert!(is_valid_revision(valid), "{valid}");
        }
        for invalid in ["", "..", "../x", "a/../../b", "/etc/x", "."] {
            assert!(!is_valid_revision(invalid), "{invalid}");
        }
    }

    #[test]
    fn names_from_a_server_have_no_slashes_and_dots() {
        assert!(is_plain("0123abc-2"));
        for odd in ["", "..", "a/b", "a\\b", "a.lock", "a b", &"a".repeat(201)] {
            assert!(!is_plain(odd), "{odd}");
        }
    }

    #[test]
    fn publishing_replaces_a_dangling_link() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = RepoCache::new(folder.path(), "a/b", "main");
        assert_eq!(cache.commit(), None);
        cache.publish("gone", "c0", "vae/config.json").expect("a link");
        assert_eq!(cache.commit(), None);
        cache.point_to("c0").expect("a ref");
        assert_eq!(cache.commit().as_deref(), Some("c0"));
        assert_eq!(cache.file("vae/config.json"), None, "the link is dangling");
        let blob = cache.blob("e1");
        fs::create_dir_all(blob.parent().expect("blobs")).expect("a folder");
        fs::write(blob, "content").expect("a file");
        cache.publish("e1", "c0", "vae/config.json").expect("a link");
        let path = cache.file("vae/config.json").expect("a file");
        assert_eq!(fs::read_to_string(&path).expect("a file"), "content");
        let expected = folder.path().join("models--a--b/snapshots/c0/vae/config.json");
        assert_eq!(path, expected);
        #[cfg(unix)]
        assert_eq!(fs::read_link(path).expect("a link"), Path::new("../../../blobs/e1"));
    }
}

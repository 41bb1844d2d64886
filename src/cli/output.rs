//! Where results go. Files are written completely or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use vae::picture::Format;

use super::failure::Failure;
use super::paths::{folder_of, shown, with_suffix};
use super::temporary::{Claim, NewFile};
use super::ui::write_stdout;

/// Where one result goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// Standard output.
    Stdout,
    /// A file that the user named. An existing file is replaced.
    Named(PathBuf),
    /// A file in `--out-dir`. An existing file is kept, and its input is skipped.
    Kept(PathBuf),
    /// A file whose name the program chose because no other file has it.
    Fresh(PathBuf),
    /// Not written: the result is only displayed, or is part of a figure.
    Nowhere,
}

/// The error of an output in `--out-dir` whose name another file has got meanwhile.
#[derive(Debug, thiserror::Error)]
#[error("another process has written it")]
pub struct WrittenByAnother;

/// The error of an output whose folder takes no files. It concerns all outputs of a run.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct FolderError(String);

impl Destination {
    /// Chooses a name that no file has: `path`, or the first of `name-1.ext`, `name-2.ext` and so on.
    pub fn fresh(path: &Path) -> Self {
        let numbered = (1..).map(|i| with_suffix(path, &format!("-{i}")));
        let mut candidates = std::iter::once(path.to_path_buf()).chain(numbered);
        Self::Fresh(candidates.find(|path| !path.exists()).expect("there are more numbers than files"))
    }

    /// Returns one destination for each of `count` pictures: `out.png` for one, `out-0.png`, `out-1.png` and so on
    /// for more, with leading zeros for more than ten.
    pub fn numbered(&self, count: usize) -> Result<Vec<Self>> {
        let numbered = |path: &Path, destination: fn(PathBuf) -> Self| -> Vec<Self> {
            let digits = (count - 1).to_string().len();
            let name = |i| with_suffix(path, &format!("-{i:0digits$}"));
            (0..count).map(|i| destination(name(i))).collect()
        };
        Ok(match self {
            _ if count == 1 => vec![self.clone()],
            Self::Stdout => bail!("a batch of {count} cannot go to stdout: name a file with -o"),
            Self::Named(path) => numbered(path, Self::Named),
            Self::Kept(path) => numbered(path, Self::Kept),
            Self::Fresh(path) => numbered(path, |path| Self::fresh(&path)),
            Self::Nowhere => vec![Self::Nowhere; count],
        })
    }

    /// Returns the format of a picture that goes here: that of the file's extension, or PNG.
    pub fn picture_format(&self, quality: u8) -> Result<Format, Failure> {
        self.path().map_or(Ok(Format::Png), |path| Format::from_path(path, quality).map_err(Failure::Usage))
    }

    /// Returns the file, or `None` if the result goes to no file.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Named(path) | Self::Kept(path) | Self::Fresh(path) => Some(path),
            Self::Stdout | Self::Nowhere => None,
        }
    }

    /// Returns the name that messages and JSON use, or `None` if nothing is written.
    pub fn name(&self) -> Option<String> {
        match self {
            Self::Stdout => Some("-".into()),
            other => other.path().map(shown),
        }
    }

    /// Whether the result of an earlier run is kept.
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Kept(path) if path.exists())
    }

    /// Claims the output, so that processes with the same `--out-dir` share the inputs. Returns `None` if another process
    /// has the claim. The claim ends when the returned value is dropped.
    ///
    /// # Errors
    /// [`FolderError`] if the folder takes no files.
    pub fn claim(&self) -> Result<Option<Claim>> {
        let Self::Kept(path) = self else { return Ok(Some(Claim::none())) };
        let claim = Claim::new(path).map_err(|e| creation_error(path, &e));
        claim.with_context(|| format!("cannot write {}", shown(path)))
    }

    /// Writes all of `bytes`. A file is written under a temporary name and then renamed, so that an interrupted run
    /// does not leave a partial file. Its content is on the disk before it gets its name.
    ///
    /// # Errors
    /// [`WrittenByAnother`] or [`FolderError`] among others.
    pub fn write(&self, bytes: &[u8]) -> Result<()> {
        let (path, result) = match self {
            Self::Stdout => return write_stdout(bytes),
            Self::Named(path) => (path, replace(path, bytes)),
            Self::Kept(path) | Self::Fresh(path) => (path, self.create(path, bytes)),
            Self::Nowhere => return Ok(()),
        };
        result.with_context(|| format!("cannot write {}", shown(path)))
    }

    /// Writes a file that may be too large for memory, piece by piece. It is complete before it gets its name.
    ///
    /// # Errors
    /// Those of `content`, and [`FolderError`] among others.
    pub fn write_by(&self, content: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
        let Some(path) = self.path() else {
            return content(&mut Stdout);
        };
        let target = existing(path)?;
        let old = fs::metadata(&target);
        if old.as_ref().is_ok_and(|old| !old.is_file()) {
            return content(&mut File::options().write(true).open(&target)?);
        }
        let mut file = NewFile::create_in(folder_of(&target)).map_err(|e| creation_error(&target, &e))?;
        let mut buffer = BufWriter::with_capacity(1 << 20, file.file());
        content(&mut buffer)?;
        buffer.flush()?;
        drop(buffer);
        file.sync()?;
        if let Ok(old) = old {
            file.set_permissions(old.permissions())?;
        }
        Ok(file.replace(&target)?)
    }

    /// Creates a file that must not exist yet.
    fn create(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        match new_file(path, bytes)?.rename(path) {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => match self {
                _ if !path.exists() => bail!("it is a link to a missing file"),
                Self::Kept(_) => Err(WrittenByAnother.into()),
                _ => bail!("another program has just created it; run the command again"),
            },
            result => result.map_err(|e| output_error(path, e)),
        }
    }
}

/// Standard output, which takes no binary data if it is a terminal.
struct Stdout;

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        write_stdout(bytes).map_err(io::Error::other).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The file that is to be replaced: links are followed.
fn existing(path: &Path) -> Result<PathBuf> {
    let path = match path.is_symlink() {
        true => fs::canonicalize(path).context("it is a link to a missing file")?,
        false => path.to_path_buf(),
    };
    match path.is_dir() {
        true => bail!("it is a folder"),
        false => Ok(path),
    }
}

/// Replaces a file. Links are followed; devices and pipes are written directly.
fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let path = existing(path)?;
    match fs::metadata(&path) {
        Ok(metadata) if !metadata.is_file() => Ok(fs::write(&path, bytes)?),
        old => {
            let file = new_file(&path, bytes)?;
            if let Ok(old) = old {
                file.set_permissions(old.permissions())?;
            }
            file.replace(&path).map_err(|e| output_error(&path, e))
        }
    }
}

/// Writes `bytes` to a new file in the folder of `path`.
fn new_file(path: &Path, bytes: &[u8]) -> Result<NewFile> {
    let mut file = NewFile::create_in(folder_of(path)).map_err(|e| creation_error(path, &e))?;
    file.write(bytes).map_err(|e| output_error(path, e))?;
    Ok(file)
}

/// The error of a temporary file that cannot be created. Its name is not the cause, and is not shown.
fn creation_error(path: &Path, error: &io::Error) -> anyhow::Error {
    match error.kind() {
        kind @ ErrorKind::PermissionDenied => FolderError(kind.to_string()).into(),
        kind => output_error(path, kind.into()),
    }
}

/// The error of an output at `path`: a [`FolderError`] if its folder is gone, full or read-only.
fn output_error(path: &Path, error: io::Error) -> anyhow::Error {
    use ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StaleNetworkFileHandle, StorageFull};
    let folder = folder_of(path);
    match error.kind() {
        StorageFull | QuotaExceeded | ReadOnlyFilesystem => FolderError(error.to_string()).into(),
        ErrorKind::NotFound | StaleNetworkFileHandle if !folder.is_dir() => {
            FolderError(format!("the folder {} is gone", shown(folder))).into()
        }
        _ => error.into(),
    }
}

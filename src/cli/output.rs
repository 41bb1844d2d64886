//! Where results go. Files are written completely or not at all.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};

use vae::picture::Format;

use super::failure::Failure;
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

impl Destination {
    /// Chooses a name that no file has: `path`, or the first of `name-1.ext`, `name-2.ext` and so on.
    pub fn fresh(path: &Path) -> Self {
        let (stem, extension) = stem_and_extension(path);
        let numbered = (1..).map(|i| path.with_file_name(format!("{stem}-{i}.{extension}")));
        let mut candidates = std::iter::once(path.to_path_buf()).chain(numbered);
        Self::Fresh(candidates.find(|path| !path.exists()).expect("there are more numbers than files"))
    }

    /// Returns one destination for each of `count` pictures: `out.png` for one, `out-0.png`, `out-1.png` and so on
    /// for more, with leading zeros for more than ten.
    pub fn numbered(&self, count: usize) -> Result<Vec<Self>> {
        let numbered = |path: &Path, destination: fn(PathBuf) -> Self| -> Vec<Self> {
            let digits = (count - 1).to_string().len();
            let (stem, extension) = stem_and_extension(path);
            let name = |i| path.with_file_name(format!("{stem}-{i:0digits$}.{extension}"));
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
        match self {
            Self::Named(path) | Self::Kept(path) | Self::Fresh(path) => {
                Format::from_path(path, quality).map_err(Failure::Usage)
            }
            Self::Stdout | Self::Nowhere => Ok(Format::Png),
        }
    }

    /// Returns the name that messages and JSON use, or `None` if nothing is written.
    pub fn name(&self) -> Option<String> {
        match self {
            Self::Stdout => Some("-".into()),
            Self::Named(path) | Self::Kept(path) | Self::Fresh(path) => Some(path.display().to_string()),
            Self::Nowhere => None,
        }
    }

    /// Whether the result of an earlier run is kept.
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Kept(path) if path.exists())
    }

    /// Writes all of `bytes`. A file is written under a temporary name and then renamed, so that an interrupted run
    /// does not leave a partial file.
    pub fn write(&self, bytes: &[u8]) -> Result<()> {
        let (path, result) = match self {
            Self::Stdout => return write_stdout(bytes),
            Self::Named(path) => (path, replace(path, bytes)),
            Self::Kept(path) | Self::Fresh(path) => (path, create(path, bytes)),
            Self::Nowhere => return Ok(()),
        };
        result.with_context(|| format!("cannot write {}", path.display()))
    }
}

fn stem_and_extension(path: &Path) -> (String, String) {
    let text = |part: Option<&OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
    (text(path.file_stem()), text(path.extension()))
}

/// Replaces a file. Links are followed; devices and pipes are written directly.
fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let path = match path.is_symlink() {
        true => fs::canonicalize(path).context("it is a link to a missing file")?,
        false => path.to_path_buf(),
    };
    match fs::metadata(&path) {
        Ok(metadata) if metadata.is_dir() => bail!("it is a folder"),
        Ok(metadata) if !metadata.is_file() => Ok(fs::write(&path, bytes)?),
        old => {
            let file = write_temporary(&path, bytes)?;
            if let Ok(old) = old {
                file.as_file().set_permissions(old.permissions())?;
            }
            file.persist(&path).map_err(|e| e.error)?;
            Ok(())
        }
    }
}

/// Creates a file that must not exist yet.
fn create(path: &Path, bytes: &[u8]) -> Result<()> {
    write_temporary(path, bytes)?.persist_noclobber(path).map_err(|e| e.error)?;
    Ok(())
}

/// Writes `bytes` to a temporary file in the folder of `path`. The file is deleted unless it is renamed.
fn write_temporary(path: &Path, bytes: &[u8]) -> Result<tempfile::NamedTempFile> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    builder.prefix(".vae-").suffix(".tmp");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666)); // minus the umask, as for any file
    let mut file = builder.tempfile_in(folder).map_err(|e| anyhow!("{}", e.kind()))?; // without the temporary name
    file.as_file_mut().write_all(bytes)?;
    Ok(file)
}

//! Results: files that appear whole or not at all, and stdout.

use std::fs;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};

/// Where one result goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Standard output.
    Stdout,
    /// A file that the user named: it is replaced.
    Named(PathBuf),
    /// A file in `--out-dir`: one that is there already is kept, and its input skipped.
    Kept(PathBuf),
    /// A file whose name this program chose because nothing else has it.
    Fresh(PathBuf),
    /// Not written: it is only displayed, or is part of a figure.
    Nowhere,
}

impl Target {
    /// What people call it.
    pub fn name(&self) -> String {
        match self {
            Self::Stdout => "-".into(),
            Self::Named(path) | Self::Kept(path) | Self::Fresh(path) => path.display().to_string(),
            Self::Nowhere => "nothing".into(),
        }
    }

    /// Its name, where something is written.
    pub fn written(&self) -> Option<String> {
        (*self != Self::Nowhere).then(|| self.name())
    }

    /// Whether it is there already and is to be kept.
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Kept(path) if path.exists())
    }

    /// Writes all of `bytes`. A file is written beside its place and renamed into it, so that a run that is
    /// killed leaves no half of one.
    pub fn write(&self, bytes: &[u8]) -> Result<()> {
        match self {
            Self::Stdout => write_stdout(bytes),
            Self::Named(path) => replace(path, bytes),
            Self::Kept(path) | Self::Fresh(path) => create(path, bytes),
            Self::Nowhere => Ok(()),
        }
        .with_context(|| {
            format!("cannot write {}", if *self == Self::Stdout { "stdout".into() } else { self.name() })
        })
    }
}

/// Prints a message to stderr. Errors are ignored, so that a closed stderr does not stop the work.
pub fn write_stderr(message: &str) {
    let _ = io::stderr().write_all(escaped(message).as_bytes());
}

/// Returns `text` as one or more lines, with control characters (of file names or metadata) as escapes.
pub fn escaped(text: &str) -> String {
    let escape =
        |c: char| if c.is_control() && c != '\n' { c.escape_default().to_string() } else { c.to_string() };
    text.trim_end().chars().map(escape).collect::<String>() + "\n"
}

/// Writes to stdout, but not binary data to a terminal.
pub fn write_stdout(bytes: &[u8]) -> Result<()> {
    let mut stdout = io::stdout().lock();
    if stdout.is_terminal() && std::str::from_utf8(bytes).is_err() {
        bail!("stdout is a terminal, and the result is binary: redirect it, or name a file with -o");
    }
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(()), // the reader has seen enough
        result => Ok(result?),
    }
}

fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    // A link is followed; a device or a pipe is written to.
    let path = match path.is_symlink() {
        true => fs::canonicalize(path).context("it is a link to what is not there")?,
        false => path.to_path_buf(),
    };
    match fs::metadata(&path) {
        Ok(metadata) if metadata.is_dir() => bail!("it is a folder"),
        Ok(metadata) if !metadata.is_file() => Ok(fs::write(&path, bytes)?),
        old => {
            let file = write_beside(&path, bytes)?;
            if let Ok(old) = old {
                file.as_file().set_permissions(old.permissions())?;
            }
            file.persist(&path).map_err(|e| e.error)?;
            Ok(())
        }
    }
}

fn create(path: &Path, bytes: &[u8]) -> Result<()> {
    write_beside(path, bytes)?.persist_noclobber(path).map_err(|e| e.error)?;
    Ok(())
}

/// A file with `bytes` in the folder of `path`, under another name, gone again if it is not renamed.
fn write_beside(path: &Path, bytes: &[u8]) -> Result<tempfile::NamedTempFile> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    builder.prefix(".vae-").suffix(".tmp");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666)); // less the umask, as for any file
    let mut file = builder.tempfile_in(folder).map_err(|e| anyhow!("{}", e.kind()))?; // without the other name
    file.as_file_mut().write_all(bytes)?;
    Ok(file)
}

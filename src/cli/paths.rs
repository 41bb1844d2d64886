//! Paths: how messages show them, and whether two are the same file.

use std::ffi::OsStr;
use std::fmt::Write;
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};

/// Returns the text of a path for messages and JSON. Bytes that are not UTF-8 are escaped, as `\xff`.
pub fn shown(path: &Path) -> String {
    let mut text = String::new();
    for chunk in path.as_os_str().as_encoded_bytes().utf8_chunks() {
        text += chunk.valid();
        for byte in chunk.invalid() {
            write!(text, "\\x{byte:02x}").expect("a string grows");
        }
    }
    text
}

/// Returns the folder of a file.
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Returns the path with `suffix` after the stem: `a.png` with `-1` is `a-1.png`.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_os_string();
    name.push(suffix);
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

/// Whether `name` is `stem`, a hyphen and digits.
pub fn is_numbered(name: &OsStr, stem: &OsStr) -> bool {
    let rest = name.as_encoded_bytes().strip_prefix(stem.as_encoded_bytes());
    let digits = rest.and_then(|rest| rest.strip_prefix(b"-"));
    digits.is_some_and(|digits| !digits.is_empty() && digits.iter().all(u8::is_ascii_digit))
}

/// Follows the links of a path to its last name, which need not exist.
pub fn resolve(path: &Path) -> PathBuf {
    const MOST_LINKS: usize = 40; // as Linux
    let mut path = path.to_path_buf();
    for _ in 0..MOST_LINKS {
        let Ok(target) = fs::read_link(&path) else { break };
        path = folder_of(&path).join(target);
    }
    path
}

/// What two names of one file have in common: the file's number, or its full path on systems without numbers.
#[derive(Debug, PartialEq, Eq, Hash)]
pub enum FileId {
    #[cfg(unix)]
    Number { device: u64, inode: u64 },
    #[cfg(not(unix))]
    Path(PathBuf),
}

impl FileId {
    /// Returns the identity of an existing regular file. Links are followed.
    pub fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok().filter(Metadata::is_file)?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            Some(Self::Number { device: metadata.dev(), inode: metadata.ino() })
        }
        #[cfg(not(unix))]
        {
            let _ = metadata;
            fs::canonicalize(path).ok().map(Self::Path)
        }
    }
}

/// Whether both are the same folder.
pub fn is_same_folder(one: &Path, other: &Path) -> bool {
    #[cfg(unix)]
    {
        is_same_file(&fs::metadata(one), &fs::metadata(other))
    }
    #[cfg(not(unix))]
    {
        matches!((fs::canonicalize(one), fs::canonicalize(other)), (Ok(one), Ok(other)) if one == other)
    }
}

/// Whether both are the same file. Systems without file numbers report that they are if both exist.
pub fn is_same_file(one: &io::Result<Metadata>, other: &io::Result<Metadata>) -> bool {
    let (Ok(one), Ok(other)) = (one, other) else { return false };
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        (one.dev(), one.ino()) == (other.dev(), other.ino())
    }
    #[cfg(not(unix))]
    {
        let _ = (one, other);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suffix_comes_before_the_extension() {
        assert_eq!(with_suffix("d/a.b.png".as_ref(), "-1"), Path::new("d/a.b-1.png"));
        assert_eq!(with_suffix("a".as_ref(), "-1"), Path::new("a-1"));
    }

    #[test]
    fn numbered_names_end_with_digits() {
        for (name, stem, numbered) in [
            ("a-0", "a", true),
            ("a-01", "a", true),
            ("a-", "a", false),
            ("a-x", "a", false),
            ("b-0", "a", false),
        ] {
            assert_eq!(is_numbered(name.as_ref(), stem.as_ref()), numbered, "{name}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn bytes_that_are_not_text_are_shown_escaped() {
        use std::os::unix::ffi::OsStrExt;
        assert_eq!(shown(Path::new(OsStr::from_bytes(b"d/a\xff\xc3\xa9.png"))), "d/a\\xff\u{e9}.png");
    }
}

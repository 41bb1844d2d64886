//! The content of an input. It is read once, and it can be compared with the input that a result was made from.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use sha2::{Digest, Sha256};

use vae::latents::{Header, LatentsError};

use super::input_digests::{InputDigests, Sha256Bytes, State};
use super::inspect::is_safetensors;
use super::jobs::Input;
use super::recipe::Stored;

/// One input, and its content once that has been read.
pub struct InputBytes<'a> {
    input: &'a Input,
    bytes: Option<Vec<u8>>,
    identity: Option<Identity>,
    digests: &'a InputDigests,
    /// The state of the file before it was read.
    state: Option<State>,
}

/// What a result stores about the content of its input.
struct Identity {
    size: u64,
    sha256: Sha256Bytes,
}

impl<'a> InputBytes<'a> {
    pub fn new(input: &'a Input) -> Self {
        Self::with_digests(input, InputDigests::of_user())
    }

    fn with_digests(input: &'a Input, digests: &'a InputDigests) -> Self {
        Self { input, bytes: None, identity: None, digests, state: None }
    }

    /// Returns the path if the input is a regular file.
    pub fn file(&self) -> Option<&'a Path> {
        match self.input {
            Input::File(path) => Some(path.as_path()).filter(|path| path.is_file()),
            _ => None,
        }
    }

    /// Reads the whole input, unless that has been done.
    fn read(&mut self) -> Result<&Identity> {
        if self.identity.is_none() {
            let state = || self.file().and_then(|path| State::of(path).ok());
            let before = state();
            let is_settled = before.as_ref().is_some_and(State::is_settled);
            let bytes = self.input.bytes()?;
            let sha256 = Sha256::digest(&bytes).into();
            if let Some(before) = before.as_ref().filter(|_| is_settled && before == state()) {
                self.digests.remember(before, &sha256);
            }
            self.identity = Some(Identity { size: bytes.len() as u64, sha256 });
            (self.state, self.bytes) = (before, Some(bytes));
        }
        self.identity.as_ref().context("the input was not read")
    }

    /// Whether nothing is lost if this is dropped. A pipe can be read only once.
    pub fn can_be_read_again(&self) -> bool {
        self.identity.is_none() || self.file().is_some()
    }

    /// Returns the content, which can be taken once.
    pub fn take(&mut self) -> Result<Vec<u8>> {
        self.read()?;
        self.bytes.take().context("the input was read twice")
    }

    /// Returns the header of latents. No more than that is read of a file.
    pub fn latents_header(&mut self) -> Result<Header> {
        let header = match self.file() {
            Some(path) => Header::open(path).map_err(|e| explain(e, || start(File::open(path)?)))?,
            None => {
                self.read()?;
                let bytes = self.bytes.as_deref().context("the input was read twice")?;
                Header::read(bytes, bytes.len() as u64).map_err(|e| explain(e, || start(bytes)))?
            }
        };
        if !header.is_complete() {
            return Err(LatentsError::CutOff { ours: header.metadata().is_some() }.into());
        }
        Ok(header)
    }

    /// Returns what a result stores about the content.
    pub fn describe(&mut self) -> Result<[(&'static str, String); 2]> {
        let Identity { size, sha256 } = self.read()?;
        Ok([("input_size", size.to_string()), ("input_sha256", hex(sha256))])
    }

    /// Whether the content is the one that a result states. It is read unless the size differs or its SHA-256 is remembered.
    pub fn is(&mut self, stored: &Stored) -> Result<bool> {
        let states = |key: &str, value: &str| stored.get(key).is_some_and(|stored| stored == value);
        if let (Some(path), None) = (self.file(), &self.identity) {
            let state = State::of(path)?;
            if !states("input_size", &state.size.to_string()) {
                return Ok(false);
            }
            if let Some(digest) = self.digests.recall(&state) {
                return Ok(states("input_sha256", &hex(&digest)));
            }
        }
        Ok(states("input_sha256", &hex(&self.read()?.sha256)))
    }

    /// Fails if the file has changed since it was read. It may be a file that is still being written.
    pub fn check_unchanged(&self) -> Result<()> {
        let (Some(path), Some(before), Some(identity)) = (self.file(), &self.state, &self.identity) else {
            return Ok(());
        };
        if State::of(path)? != *before && *Sha256::digest(self.input.bytes()?) != identity.sha256 {
            bail!("the file changed while it was being processed: run the command again");
        }
        Ok(())
    }
}

/// Returns the first bytes, by which a picture is recognized.
fn start(input: impl Read) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    input.take(64).read_to_end(&mut start)?;
    Ok(start)
}

/// Returns a better explanation for a file that is not safetensors, if it is a picture or empty.
fn explain(error: LatentsError, start: impl Fn() -> io::Result<Vec<u8>>) -> anyhow::Error {
    match start() {
        Ok(start) if start.is_empty() => anyhow!("the file is empty"),
        Ok(start) if !is_safetensors(&start) => match image::guess_format(&start) {
            Ok(format) => {
                let name = format.extensions_str().first().copied().unwrap_or_default().to_uppercase();
                anyhow!("this is a {name} picture, not latents: `vae encode` encodes it")
            }
            Err(_) => error.into(),
        },
        _ => error.into(),
    }
}

/// Lower-case hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{Seek, SeekFrom, Write};

    use super::*;

    const SIZE: usize = 100_000;

    /// Returns an input in a temporary folder, and what a result of it stores.
    fn input() -> (tempfile::TempDir, Input, Stored) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("input");
        fs::write(&path, (0..SIZE).map(|i| (i % 251) as u8).collect::<Vec<_>>()).expect("a file");
        let input = Input::File(path);
        let stored = InputBytes::new(&input).describe().expect("readable");
        (folder, input, stored.map(|(key, value)| (key.to_string(), value)).into())
    }

    fn write_at(input: &Input, at: u64, bytes: &[u8]) {
        let mut file = File::options().write(true).open(input.name()).expect("a file");
        file.seek(SeekFrom::Start(at)).expect("seeks");
        file.write_all(bytes).expect("writes");
    }

    #[test]
    fn the_digest_of_the_whole_content_decides() {
        let (_folder, input, stored) = input();
        let is = || InputBytes::new(&input).is(&stored).expect("readable");
        assert!(is());
        write_at(&input, 10_000, b"other");
        assert!(!is());
    }

    #[cfg(unix)]
    #[test]
    fn a_file_whose_digest_is_remembered_is_not_read() {
        let (folder, input, stored) = input();
        let digests = InputDigests::within(folder.path());
        let is = |stored: &Stored| InputBytes::with_digests(&input, &digests).is(stored).expect("readable");
        let state = || State::of(input.path().expect("a file")).expect("a file");
        assert!(is(&stored) && digests.recall(&state()).is_none(), "the file is too new");
        digests.remember(&state(), &[7; 32]);
        let of_memory: Stored =
            [("input_size".into(), SIZE.to_string()), ("input_sha256".into(), "07".repeat(32))].into();
        assert!(is(&of_memory) && !is(&stored));
        std::thread::sleep(std::time::Duration::from_millis(20)); // a tick of the file system's clock
        write_at(&input, 10_000, b"other");
        assert!(!is(&of_memory) && !is(&stored));
        File::options().append(true).open(input.name()).and_then(|f| f.set_len(7)).expect("shorter");
        digests.remember(&state(), &[7; 32]);
        assert!(!is(&of_memory), "another size");
    }

    #[test]
    fn a_change_during_the_work_is_an_error() {
        let (_folder, input, _) = input();
        let mut input_bytes = InputBytes::new(&input);
        input_bytes.take().expect("readable");
        input_bytes.check_unchanged().expect("unchanged");
        write_at(&input, 0, &[0, 1, 2, 3]); // the same bytes
        input_bytes.check_unchanged().expect("the content is the same");
        File::options().append(true).open(input.name()).and_then(|f| f.set_len(7)).expect("shorter");
        let error = input_bytes.check_unchanged().expect_err("another content").to_string();
        assert!(error.contains("changed while"), "{error}");
    }
}

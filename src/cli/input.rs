//! The content of an input. It is read once, and it can be compared with the input that a result was made from.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use sha2::{Digest, Sha256};

use vae::checkpoint::safetensors::is_safetensors;
use vae::latents::{Header, Latents, LatentsError};

use super::input_digests::{InputDigests, Sha256Bytes, State};
use super::jobs::Input;
use super::memory::check_bytes;
use super::read::Wanted;
use super::recipe::Stored;

/// One input, and its content once that has been read.
pub struct InputBytes<'a> {
    input: &'a Input,
    wanted: Wanted,
    /// The content, unless the input is a file of latents, of which only the latents are kept in memory.
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
    /// A picture.
    pub fn of_picture(input: &'a Input) -> Self {
        let digests = InputDigests::of_user();
        Self { input, wanted: Wanted::Picture, bytes: None, identity: None, digests, state: None }
    }

    /// Latents.
    pub fn of_latents(input: &'a Input) -> Self {
        Self { wanted: Wanted::Any, ..Self::of_picture(input) }
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
            let (identity, bytes) = match self.latents_file() {
                Some(path) => (Identity::of(File::open(path)?)?, None),
                None => {
                    let bytes = self.input.bytes(self.wanted)?;
                    (Identity::of(&bytes[..])?, Some(bytes))
                }
            };
            if let Some(before) = before.as_ref().filter(|_| is_settled && before == state()) {
                self.digests.remember(before, &identity.sha256);
            }
            (self.state, self.bytes, self.identity) = (before, bytes, Some(identity));
        }
        self.identity.as_ref().context("the input was not read")
    }

    /// Whether nothing is lost if this is dropped. A pipe can be read only once.
    pub fn can_be_read_again(&self) -> bool {
        self.identity.is_none() || self.file().is_some()
    }

    /// Returns the path if the input is a regular file of latents, which can be read in parts.
    fn latents_file(&self) -> Option<&'a Path> {
        self.file().filter(|_| self.wanted == Wanted::Any)
    }

    /// Returns the content of a picture, which can be taken once.
    pub fn take(&mut self) -> Result<Vec<u8>> {
        self.read()?;
        self.bytes.take().context("the input was read twice")
    }

    /// Returns the latents. No other tensor of a file is kept in memory.
    ///
    /// # Errors
    /// If they cannot be read, do not fit into memory, or have values that are NaN or infinite.
    pub fn take_latents(&mut self) -> Result<Latents> {
        self.read()?; // first, so that a change meanwhile is noticed
        let (_, latents) = match self.latents_file() {
            Some(path) => read_latents(path)?,
            None => latents_of(&self.bytes.take().context("the input was read twice")?)?,
        };
        Ok(Latents::new(latents.tensor, latents.provenance)?)
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

    /// Fails if the file has changed since its SHA-256 was computed. Then latents can be those of another content, and a picture can be one
    /// that is still being written.
    pub fn check_unchanged(&self) -> Result<()> {
        let (Some(path), Some(before), Some(identity)) = (self.file(), &self.state, &self.identity) else {
            return Ok(());
        };
        if State::of(path)? != *before && Identity::of(File::open(path)?)?.sha256 != identity.sha256 {
            bail!("the file changed while it was being processed: run the command again");
        }
        Ok(())
    }
}

impl Identity {
    /// Reads the whole input.
    fn of(mut input: impl Read) -> io::Result<Self> {
        let (mut sha256, mut buffer, mut size) = (Sha256::new(), vec![0; 1 << 20], 0);
        loop {
            match input.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => {
                    sha256.update(&buffer[..count]);
                    size += count as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(Self { size, sha256: sha256.finalize().into() })
    }
}

/// Reads the latents of a file, and the name of their tensor. Of the other tensors, nothing is read.
pub fn read_latents(path: &Path) -> Result<(String, Latents)> {
    let header = Header::open(path)?;
    let range = header.values()?;
    let stored = range.end - range.start;
    check_latents(&header, stored)?;
    let mut bytes = vec![0; stored as usize];
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(range.start))?;
    file.read_exact(&mut bytes)?;
    Ok(header.latents(&bytes)?)
}

/// Returns the latents in the content of a file, and the name of their tensor.
pub fn latents_of(bytes: &[u8]) -> Result<(String, Latents)> {
    check_latents(&Header::read(bytes, bytes.len() as u64)?, 0)?;
    Ok(Latents::peek(bytes)?)
}

/// Fails if there is not enough memory for `stored` bytes and for what is made of the latents.
fn check_latents(header: &Header, stored: u64) -> Result<()> {
    /// Bytes of a value: in f32, and copies to check, to unscale and to describe it.
    const VALUE: u64 = 16;
    let values = header.shape()?.iter().fold(1u64, |values, &side| values.saturating_mul(side as u64));
    check_bytes(values.saturating_mul(VALUE).saturating_add(stored), "reading the latents")
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
    use std::io::Write;

    use super::*;

    const SIZE: usize = 100_000;

    /// Returns an input in a temporary folder, and what a result of it stores.
    fn input() -> (tempfile::TempDir, Input, Stored) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("input");
        fs::write(&path, (0..SIZE).map(|i| (i % 251) as u8).collect::<Vec<_>>()).expect("a file");
        let input = Input::File(path);
        let stored = InputBytes::of_picture(&input).describe().expect("readable");
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
        let is = || InputBytes::of_picture(&input).is(&stored).expect("readable");
        assert!(is());
        write_at(&input, 10_000, b"other");
        assert!(!is());
    }

    #[cfg(unix)]
    #[test]
    fn a_file_whose_digest_is_remembered_is_not_read() {
        let (folder, input, stored) = input();
        let digests = InputDigests::within(folder.path());
        let of_input = || InputBytes { digests: &digests, ..InputBytes::of_picture(&input) };
        let is = |stored: &Stored| of_input().is(stored).expect("readable");
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
        let mut input_bytes = InputBytes::of_picture(&input);
        input_bytes.take().expect("readable");
        input_bytes.check_unchanged().expect("unchanged");
        write_at(&input, 0, &[0, 1, 2, 3]); // the same bytes
        input_bytes.check_unchanged().expect("the content is the same");
        File::options().append(true).open(input.name()).and_then(|f| f.set_len(7)).expect("shorter");
        let error = input_bytes.check_unchanged().expect_err("another content").to_string();
        assert!(error.contains("changed while"), "{error}");
    }
}

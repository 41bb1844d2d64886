//! The content of an input. It is read once, and it can be compared with the input that a result was made from.

use std::fs::{self, File, Metadata};
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, anyhow, bail};
use sha2::{Digest, Sha256};

use vae::checkpoint::safetensors::is_safetensors;
use vae::latents::{Header, Latents, LatentsError};

use super::jobs::Input;
use super::memory::check_bytes;
use super::read::Wanted;
use super::recipe::Stored;

/// A file counts as older than a result only if it changed at least so long before. File systems round times (FAT to
/// 2 seconds), and a result is written a moment after the last look at its input.
const MARGIN: Duration = Duration::from_secs(2);

/// The number of bytes at the start, in the middle and at the end of a file that are its sample.
const BLOCK: u64 = 4096;

/// One input, and its content once that has been read.
pub struct InputBytes<'a> {
    input: &'a Input,
    wanted: Wanted,
    /// The content, unless the input is a file of latents, of which only the latents are kept in memory.
    bytes: Option<Vec<u8>>,
    identity: Option<Identity>,
    /// The state of the file before it was read.
    state: Option<State>,
}

/// What a result stores about the content of its input.
struct Identity {
    size: u64,
    sha256: String,
    sample: String,
}

/// The size and the time of the last change of a file.
type State = (u64, Option<SystemTime>);

impl<'a> InputBytes<'a> {
    /// A picture.
    pub fn of_picture(input: &'a Input) -> Self {
        Self { input, wanted: Wanted::Picture, bytes: None, identity: None, state: None }
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
            self.state = self.file().and_then(|path| state(path).ok());
            self.identity = Some(match self.latents_file() {
                Some(path) => Identity::of(File::open(path)?)?,
                None => Identity::of(Cursor::new(self.bytes.insert(self.input.bytes(self.wanted)?)))?,
            });
        }
        self.identity.as_ref().context("the input was not read")
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
    pub fn describe(&mut self) -> Result<[(&'static str, String); 3]> {
        let Identity { size, sha256, sample } = self.read()?;
        Ok([
            ("input_size", size.to_string()),
            ("input_sha256", sha256.clone()),
            ("input_sample_sha256", sample.clone()),
        ])
    }

    /// Whether the content is the one that a result of the time `made` states.
    ///
    /// It is another one if the size or the sample differ. It is the same, without being read as a whole, if the file
    /// has not changed since [`MARGIN`] before `made`. In all other cases its SHA-256 decides.
    pub fn is(&mut self, stored: &Stored, made: SystemTime) -> Result<bool> {
        let states = |key: &str, value: &str| stored.get(key).is_some_and(|stored| stored == value);
        if let (Some(path), None) = (self.file(), &self.identity) {
            let (size, changed) = state(path)?;
            if !states("input_size", &size.to_string()) {
                return Ok(false);
            }
            if !states("input_sample_sha256", &sample(&mut File::open(path)?, size)?) {
                return Ok(false);
            }
            if changed.and_then(|changed| changed.checked_add(MARGIN)).is_some_and(|settled| settled < made) {
                return Ok(true);
            }
        }
        Ok(states("input_sha256", &self.read()?.sha256))
    }

    /// Fails if the file has changed since it was read, because its result would look newer than the change.
    pub fn check_unchanged(&self) -> Result<()> {
        let (Some(path), Some(before), Some(identity)) = (self.file(), self.state, &self.identity) else {
            return Ok(());
        };
        if state(path)? != before && Identity::of(File::open(path)?)?.sha256 != identity.sha256 {
            bail!("the file changed while it was being processed: run the command again");
        }
        Ok(())
    }
}

impl Identity {
    /// Reads the whole input.
    fn of(mut input: impl Read + Seek) -> io::Result<Self> {
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
        Ok(Self { size, sha256: hex(&sha256.finalize()), sample: sample(&mut input, size)? })
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

/// Returns the size of a file, and when it or the link to it last changed.
fn state(path: &Path) -> io::Result<State> {
    let (file, link) = (fs::metadata(path)?, fs::symlink_metadata(path)?);
    Ok((file.len(), changed(&file).zip(changed(&link)).map(|(file, link)| file.max(link))))
}

/// Returns the later one of the times of modification and of change. Programs can set the former only.
#[cfg(unix)]
fn changed(metadata: &Metadata) -> Option<SystemTime> {
    use std::os::unix::fs::MetadataExt;

    let (seconds, nanos) = (metadata.ctime().try_into().ok()?, metadata.ctime_nsec().try_into().ok()?);
    let changed = SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, nanos))?;
    Some(changed.max(metadata.modified().ok()?))
}

/// Without a time of change, no file can be trusted to be unchanged.
#[cfg(not(unix))]
fn changed(_: &Metadata) -> Option<SystemTime> {
    None
}

/// Returns the SHA-256 of the first, the middle and the last [`BLOCK`] bytes of a file. It tells files of equal size
/// apart, such as the frames of a film from two folders, without reading them as a whole.
fn sample(file: &mut (impl Read + Seek), size: u64) -> io::Result<String> {
    let mut bytes = Vec::new();
    let last = size.saturating_sub(BLOCK);
    for start in [0, last / 2, last] {
        file.seek(SeekFrom::Start(start))?;
        file.take(BLOCK).read_to_end(&mut bytes)?;
    }
    Ok(hex(&Sha256::digest(&bytes)))
}

/// Lower-case hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
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
        io::Write::write_all(&mut file, bytes).expect("writes");
    }

    #[test]
    fn the_digest_decides_about_a_file_that_is_not_older() {
        let (_folder, input, stored) = input();
        let now = SystemTime::now();
        assert!(InputBytes::of_picture(&input).is(&stored, now).expect("readable"));
        write_at(&input, 10_000, b"other"); // not in the sample
        for made in [now, SystemTime::now(), SystemTime::UNIX_EPOCH] {
            assert!(!InputBytes::of_picture(&input).is(&stored, made).expect("readable"));
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_is_older_is_not_read_as_a_whole() {
        let (_folder, input, mut stored) = input();
        stored.insert("input_sha256".into(), "not computed".into());
        let is =
            |later| InputBytes::of_picture(&input).is(&stored, SystemTime::now() + later).expect("readable");
        assert!(is(MARGIN + Duration::from_secs(60)));
        assert!(!is(Duration::ZERO));
        for at in [0, SIZE as u64 / 2, SIZE as u64 - 5] {
            let mut before = vec![0; 5];
            let mut file = File::open(input.name()).expect("a file");
            file.seek(SeekFrom::Start(at)).and_then(|_| file.read_exact(&mut before)).expect("reads");
            write_at(&input, at, b"other");
            assert!(!is(MARGIN + Duration::from_secs(60)), "{at}");
            write_at(&input, at, &before);
        }
        assert!(is(MARGIN + Duration::from_secs(60)));
        File::options().append(true).open(input.name()).and_then(|f| f.set_len(7)).expect("shorter");
        assert!(!is(MARGIN + Duration::from_secs(60)));
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

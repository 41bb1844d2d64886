//! One safetensors file on disk or in the program. A tensor is read when the model asks for it.
//!
//! The header and the digest of a file are read as usual. The file is mapped into memory when the first tensor is needed.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use candle_core::{DType, Device, Error, Result, Shape, Tensor};
use candle_nn::Init;
use candle_nn::var_builder::SimpleBackend;
use safetensors::SafeTensorError;
use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use sha2::{Digest, Sha256};

use crate::model::{Parameter, Tensors};
use crate::safetensors_header::{MAX_HEADER, parse};

use super::digest::Memo;
use super::{CheckpointError, Contents};

/// The tensors of one file. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Weights(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// The file's name in messages.
    name: PathBuf,
    content: Content,
    header: Metadata,
    data_start: usize,
    sha256: OnceLock<String>,
}

/// Where the bytes are.
#[derive(Debug)]
enum Content {
    File {
        file: File,
        len: u64,
        /// Filled when the first tensor is needed.
        map: OnceLock<Arc<Bytes>>,
        memo: Option<Memo>,
    },
    BuiltIn(Arc<Bytes>),
}

#[derive(Debug)]
enum Bytes {
    Mapped(memmap2::Mmap),
    BuiltIn(&'static [u8]),
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::BuiltIn(bytes) => bytes,
        }
    }
}

impl Weights {
    /// Opens `path` and checks its header: names, shapes and offsets fit each other and the file's size.
    pub fn open(path: &Path) -> std::result::Result<Self, CheckpointError> {
        let failed = |reason| CheckpointError::Read { path: path.into(), reason };
        let mut file = File::open(path).map_err(failed)?;
        let len = file.metadata().map_err(failed)?.len();
        let (header, data_start) = read_header(&mut file, len).map_err(|e| e.of_file(path))?;
        let memo = Memo::of(path, &file);
        let content = Content::File { file, len, map: OnceLock::new(), memo };
        Ok(Self::new(path.into(), content, header, data_start))
    }

    /// The same for bytes that are part of the program; messages call them `name`.
    pub(super) fn built_in(bytes: &'static [u8], name: &str) -> std::result::Result<Self, CheckpointError> {
        let (header, data_start) =
            read_header(&mut &*bytes, bytes.len() as u64).map_err(|e| e.of_file(name.as_ref()))?;
        Ok(Self::new(name.into(), Content::BuiltIn(Arc::new(Bytes::BuiltIn(bytes))), header, data_start))
    }

    fn new(name: PathBuf, content: Content, header: Metadata, data_start: usize) -> Self {
        Self(Arc::new(Inner { name, content, header, data_start, sha256: OnceLock::new() }))
    }

    /// The tensors and the metadata that the header lists.
    pub fn contents(&self) -> Contents {
        Contents::of(&self.0.header)
    }

    /// The SHA-256 of the file's content, in lower-case hexadecimal digits. It is computed once, and remembered in the
    /// user's cache folder as long as the file does not change.
    ///
    /// # Errors
    /// [`CheckpointError::Read`] if the file cannot be read or its length has changed.
    pub fn sha256(&self) -> std::result::Result<&str, CheckpointError> {
        let Inner { name, content, sha256, .. } = &*self.0;
        if let Some(digest) = sha256.get() {
            return Ok(digest);
        }
        let digest = match content {
            Content::BuiltIn(bytes) => hex(&Sha256::digest((**bytes).as_ref())),
            Content::File { file, len, memo, .. } => match memo.as_ref().and_then(Memo::recall) {
                Some(digest) => digest,
                None => {
                    let failed = |reason| CheckpointError::Read { path: name.clone(), reason };
                    let digest = hash(file, *len).map_err(failed)?;
                    memo.iter().for_each(|memo| memo.remember(&digest));
                    digest
                }
            },
        };
        Ok(sha256.get_or_init(|| digest))
    }

    /// The whole file, in memory.
    fn bytes(&self) -> Result<&Arc<Bytes>> {
        let (file, len, map) = match &self.0.content {
            Content::BuiltIn(bytes) => return Ok(bytes),
            Content::File { file, len, map, .. } => (file, *len, map),
        };
        if let Some(bytes) = map.get() {
            return Ok(bytes);
        }
        let mapped = map_file(file).and_then(|map| match map.len() as u64 {
            now if now == len => Ok(map),
            _ => Err(changed()),
        });
        let mapped = mapped.map_err(|e| Error::Msg(format!("cannot read {}: {e}", self.0.name.display())))?;
        Ok(map.get_or_init(|| Arc::new(Bytes::Mapped(mapped))))
    }

    fn info(&self, name: &str) -> Result<&TensorInfo> {
        let missing = || Error::Msg(format!("{} has no tensor `{name}`", self.0.name.display()));
        self.0.header.info(name).ok_or_else(missing)
    }

    /// The type of the stored values, and their bytes' range in the file.
    fn locate(&self, name: &str) -> Result<(DType, Range<usize>)> {
        let info = self.info(name)?;
        let stored = match info.dtype {
            Dtype::F16 => DType::F16,
            Dtype::BF16 => DType::BF16,
            Dtype::F32 => DType::F32,
            Dtype::F64 => DType::F64,
            other => {
                return Err(Error::Msg(format!(
                    "{}: tensor `{name}` has the type {other:?}, which cannot be read; \
                     use weights in F16, BF16, F32 or F64",
                    self.0.name.display()
                )));
            }
        };
        let (start, end) = info.data_offsets;
        Ok((stored, self.0.data_start + start..self.0.data_start + end))
    }

    fn check_shape(&self, name: &str, asked: &[usize]) -> Result<()> {
        let found = &self.info(name)?.shape;
        if found == asked {
            return Ok(());
        }
        let file = self.0.name.display();
        Err(Error::Msg(format!(
            "{file}: tensor `{name}` has shape {found:?}, but the config requires {asked:?}; \
             config and weights belong to different models"
        )))
    }
}

impl Tensors for Weights {
    fn get(&self, name: &str, shape: &[usize]) -> Result<Parameter> {
        self.check_shape(name, shape)?;
        let (stored, range) = self.locate(name)?;
        Ok(Parameter::borrowed(self.bytes()?.clone(), range, stored))
    }

    fn contains(&self, name: &str) -> bool {
        self.0.header.info(name).is_some()
    }
}

/// Why a header cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum HeaderError {
    #[error("cannot read it: {0}")]
    Read(io::Error),
    #[error("{0}")]
    Invalid(SafeTensorError),
}

impl HeaderError {
    fn of_file(self, path: &Path) -> CheckpointError {
        match self {
            Self::Read(reason) => CheckpointError::Read { path: path.into(), reason },
            Self::Invalid(e) => {
                CheckpointError::Weights { file: path.display().to_string(), reason: e.to_string() }
            }
        }
    }
}

/// Reads and checks the header of a file of `len` bytes. Returns also where the tensors' data start.
pub(super) fn read_header(
    file: &mut impl Read,
    len: u64,
) -> std::result::Result<(Metadata, usize), HeaderError> {
    use HeaderError::{Invalid, Read};
    const LENGTH: u64 = size_of::<u64>() as u64;
    let mut length = [0; LENGTH as usize];
    if len < LENGTH {
        return Err(Invalid(SafeTensorError::HeaderTooSmall));
    }
    file.read_exact(&mut length).map_err(Read)?;
    let length = u64::from_le_bytes(length);
    if length > MAX_HEADER {
        return Err(Invalid(SafeTensorError::HeaderTooLarge));
    }
    let start = LENGTH + length;
    if start > len {
        return Err(Invalid(SafeTensorError::InvalidHeaderLength));
    }
    let mut text = vec![0; length as usize];
    file.read_exact(&mut text).map_err(Read)?;
    let header = parse(&text).map_err(Invalid)?;
    match start.checked_add(header.data_len() as u64) {
        Some(end) if end == len => Ok((header, start as usize)),
        _ => Err(Invalid(SafeTensorError::MetadataIncompleteBuffer)),
    }
}

/// The SHA-256 of a file of `len` bytes.
fn hash(mut file: &File, len: u64) -> io::Result<String> {
    let (mut sha256, mut buffer, mut read) = (Sha256::new(), vec![0; 1 << 20], 0);
    file.rewind()?;
    loop {
        match file.read(&mut buffer) {
            Ok(0) if read == len => return Ok(hex(&sha256.finalize())),
            Ok(0) => return Err(changed()),
            Ok(count) => {
                sha256.update(&buffer[..count]);
                read += count as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

fn changed() -> io::Error {
    io::Error::other("its length has changed since it was opened; wait until it is complete")
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Maps a file. All maps of files are made here.
#[allow(unsafe_code)]
fn map_file(file: &File) -> io::Result<memmap2::Mmap> {
    // SAFETY: the map is read-only and private to this process. It requires that nobody changes the file while it
    // is mapped. Checkpoints are written once, then renamed, and not edited in place. If another program truncates
    // the file, the system ends this process (SIGBUS) without touching its memory. All values are read as plain
    // bytes, for which any content is valid, at offsets that were checked against the file's length.
    unsafe { memmap2::Mmap::map(file) }
}

impl SimpleBackend for Weights {
    fn get(&self, shape: Shape, name: &str, _: Init, dtype: DType, device: &Device) -> Result<Tensor> {
        self.check_shape(name, shape.dims())?;
        self.get_unchecked(name, dtype, device)
    }

    fn get_unchecked(&self, name: &str, dtype: DType, device: &Device) -> Result<Tensor> {
        let (stored, range) = self.locate(name)?;
        let bytes = &(**self.bytes()?).as_ref()[range];
        Tensor::from_raw_buffer(bytes, stored, &self.info(name)?.shape, device)?.to_dtype(dtype)
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.contains(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data: usize) -> Vec<u8> {
        [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &vec![0; data]].concat()
    }

    const HEADER: &str = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;

    #[test]
    fn a_header_is_read_as_safetensors_reads_it() {
        let right = file(HEADER, 8);
        let (header, start) = read_header(&mut right.as_slice(), right.len() as u64).expect("a header");
        assert_eq!((header.info("a").map(|a| a.shape.clone()), start), (Some(vec![2]), 8 + HEADER.len()));
        let gap = HEADER.replace("[0,8]", "[8,16]");
        let huge = HEADER.replace("[2]", "[4611686018427387904,4]");
        let too_long = [&100_000_001u64.to_le_bytes()[..], &[0; 100]].concat();
        for wrong in [
            Vec::new(),
            right[..7].to_vec(),
            right[..20].to_vec(),
            right[..right.len() - 1].to_vec(),
            [&right[..], b"x"].concat(),
            file("{", 0),
            file("[]", 0),
            file("\u{ff}", 0),
            file(&gap, 16),
            file(&huge, 8),
            too_long,
        ] {
            let ours = read_header(&mut wrong.as_slice(), wrong.len() as u64);
            assert!(ours.is_err() && safetensors::SafeTensors::read_metadata(&wrong).is_err());
        }
    }

    #[test]
    fn a_file_that_changes_after_it_was_opened_is_an_error() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("w.safetensors");
        for length in [0, 20, 100_000] {
            std::fs::write(&path, file(HEADER, 8)).expect("a file");
            let weights = Weights::open(&path).expect("weights");
            let opened = File::options().write(true).open(&path).expect("a file");
            opened.set_len(length).expect("another length");
            assert!(weights.sha256().is_err_and(|e| e.to_string().contains("length has changed")));
            assert_eq!(weights.contents().parameters(), 2);
            let tensor = Tensors::get(&weights, "a", &[2]);
            assert!(tensor.is_err_and(|e| e.to_string().contains("length has changed")));
        }
    }
}

//! One file of weights, on disk or in the program. A tensor is read when the model asks for it.
//!
//! Where the tensors are and the digest of a file are read as usual. The file is mapped into memory when the first tensor is
//! needed.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use candle_core::{DType, Device, Error, Result, Shape, Tensor};
use candle_nn::Init;
use candle_nn::var_builder::SimpleBackend;
use safetensors::tensor::Dtype;
use sha2::{Digest, Sha256};

use crate::model::{Parameter, Tensors};

use super::digest::Memo;
use super::pickle::{Container, Pickle};
use super::safetensors::{self as header, is_safetensors};
use super::table::{Place, Stored, Table, TableError};
use super::{CheckpointError, Contents};

/// The tensors of one file. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Weights(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// The file's name in messages.
    name: PathBuf,
    content: Content,
    table: Table,
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
    /// Opens `path`, a safetensors file or a pickle of PyTorch, whatever its name ends with. The names, shapes and places of
    /// its tensors are checked against each other and the file's size.
    ///
    /// # Errors
    /// [`CheckpointError::Weights`] for a damaged safetensors file and any other file, and [`CheckpointError::Pickle`] for a
    /// pickle without tensors, a damaged one, and one that names dangerous functions.
    pub fn open(path: &Path) -> std::result::Result<Self, CheckpointError> {
        let failed = |reason| CheckpointError::Read { path: path.into(), reason };
        let mut file = File::open(path).map_err(failed)?;
        let len = file.metadata().map_err(failed)?.len();
        let mut start = Vec::new();
        (&file).take(16).read_to_end(&mut start).map_err(failed)?;
        file.rewind().map_err(failed)?;
        let name = || path.display().to_string();
        let table = match Container::of(&start).filter(|_| !is_safetensors(&start)) {
            Some(container) => {
                let pickle = Pickle::read(&file, len, container).map_err(failed)?;
                pickle.into_table().map_err(|reason| CheckpointError::Pickle { file: name(), reason })?
            }
            None => header::read(&mut file, len).map_err(|e| match e {
                TableError::Read(reason) => failed(reason),
                TableError::Invalid(reason) => CheckpointError::Weights { file: name(), reason },
            })?,
        };
        let memo = Memo::of(path, &file);
        Ok(Self::new(path.into(), Content::File { file, len, map: OnceLock::new(), memo }, table))
    }

    /// The same for a safetensors file that is part of the program; messages call it `name`.
    pub(super) fn built_in(bytes: &'static [u8], name: &str) -> std::result::Result<Self, CheckpointError> {
        let invalid = |reason: String| CheckpointError::Weights { file: name.into(), reason };
        let table = header::read(&mut &*bytes, bytes.len() as u64).map_err(|e| match e {
            TableError::Read(reason) => invalid(reason.to_string()),
            TableError::Invalid(reason) => invalid(reason),
        })?;
        Ok(Self::new(name.into(), Content::BuiltIn(Arc::new(Bytes::BuiltIn(bytes))), table))
    }

    fn new(name: PathBuf, content: Content, table: Table) -> Self {
        Self(Arc::new(Inner { name, content, table, sha256: OnceLock::new() }))
    }

    /// The file; `None` if the tensors are part of the program.
    pub fn path(&self) -> Option<&Path> {
        matches!(self.0.content, Content::File { .. }).then_some(&self.0.name)
    }

    /// The tensors of the file, and its metadata.
    pub fn contents(&self) -> Contents {
        self.0.table.contents()
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

    /// The file's name in messages.
    pub(super) fn name(&self) -> &Path {
        &self.0.name
    }

    /// The bytes of a tensor of any type, row-major.
    ///
    /// # Errors
    /// If the tensor is missing, or the file cannot be read.
    pub(super) fn raw(&self, name: &str) -> Result<Cow<'_, [u8]>> {
        Ok(self.stored(name)?.values((**self.bytes()?).as_ref()))
    }

    fn stored(&self, name: &str) -> Result<&Stored> {
        let missing = || Error::Msg(format!("{} has no tensor `{name}`", self.0.name.display()));
        self.0.table.tensors.get(name).ok_or_else(missing)
    }

    /// The type of the tensor's values.
    fn dtype(&self, name: &str) -> Result<DType> {
        Ok(match self.stored(name)?.dtype {
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
        })
    }

    fn check_shape(&self, name: &str, asked: &[usize]) -> Result<()> {
        let found = &self.stored(name)?.shape;
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
        let (stored, dtype, file) = (self.stored(name)?, self.dtype(name)?, self.bytes()?);
        Ok(match &stored.place {
            Place::Contiguous(range) => Parameter::borrowed(file.clone(), range.clone(), dtype),
            Place::Strided { .. } => {
                let values = stored.values((**file).as_ref()).into_owned();
                let all = 0..values.len();
                Parameter::borrowed(Arc::new(values), all, dtype)
            }
        })
    }

    fn contains(&self, name: &str) -> bool {
        self.0.table.tensors.contains_key(name)
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
        let (stored, stored_dtype) = (self.stored(name)?, self.dtype(name)?);
        let values = stored.values((**self.bytes()?).as_ref());
        Tensor::from_raw_buffer(&values, stored_dtype, &stored.shape, device)?.to_dtype(dtype)
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

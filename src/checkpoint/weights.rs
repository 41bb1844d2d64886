//! One safetensors file, mapped into memory or part of the program. A tensor is read when the model asks for it.

use std::fs::File;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use candle_core::{DType, Device, Error, Result, Shape, Tensor};
use candle_nn::Init;
use candle_nn::var_builder::SimpleBackend;
use safetensors::tensor::{Dtype, Metadata, SafeTensors, TensorInfo};
use sha2::{Digest, Sha256};

use crate::model::{Parameter, Tensors};

use super::digest::Memo;
use super::{CheckpointError, Contents};

/// The tensors of one file. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Weights(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// The file's name in messages.
    file: String,
    bytes: Arc<Bytes>,
    header: Metadata,
    data_start: usize,
    sha256: OnceLock<String>,
    memo: Option<Memo>,
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
    /// Maps `path` and checks its header: names, shapes and offsets fit each other and the file's size.
    pub fn map(path: &Path) -> std::result::Result<Self, CheckpointError> {
        let read = |reason| CheckpointError::Read { path: path.into(), reason };
        let file = File::open(path).map_err(read)?;
        let memo = Memo::of(path, &file);
        let bytes = map_file(&file).map_err(read)?;
        Self::new(Bytes::Mapped(bytes), path.display().to_string(), memo)
    }

    /// The same for bytes that are part of the program; messages call them `file`.
    pub(super) fn built_in(bytes: &'static [u8], file: &str) -> std::result::Result<Self, CheckpointError> {
        Self::new(Bytes::BuiltIn(bytes), file.to_string(), None)
    }

    fn new(bytes: Bytes, file: String, memo: Option<Memo>) -> std::result::Result<Self, CheckpointError> {
        let (header_len, header) = SafeTensors::read_metadata(bytes.as_ref())
            .map_err(|e| CheckpointError::Weights { file: file.clone(), reason: e.to_string() })?;
        let data_start = header_len + size_of::<u64>();
        let sha256 = OnceLock::new();
        Ok(Self(Arc::new(Inner { file, bytes: Arc::new(bytes), header, data_start, sha256, memo })))
    }

    /// The whole file.
    pub fn bytes(&self) -> &[u8] {
        (*self.0.bytes).as_ref()
    }

    /// The tensors and the metadata that the header lists.
    pub fn contents(&self) -> Contents {
        Contents::of(&self.0.header)
    }

    /// The SHA-256 of the file's content, in lower-case hexadecimal digits. It is computed once, and remembered in the
    /// user's cache folder as long as the file does not change.
    pub fn sha256(&self) -> &str {
        self.0.sha256.get_or_init(|| {
            let memo = self.0.memo.as_ref();
            memo.and_then(Memo::recall).unwrap_or_else(|| {
                let digest = hex(&Sha256::digest(self.bytes()));
                memo.inspect(|memo| memo.remember(&digest));
                digest
            })
        })
    }

    fn info(&self, name: &str) -> Result<&TensorInfo> {
        let missing = || Error::Msg(format!("{} has no tensor `{name}`", self.0.file));
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
                    self.0.file
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
        let file = &self.0.file;
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
        Ok(Parameter::borrowed(self.0.bytes.clone(), range, stored))
    }

    fn contains(&self, name: &str) -> bool {
        self.0.header.info(name).is_some()
    }
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Maps a file. All maps of files are made here.
#[allow(unsafe_code)]
fn map_file(file: &File) -> std::io::Result<memmap2::Mmap> {
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
        let bytes = &self.bytes()[range];
        Tensor::from_raw_buffer(bytes, stored, &self.info(name)?.shape, device)?.to_dtype(dtype)
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.contains(name)
    }
}

//! One safetensors file, mapped into memory or part of the program: a tensor is read when the model asks for it, and
//! not before.

use std::fs::File;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use candle_core::{DType, Device, Error, Result, Shape, Tensor};
use candle_nn::Init;
use candle_nn::var_builder::SimpleBackend;
use safetensors::tensor::{Metadata, SafeTensors, TensorInfo};
use sha2::{Digest, Sha256};

use super::{CheckpointError, Contents};
use crate::model::{Parameter, Tensors};

/// The tensors of one file. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Weights(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    origin: String,
    bytes: Arc<Bytes>,
    header: Metadata,
    data_start: usize,
    sha256: OnceLock<String>,
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
        let bytes = map_file(&File::open(path).map_err(read)?).map_err(read)?;
        Self::new(Bytes::Mapped(bytes), path.display().to_string())
    }

    /// The same for bytes that are part of the program; `origin` is what messages call them.
    pub(super) fn built_in(bytes: &'static [u8], origin: &str) -> std::result::Result<Self, CheckpointError> {
        Self::new(Bytes::BuiltIn(bytes), origin.to_string())
    }

    fn new(bytes: Bytes, origin: String) -> std::result::Result<Self, CheckpointError> {
        let (header_len, header) = SafeTensors::read_metadata(bytes.as_ref())
            .map_err(|e| CheckpointError::Weights { origin: origin.clone(), reason: e.to_string() })?;
        let data_start = header_len + size_of::<u64>();
        Ok(Self(Arc::new(Inner {
            origin,
            bytes: Arc::new(bytes),
            header,
            data_start,
            sha256: OnceLock::new(),
        })))
    }

    /// The whole file.
    pub fn bytes(&self) -> &[u8] {
        (*self.0.bytes).as_ref()
    }

    /// What the file's header lists.
    pub fn contents(&self) -> Contents {
        Contents::of(&self.0.header)
    }

    /// The SHA-256 of the file, in lower-case hexadecimal digits; read from the file the first time.
    pub fn sha256(&self) -> &str {
        self.0.sha256.get_or_init(|| hex(&Sha256::digest(self.bytes())))
    }

    /// Takes a digest that is known already, so that the file need not be read for it.
    pub(super) fn set_sha256(&self, digest: String) {
        self.0.sha256.get_or_init(|| digest);
    }

    fn info(&self, name: &str) -> Result<&TensorInfo> {
        let missing = || Error::Msg(format!("{} has no tensor `{name}`", self.0.origin));
        self.0.header.info(name).ok_or_else(missing)
    }

    /// The type that the tensor is stored in, and where it lies in the file.
    fn place(&self, name: &str) -> Result<(DType, Range<usize>)> {
        let info = self.info(name)?;
        let stored = DType::try_from(info.dtype).ok().filter(|d| d.is_float()).ok_or_else(|| {
            Error::Msg(format!("{}: tensor `{name}` is of type {:?}", self.0.origin, info.dtype))
        })?;
        let (start, end) = info.data_offsets;
        Ok((stored, self.0.data_start + start..self.0.data_start + end))
    }

    fn check_shape(&self, name: &str, asked: &[usize]) -> Result<()> {
        let found = &self.info(name)?.shape;
        if found == asked {
            return Ok(());
        }
        let origin = &self.0.origin;
        Err(Error::Msg(format!(
            "{origin}: tensor `{name}` has shape {found:?}, and the config asks for {asked:?}; \
             config and weights are of different models"
        )))
    }
}

impl Tensors for Weights {
    fn get(&self, name: &str, shape: &[usize]) -> Result<Parameter> {
        self.check_shape(name, shape)?;
        let (stored, range) = self.place(name)?;
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

/// The one place where files are mapped.
#[allow(unsafe_code)]
fn map_file(file: &File) -> std::io::Result<memmap2::Mmap> {
    // SAFETY: the map is read-only and private to this process. What it needs is that nobody changes the file
    // while it is mapped. Checkpoints are written once, by rename, and not edited in place; should somebody
    // truncate one under us, the system ends the process (SIGBUS), and no memory of ours is touched. Every value
    // read from it is taken as plain bytes, for which any content is valid, at offsets checked against its length.
    unsafe { memmap2::Mmap::map(file) }
}

impl SimpleBackend for Weights {
    fn get(&self, shape: Shape, name: &str, _: Init, dtype: DType, device: &Device) -> Result<Tensor> {
        self.check_shape(name, shape.dims())?;
        self.get_unchecked(name, dtype, device)
    }

    fn get_unchecked(&self, name: &str, dtype: DType, device: &Device) -> Result<Tensor> {
        let (stored, range) = self.place(name)?;
        let bytes = &self.bytes()[range];
        Tensor::from_raw_buffer(bytes, stored, &self.info(name)?.shape, device)?.to_dtype(dtype)
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.contains(name)
    }
}

//! The tensors of a checkpoint as the layers hold them: borrowed from where they lie, in the precision they are stored in.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::VarBuilder;

/// Named tensors: what a checkpoint is to the model.
pub trait Tensors: Send + Sync {
    /// The tensor `name`; an error that names it where it is missing, of another shape or no floats.
    fn get(&self, name: &str, shape: &[usize]) -> Result<Parameter>;
    /// Whether there is a tensor `name`.
    fn contains(&self, name: &str) -> bool;
}

/// The tensors under a prefix. Cheap to clone.
#[derive(Clone)]
pub struct Parameters {
    tensors: Arc<dyn Tensors>,
    prefix: String,
}

impl Parameters {
    /// All tensors of a checkpoint.
    pub fn new(tensors: impl Tensors + 'static) -> Self {
        Self { tensors: Arc::new(tensors), prefix: String::new() }
    }

    /// Those whose names go on with `part` and a dot.
    pub fn pp(&self, part: impl fmt::Display) -> Self {
        Self { tensors: self.tensors.clone(), prefix: format!("{}{part}.", self.prefix) }
    }

    /// The tensor `name` under the prefix.
    pub fn get(&self, shape: &[usize], name: &str) -> Result<Parameter> {
        self.tensors.get(&format!("{}{name}", self.prefix), shape)
    }

    /// A tensor of one dimension, as numbers: small enough to be copied.
    pub fn vector(&self, len: usize, name: &str) -> Result<Vec<f32>> {
        Ok(self.get(&[len], name)?.to_f32()?.into_owned())
    }

    /// Whether there is a tensor `name` under the prefix.
    pub fn contains(&self, name: &str) -> bool {
        self.tensors.contains(&format!("{}{name}", self.prefix))
    }
}

impl Tensors for VarBuilder<'static> {
    fn get(&self, name: &str, shape: &[usize]) -> Result<Parameter> {
        let values = VarBuilder::get(self, shape, name)?.flatten_all()?.to_dtype(DType::F32)?.to_vec1()?;
        Ok(Parameter(Place::Owned(values.into())))
    }

    fn contains(&self, name: &str) -> bool {
        self.contains_tensor(name)
    }
}

impl From<VarBuilder<'static>> for Parameters {
    fn from(tensors: VarBuilder<'static>) -> Self {
        Self::new(tensors)
    }
}

/// One tensor. Cheap to clone.
#[derive(Clone)]
pub struct Parameter(Place);

#[derive(Clone)]
enum Place {
    Owned(Arc<[f32]>),
    Borrowed { file: Arc<dyn AsRef<[u8]> + Send + Sync>, range: Range<usize>, stored: DType },
}

impl Parameter {
    /// The bytes `range` of a file that holds little-endian numbers of the type `stored` there.
    pub fn borrowed(file: Arc<dyn AsRef<[u8]> + Send + Sync>, range: Range<usize>, stored: DType) -> Self {
        Self(Place::Borrowed { file, range, stored })
    }

    /// The numbers, row-major: where they lie if they are f32 there, else converted.
    pub fn to_f32(&self) -> Result<Cow<'_, [f32]>> {
        let (file, range, stored) = match &self.0 {
            Place::Owned(values) => return Ok(Cow::Borrowed(values)),
            Place::Borrowed { file, range, stored } => (file, range, *stored),
        };
        let bytes = &(**file).as_ref()[range.clone()];
        if stored == DType::F32
            && cfg!(target_endian = "little")
            && let Ok(values) = bytemuck::try_cast_slice(bytes)
        {
            return Ok(Cow::Borrowed(values));
        }
        let count = bytes.len() / stored.size_in_bytes();
        let values = Tensor::from_raw_buffer(bytes, stored, &[count], &Device::Cpu)?.to_dtype(DType::F32)?;
        Ok(Cow::Owned(values.to_vec1()?))
    }
}

impl fmt::Debug for Parameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::Owned(values) => write!(f, "{} numbers", values.len()),
            Place::Borrowed { range, stored, .. } => write!(f, "{stored:?} at {range:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(bytes: Vec<u8>, range: Range<usize>, stored: DType) -> Vec<f32> {
        Parameter::borrowed(Arc::new(bytes), range, stored).to_f32().expect("numbers").into_owned()
    }

    #[test]
    fn numbers_are_read_at_any_offset_and_precision() {
        let mut bytes = vec![7];
        for x in [1.5f32, -2.0] {
            bytes.extend(x.to_le_bytes());
        }
        assert_eq!(numbers(bytes.clone(), 1..9, DType::F32), [1.5, -2.0]);
        assert_eq!(numbers(bytes[1..].to_vec(), 4..8, DType::F32), [-2.0]);
        assert_eq!(numbers(vec![0x00, 0x3e, 0x00, 0xc0], 0..4, DType::F16), [1.5, -2.0]);
        assert_eq!(numbers(vec![0xc0, 0x3f, 0x00, 0xc0], 0..4, DType::BF16), [1.5, -2.0]);
    }
}

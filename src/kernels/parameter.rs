//! A tensor of a checkpoint: borrowed from its file, in the precision in which it is stored.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use candle_core::DType;
use half::{bf16, f16};

use super::Error;

/// One tensor, or a part of it. Cheap to clone.
#[derive(Clone)]
pub struct Parameter {
    storage: Storage,
    part: Option<Part>,
}

/// Of each `of` consecutive numbers, those in `range`.
#[derive(Clone)]
struct Part {
    of: usize,
    range: Range<usize>,
}

#[derive(Clone)]
enum Storage {
    Owned(Arc<[f32]>),
    Borrowed { file: Arc<dyn AsRef<[u8]> + Send + Sync>, range: Range<usize>, dtype: DType },
}

impl Parameter {
    /// A copy in f32, row-major.
    pub fn owned(values: Vec<f32>) -> Self {
        Self { storage: Storage::Owned(values.into()), part: None }
    }

    /// The bytes `range` of a file that holds little-endian numbers of the type `dtype` there.
    pub fn borrowed(file: Arc<dyn AsRef<[u8]> + Send + Sync>, range: Range<usize>, dtype: DType) -> Self {
        Self { storage: Storage::Borrowed { file, range, dtype }, part: None }
    }

    /// Of each `of` consecutive numbers, those in `range`: `[18..27]` of each 27 are the last slices of filters `[3][3][3]`.
    ///
    /// # Panics
    /// If this is a part already, or the range is not one of `of` numbers.
    #[must_use]
    pub fn part_of_each(self, of: usize, range: Range<usize>) -> Self {
        assert!(self.part.is_none() && range.start <= range.end && range.end <= of);
        Self { part: Some(Part { of, range }), ..self }
    }

    /// The numbers, row-major: borrowed if they are aligned f32, else converted.
    ///
    /// # Errors
    /// [`Error::Parameter`] if the numbers are not f16, bf16, f32 or f64.
    pub fn to_f32(&self) -> Result<Cow<'_, [f32]>, Error> {
        let (file, range, dtype) = match &self.storage {
            Storage::Owned(values) => return Ok(self.select(values, 1)),
            Storage::Borrowed { file, range, dtype } => (file, range, *dtype),
        };
        let bytes = self.select(&(**file).as_ref()[range.clone()], dtype.size_in_bytes());
        if dtype == DType::F32
            && cfg!(target_endian = "little")
            && let Cow::Borrowed(bytes) = bytes
            && let Ok(values) = bytemuck::try_cast_slice(bytes)
        {
            return Ok(Cow::Borrowed(values));
        }
        let values = match dtype {
            DType::F16 => convert(&bytes, |b| f16::from_le_bytes(b).to_f32()),
            DType::BF16 => convert(&bytes, |b| bf16::from_le_bytes(b).to_f32()),
            DType::F32 => convert(&bytes, f32::from_le_bytes),
            DType::F64 => convert(&bytes, |b| f64::from_le_bytes(b) as f32),
            other => {
                return Err(Error::Parameter(format!(
                    "a tensor of type {other:?}: f16, bf16, f32 and f64 can be read"
                )));
            }
        };
        Ok(Cow::Owned(values))
    }

    /// The part, of numbers that are `size` values each.
    fn select<'a, T: Copy>(&self, values: &'a [T], size: usize) -> Cow<'a, [T]> {
        match &self.part {
            None => Cow::Borrowed(values),
            Some(Part { of, range }) => {
                let range = range.start * size..range.end * size;
                let wholes = values.chunks_exact((of * size).max(1));
                let mut part = Vec::with_capacity(wholes.len() * range.len());
                wholes.for_each(|whole| part.extend_from_slice(&whole[range.clone()]));
                Cow::Owned(part)
            }
        }
    }
}

fn convert<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|&bytes| number(bytes)).collect()
}

impl fmt::Debug for Parameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.storage {
            Storage::Owned(values) => write!(f, "{} numbers", values.len()),
            Storage::Borrowed { range, dtype, .. } => write!(f, "{dtype:?} at {range:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(bytes: Vec<u8>, range: Range<usize>, dtype: DType) -> Vec<f32> {
        Parameter::borrowed(Arc::new(bytes), range, dtype).to_f32().expect("numbers").into_owned()
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
        assert_eq!(numbers((-2.5f64).to_le_bytes().to_vec(), 0..8, DType::F64), [-2.5]);
    }

    #[test]
    fn parts_have_the_numbers_in_their_range() {
        let values: Vec<f32> = (0..12).map(|x| x as f32).collect();
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        let halves: Vec<u8> = values.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect();
        for whole in [
            Parameter::owned(values),
            Parameter::borrowed(Arc::new(bytes), 0..48, DType::F32),
            Parameter::borrowed(Arc::new(halves), 0..24, DType::F16),
        ] {
            let part =
                |of, range| whole.clone().part_of_each(of, range).to_f32().expect("numbers").into_owned();
            assert_eq!(part(6, 4..6), [4.0, 5.0, 10.0, 11.0]);
            assert_eq!(part(12, 3..6), [3.0, 4.0, 5.0]);
            assert_eq!(part(3, 0..0), [0.0; 0]);
        }
    }

    #[test]
    fn integers_are_refused() {
        assert!(Parameter::borrowed(Arc::new(vec![0u8; 4]), 0..4, DType::U32).to_f32().is_err());
    }
}

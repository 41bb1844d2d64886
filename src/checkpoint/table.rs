//! Where the tensors of a file are, whatever its container.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;

use safetensors::tensor::{Dtype, Metadata};

use super::Contents;
use super::contents::Entry;

/// Why the tensors of a file are not known.
#[derive(Debug)]
pub(super) enum TableError {
    /// The file cannot be read.
    Read(io::Error),
    /// What is wrong with its content.
    Invalid(String),
}

/// The tensors of one file by name, and the metadata that the writer added.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Table {
    pub tensors: BTreeMap<String, Stored>,
    pub metadata: BTreeMap<String, String>,
}

impl Table {
    /// The tensors that a safetensors header lists. Their bytes begin at `start`.
    pub fn of_header(header: &Metadata, start: usize) -> Self {
        let tensors = header.tensors().into_iter().map(|(name, info)| {
            let (from, to) = info.data_offsets;
            let place = Place::Contiguous(start + from..start + to);
            (name, Stored { dtype: info.dtype, shape: info.shape.clone(), place })
        });
        let metadata = header.metadata().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
        Self { tensors: tensors.collect(), metadata }
    }

    /// Names, types and shapes.
    pub fn contents(&self) -> Contents {
        let entry = |(name, stored): (&String, &Stored)| Entry {
            name: name.clone(),
            dtype: format!("{:?}", stored.dtype),
            shape: stored.shape.clone(),
        };
        Contents { tensors: self.tensors.iter().map(entry).collect(), metadata: self.metadata.clone() }
    }
}

/// One tensor of a file.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stored {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub place: Place,
}

/// Where the values of a tensor are in its file. All ranges are within the file.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Place {
    /// Row-major in these bytes.
    Contiguous(Range<usize>),
    /// A view: value `[i, j, …]` is number `first + i·strides[0] + j·strides[1] + …` of those in `storage`.
    Strided { storage: Range<usize>, first: usize, strides: Vec<usize> },
}

impl Stored {
    /// A view of the values in the bytes `storage`, whose length is a multiple of the type's size.
    ///
    /// # Errors
    /// A human-readable reason if the view has too many values to count, or reaches beyond the storage.
    pub fn view(
        dtype: Dtype,
        shape: Vec<usize>,
        storage: Range<usize>,
        first: usize,
        strides: Vec<usize>,
    ) -> Result<Self, String> {
        let size = dtype.bitsize() / 8;
        // Zeros are left out, so that every product of some of the sides is checked.
        let product = |n: usize, &side: &usize| n.checked_mul(side.max(1));
        let bytes = shape.iter().try_fold(size, product).filter(|&bytes| isize::try_from(bytes).is_ok());
        let Some(bytes) = bytes else { return Err(format!("its shape {shape:?} is too large")) };
        let is_empty = shape.contains(&0);
        let (mut row_major, mut count, mut last) = (true, 1, Some(first));
        for (&side, &stride) in shape.iter().zip(&strides).rev() {
            row_major &= side == 1 || stride == count;
            count *= side.max(1);
            last = last.and_then(|last| last.checked_add(side.saturating_sub(1).checked_mul(stride)?));
        }
        let values = storage.len() / size;
        if !is_empty && last.is_none_or(|last| last >= values) {
            return Err(format!(
                "its shape {shape:?}, strides {strides:?} and offset {first} reach beyond its {values} values"
            ));
        }
        let place = if is_empty {
            Place::Contiguous(storage.start..storage.start)
        } else if row_major {
            let start = storage.start + first * size;
            Place::Contiguous(start..start + bytes)
        } else {
            Place::Strided { storage, first, strides }
        };
        Ok(Self { dtype, shape, place })
    }

    /// How many bytes [`values`](Self::values) copies.
    pub fn copied(&self) -> usize {
        match self.place {
            Place::Contiguous(_) => 0,
            Place::Strided { .. } => self.shape.iter().product::<usize>() * (self.dtype.bitsize() / 8),
        }
    }

    /// The values as row-major bytes of `file`: copied if they are not contiguous.
    pub fn values<'a>(&self, file: &'a [u8]) -> Cow<'a, [u8]> {
        let (storage, first, strides) = match &self.place {
            Place::Contiguous(range) => return Cow::Borrowed(&file[range.clone()]),
            Place::Strided { storage, first, strides } => (&file[storage.clone()], *first, strides),
        };
        let size = self.dtype.bitsize() / 8;
        let (mut copy, mut index) = (Vec::with_capacity(self.copied()), vec![0; strides.len()]);
        loop {
            let at = first + index.iter().zip(strides).map(|(i, stride)| i * stride).sum::<usize>();
            copy.extend_from_slice(&storage[at * size..][..size]);
            // The next index: the last one counts fastest.
            let Some(axis) = (0..index.len()).rev().find(|&axis| index[axis] + 1 < self.shape[axis]) else {
                return Cow::Owned(copy);
            };
            index[axis] += 1;
            index[axis + 1..].fill(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(shape: &[usize], values: usize, first: usize, strides: &[usize]) -> Result<Stored, String> {
        Stored::view(Dtype::U8, shape.to_vec(), 0..values, first, strides.to_vec())
    }

    #[test]
    fn views_give_the_values_that_their_strides_select() {
        let file: Vec<u8> = (0..24).collect();
        let read = |shape: &[usize], first, strides: &[usize]| {
            view(shape, 24, first, strides).expect("a view").values(&file).into_owned()
        };
        assert_eq!(read(&[2, 3], 1, &[3, 1]), [1, 2, 3, 4, 5, 6]);
        assert_eq!(read(&[3, 2], 0, &[1, 3]), [0, 3, 1, 4, 2, 5]);
        assert_eq!(read(&[2, 1, 2], 4, &[10, 99, 5]), [4, 9, 14, 19]);
        assert_eq!(read(&[2, 3], 7, &[1, 0]), [7, 7, 7, 8, 8, 8]);
        assert_eq!(read(&[], 23, &[]), [23]);
        assert!(read(&[3, 0, 2], 23, &[9, 9, 9]).is_empty());
    }

    #[test]
    fn contiguous_views_are_ranges_of_the_file() {
        let place = |shape: &[usize], strides: &[usize]| {
            Stored::view(Dtype::F32, shape.to_vec(), 8..32, 2, strides.to_vec()).map(|stored| stored.place)
        };
        assert_eq!(place(&[2, 2], &[2, 1]), Ok(Place::Contiguous(16..32)));
        assert_eq!(place(&[2, 1, 2], &[2, 77, 1]), Ok(Place::Contiguous(16..32)));
        assert_eq!(place(&[1, 3], &[0, 1]), Ok(Place::Contiguous(16..28)));
        assert!(matches!(place(&[2, 2], &[1, 2]), Ok(Place::Strided { .. })));
    }

    #[test]
    fn views_beyond_their_storage_are_refused() {
        const HUGE: usize = 1 << 62;
        for (shape, first, strides) in [
            (&[2, 3][..], 0, &[3, 2][..]),
            (&[2, 3], 1, &[3, 1]),
            (&[], 6, &[]),
            (&[1], usize::MAX, &[1]),
            (&[2], usize::MAX, &[1]),
            (&[3], 0, &[usize::MAX]),
            (&[HUGE, 4], 0, &[0, 0]),
            (&[HUGE, 4, 0], 0, &[0, 0, 0]),
            (&[usize::MAX, 0], 0, &[0, 0]),
        ] {
            let refused = view(shape, 6, first, strides);
            assert!(refused.is_err(), "{shape:?}, {first}, {strides:?}: {refused:?}");
        }
    }
}

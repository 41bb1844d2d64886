//! The tensors and the metadata that the header of a safetensors file lists. No tensor is read.

use std::collections::BTreeMap;

use safetensors::tensor::Metadata;
use serde::Serialize;

use super::weights::read_header;

/// One tensor of a file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry {
    /// The tensor's name.
    pub name: String,
    /// The type of the values, as safetensors spells it.
    pub dtype: String,
    /// The length of each dimension.
    pub shape: Vec<usize>,
}

/// The tensors of a file, sorted by name, and its metadata.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Contents {
    /// The tensors.
    pub tensors: Vec<Entry>,
    /// The metadata that the writer added.
    pub metadata: BTreeMap<String, String>,
}

impl Contents {
    /// Reads and checks the header of the file `bytes`.
    ///
    /// # Errors
    /// A human-readable reason if the file is not safetensors, is cut off, or does not match its header.
    pub fn of_file(bytes: &[u8]) -> Result<Self, String> {
        let header = read_header(&mut &*bytes, bytes.len() as u64);
        header.map(|(header, _)| Self::of(&header)).map_err(|e| e.to_string())
    }

    pub(super) fn of(header: &Metadata) -> Self {
        let mut tensors: Vec<Entry> = header
            .tensors()
            .into_iter()
            .map(|(name, info)| Entry { name, dtype: format!("{:?}", info.dtype), shape: info.shape.clone() })
            .collect();
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        let metadata = header.metadata().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
        Self { tensors, metadata }
    }

    /// The number of values in all tensors.
    pub fn parameters(&self) -> usize {
        self.tensors.iter().map(Entry::values).sum()
    }

    /// The types of the values, without duplicates.
    pub fn dtypes(&self) -> Vec<&str> {
        let mut dtypes: Vec<&str> = self.tensors.iter().map(|t| t.dtype.as_str()).collect();
        dtypes.sort_unstable();
        dtypes.dedup();
        dtypes
    }
}

impl Entry {
    /// The number of values.
    pub fn values(&self) -> usize {
        self.shape.iter().product()
    }
}

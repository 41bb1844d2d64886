//! The tensors and the metadata of a file, by name. No tensor is read.

use std::collections::BTreeMap;

use serde::Serialize;

use super::safetensors::read;
use super::table::TableError;

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
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
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
        let table = read(&mut &*bytes, bytes.len() as u64);
        table.map(|table| table.contents()).map_err(|e| match e {
            TableError::Read(e) => e.to_string(),
            TableError::Invalid(reason) => reason,
        })
    }

    /// The tensor `name`.
    pub fn get(&self, name: &str) -> Option<&Entry> {
        let found = self.tensors.binary_search_by(|tensor| tensor.name.as_str().cmp(name));
        found.ok().map(|i| &self.tensors[i])
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

    /// The number of bytes.
    pub fn bytes(&self) -> u64 {
        let dtype = serde_json::from_value(self.dtype.as_str().into());
        let bits = dtype.map_or(0, |dtype: safetensors::Dtype| dtype.bitsize() as u64);
        (self.values() as u64).saturating_mul(bits) / 8
    }
}

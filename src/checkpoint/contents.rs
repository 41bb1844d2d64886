//! What the header of a safetensors file says is in it. No tensor is read for that.

use std::collections::BTreeMap;

use safetensors::tensor::{Metadata, SafeTensors};
use serde::Serialize;

/// One tensor of a file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// The type of its values, as safetensors spells it.
    pub dtype: String,
    /// Its sides.
    pub shape: Vec<usize>,
}

/// The tensors of a file, in the order of their names, and its metadata.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Contents {
    /// The tensors.
    pub tensors: Vec<Entry>,
    /// What the writer said about them.
    pub metadata: BTreeMap<String, String>,
}

impl Contents {
    /// Reads and checks the header of a file that is in memory.
    ///
    /// # Errors
    /// A text for people, where it is no safetensors, a cut one, or one whose header lies.
    pub fn of_file(bytes: &[u8]) -> Result<Self, String> {
        SafeTensors::read_metadata(bytes).map(|(_, header)| Self::of(&header)).map_err(|e| e.to_string())
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

    /// How many values the tensors have together.
    pub fn parameters(&self) -> usize {
        self.tensors.iter().map(Entry::values).sum()
    }

    /// The types of their values, each once.
    pub fn dtypes(&self) -> Vec<&str> {
        let mut dtypes: Vec<&str> = self.tensors.iter().map(|t| t.dtype.as_str()).collect();
        dtypes.sort_unstable();
        dtypes.dedup();
        dtypes
    }
}

impl Entry {
    /// How many values it has.
    pub fn values(&self) -> usize {
        self.shape.iter().product()
    }
}

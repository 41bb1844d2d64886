//! Golden data, and the comparison of tensors and bytes with it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use safetensors::SafeTensors;

/// One file of `tests/golden`.
pub struct Golden {
    tensors: HashMap<String, Tensor>,
    metadata: HashMap<String, String>,
}

impl Golden {
    pub fn open(name: &str) -> Self {
        let bytes = std::fs::read(folder().join(name)).expect("the golden data is part of the repository");
        let (_, header) = SafeTensors::read_metadata(&bytes).expect("a valid header");
        let tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).expect("valid tensors");
        Self { tensors, metadata: header.metadata().clone().unwrap_or_default() }
    }

    pub fn tensor(&self, name: &str) -> &Tensor {
        self.tensors.get(name).unwrap_or_else(|| panic!("no golden tensor {name}"))
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    pub fn values(&self, name: &str) -> Vec<f32> {
        values(self.tensor(name))
    }

    pub fn bytes(&self, name: &str) -> Vec<u8> {
        self.tensor(name).flatten_all().and_then(|t| t.to_vec1::<u8>()).expect("a tensor of bytes")
    }

    /// The value of `key` in the metadata.
    pub fn text(&self, key: &str) -> &str {
        &self.metadata[key]
    }
}

pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

pub fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.to_dtype(DType::F32).and_then(|t| t.flatten_all()?.to_vec1()).expect("a tensor of numbers")
}

/// Returns the root mean square of `got − wanted`, relative to that of `wanted`.
pub fn relative_error(got: &Tensor, wanted: &Tensor) -> f64 {
    assert_eq!(got.dims(), wanted.dims());
    let (got, wanted) = (values(got), values(wanted));
    let difference: f64 = got.iter().zip(&wanted).map(|(g, w)| (f64::from(*g) - f64::from(*w)).powi(2)).sum();
    let size: f64 = wanted.iter().map(|w| f64::from(*w).powi(2)).sum();
    (difference / size).sqrt()
}

/// Returns the share of the bytes that differ by more than `levels`, and the largest difference.
pub fn differing(got: &[u8], wanted: &[u8], levels: u8) -> (f64, u8) {
    assert_eq!(got.len(), wanted.len());
    let differences = || got.iter().zip(wanted).map(|(&g, &w)| g.abs_diff(w));
    let more = differences().filter(|&d| d > levels).count();
    (more as f64 / got.len() as f64, differences().max().unwrap_or(0))
}

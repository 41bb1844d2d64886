//! The named tensors of a checkpoint, and how layers load theirs: a layer's `new` asks its [`Loader`] for each
//! [`Parameter`] by name and shape, and gives it to the backend, which prepares its own form of the weights.

use std::fmt;
use std::sync::Arc;

use candle_core::{DType, Result};
use candle_nn::VarBuilder;

use crate::kernels::{Backend, Parameter};

/// A source of named tensors, such as a checkpoint.
pub trait Tensors: Send + Sync {
    /// The tensor `name`.
    ///
    /// # Errors
    /// If it is missing, has another shape, or does not hold floats; the error names it.
    fn get(&self, name: &str, shape: &[usize]) -> Result<Parameter>;
    /// Whether the tensor `name` exists.
    fn contains(&self, name: &str) -> bool;
}

/// All tensors of a checkpoint. Cheap to clone.
#[derive(Clone)]
pub struct Parameters(Arc<dyn Tensors>);

impl Parameters {
    /// Shares a checkpoint's tensors.
    pub fn new(tensors: impl Tensors + 'static) -> Self {
        Self(Arc::new(tensors))
    }
}

impl Tensors for VarBuilder<'static> {
    fn get(&self, name: &str, shape: &[usize]) -> Result<Parameter> {
        let values = VarBuilder::get(self, shape, name)?.flatten_all()?.to_dtype(DType::F32)?;
        Ok(Parameter::owned(values.to_vec1()?))
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

/// Loads layers: the tensors under a prefix, for a backend.
pub struct Loader<'a, B: Backend> {
    backend: &'a B,
    parameters: &'a Parameters,
    prefix: String,
}

impl<'a, B: Backend> Loader<'a, B> {
    /// The whole checkpoint.
    pub fn new(backend: &'a B, parameters: &'a Parameters) -> Self {
        Self { backend, parameters, prefix: String::new() }
    }

    /// The tensors whose names continue with `part` and a dot.
    pub fn under(&self, part: impl fmt::Display) -> Self {
        let prefix = format!("{}{part}.", self.prefix);
        Self { backend: self.backend, parameters: self.parameters, prefix }
    }

    /// The backend that the layers are for.
    pub fn backend(&self) -> &'a B {
        self.backend
    }

    /// The tensor `name` under the prefix.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Parameter> {
        self.parameters.0.get(&format!("{}{name}", self.prefix), shape)
    }

    /// A tensor of one dimension, copied.
    pub fn vector(&self, name: &str, len: usize) -> Result<Vec<f32>> {
        Ok(self.tensor(name, &[len])?.to_f32()?.into_owned())
    }

    /// Whether the tensor `name` exists under the prefix.
    pub fn contains(&self, name: &str) -> bool {
        self.parameters.0.contains(&format!("{}{name}", self.prefix))
    }
}

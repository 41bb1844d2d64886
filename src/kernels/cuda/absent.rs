//! A build without CUDA: the types are there, so that the model reads the same, and no value of them can be.

use super::{CudaError, DeviceInfo, Element};
use crate::kernels::conv2d::Kind;
use crate::kernels::feature_map::{FeatureMap, Shape};
use crate::kernels::group_norm;
use std::sync::Arc;

/// A CUDA device that computes in one precision.
#[derive(Debug)]
pub enum Engine {}

/// The memory of a feature map on a device.
pub enum Map {}

/// The weights and biases of one convolution, on the device.
pub enum Filters {}

/// A group norm's γ and β, on the device.
pub enum Affine {}

/// The norm of one map, on the device.
#[derive(Debug, Clone)]
pub enum Norm {}

/// The projections of v and of the output, folded into one, on the device.
pub enum Folded {}

/// A projection's weight `[c][c]` and bias `[c]`.
type Projection<'a> = (&'a [f32], &'a [f32]);

/// There are none.
///
/// # Errors
/// [`CudaError::NotBuilt`]
pub fn devices() -> Result<Vec<DeviceInfo>, CudaError> {
    Err(CudaError::NotBuilt)
}

/// There is no compiler.
///
/// # Errors
/// [`CudaError::NotBuilt`]
pub fn compile(_: Element, _capability: (u32, u32)) -> Result<Vec<u8>, CudaError> {
    Err(CudaError::NotBuilt)
}

impl Engine {
    /// There is none.
    ///
    /// # Errors
    /// [`CudaError::NotBuilt`]
    pub fn new(_device: usize, _element: Element) -> Result<Self, CudaError> {
        Err(CudaError::NotBuilt)
    }

    /// The device's number.
    pub fn device(&self) -> usize {
        match *self {}
    }

    /// The precision of maps and weights.
    pub fn element(&self) -> Element {
        match *self {}
    }

    /// Waits until everything that was asked for is done.
    pub fn synchronize(&self) -> Result<(), CudaError> {
        match *self {}
    }

    /// The most bytes of the device's memory that were used at a time.
    pub fn peak_bytes(&self) -> Option<u64> {
        match *self {}
    }

    /// Starts the count of [`Engine::peak_bytes`] anew.
    pub fn reset_peak(&self) {
        match *self {}
    }

    /// A map without memory, to be written.
    pub fn map(self: &Arc<Self>) -> FeatureMap {
        match **self {}
    }
}

impl Map {
    /// Where it lies.
    pub fn engine(&self) -> &Arc<Engine> {
        match *self {}
    }

    /// Whether a map of this shape fits into the memory that it has.
    pub fn has_room(&self, _shape: Shape) -> bool {
        match *self {}
    }

    /// Elements that it has memory for.
    pub fn capacity(&self) -> usize {
        match *self {}
    }

    /// Copies `[c, h, w]` planes to the device.
    pub fn load(&mut self, _planes: &[f32], _shape: Shape) -> Result<(), CudaError> {
        match *self {}
    }

    /// Copies `[c, h, w]` planes from the device.
    pub fn fetch(&self, _shape: Shape) -> Result<Vec<f32>, CudaError> {
        match *self {}
    }

    /// All values.
    pub fn values(&self, _shape: Shape) -> std::iter::Empty<f32> {
        match *self {}
    }
}

impl Filters {
    /// Folds and copies weights and biases.
    pub fn upload(engine: &Arc<Engine>, _: Kind, _: &[f32], _: &[f32]) -> Result<Self, CudaError> {
        match **engine {}
    }

    /// `y = conv(norm(x))`, or `y += conv(norm(x))`; with or without the norm.
    pub fn convolve(
        &self,
        _x: &FeatureMap,
        _norm: Option<&Norm>,
        _y: &mut FeatureMap,
        _add: bool,
    ) -> Result<(), CudaError> {
        match *self {}
    }
}

impl Affine {
    /// Copies γ and β `[c]`.
    pub fn upload(engine: &Arc<Engine>, _: &[f32], _: &[f32]) -> Result<Self, CudaError> {
        match **engine {}
    }

    /// The norm of x, for the convolution that reads it next.
    pub fn of(
        &self,
        _x: &FeatureMap,
        _groups: usize,
        _eps: f64,
        _silu: bool,
    ) -> Result<group_norm::Norm, CudaError> {
        match *self {}
    }
}

impl Norm {
    /// Where it lies.
    pub fn engine(&self) -> &Arc<Engine> {
        match *self {}
    }

    /// `y = norm(x)`
    pub fn apply(&self, _x: &FeatureMap, _y: &mut FeatureMap) -> Result<(), CudaError> {
        match *self {}
    }
}

impl Folded {
    /// Folds and copies.
    pub fn upload(engine: &Arc<Engine>, _: Projection, _: Projection) -> Result<Self, CudaError> {
        match **engine {}
    }

    /// Adds to x what its positions attend to, by queries and keys, in h.
    pub fn attend(&self, _: [&FeatureMap; 3], _x: &mut FeatureMap) -> Result<(), CudaError> {
        match *self {}
    }
}

//! A build without CUDA: the types are there, so that the model reads the same, and no value of them can be.

use super::{CudaError, DeviceInfo, Element};
use crate::kernels::conv2d::Kind;
use crate::kernels::feature_map::{FeatureMap, Shape};
use crate::kernels::group_norm;
use std::sync::Arc;

/// What no value has: seen in this file only, so that nobody else's code counts as unreachable.
#[derive(Debug, Clone)]
enum Never {}

/// A CUDA device that computes in one precision.
#[derive(Debug)]
pub struct Engine(Never);

/// The memory of a feature map on a device.
pub struct Map(Never);

/// The weights and biases of one convolution, on the device.
pub struct Filters(Never);

/// A group norm's γ and β, on the device.
pub struct Affine(Never);

/// The norm of one map, on the device.
#[derive(Debug, Clone)]
pub struct Norm(Never);

/// The projections of v and of the output, folded into one, on the device.
pub struct Folded(Never);

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
        match self.0 {}
    }

    /// The precision of maps and weights.
    pub fn element(&self) -> Element {
        match self.0 {}
    }

    /// Waits until everything that was asked for is done.
    pub fn synchronize(&self) -> Result<(), CudaError> {
        match self.0 {}
    }

    /// The most bytes of the device's memory that were used at a time.
    pub fn peak_bytes(&self) -> Option<u64> {
        match self.0 {}
    }

    /// Starts the count of [`Engine::peak_bytes`] anew.
    pub fn reset_peak(&self) {
        match self.0 {}
    }

    /// Gives back the memory of operations.
    pub fn release(&self) {
        match self.0 {}
    }

    /// How many shapes of convolutions cuDNN computes in which way.
    pub fn convolutions(&self) -> [usize; 3] {
        match self.0 {}
    }

    /// A map without memory, to be written.
    pub fn map(self: &Arc<Self>) -> FeatureMap {
        match self.0 {}
    }
}

impl Map {
    /// Where it lies.
    pub fn engine(&self) -> &Arc<Engine> {
        match self.0 {}
    }

    /// Whether a map of this shape fits into the memory that it has.
    pub fn has_room(&self, _shape: Shape) -> bool {
        match self.0 {}
    }

    /// Elements that it has memory for.
    pub fn capacity(&self) -> usize {
        match self.0 {}
    }

    /// Copies `[c, h, w]` planes to the device.
    pub fn load(&mut self, _planes: &[f32], _shape: Shape) -> Result<(), CudaError> {
        match self.0 {}
    }

    /// Copies `[c, h, w]` planes from the device.
    pub fn fetch(&self, _shape: Shape) -> Result<Vec<f32>, CudaError> {
        match self.0 {}
    }

    /// All values.
    pub fn values(&self, _shape: Shape) -> std::iter::Empty<f32> {
        match self.0 {}
    }
}

impl Filters {
    /// Folds and copies weights and biases.
    pub fn upload(engine: &Arc<Engine>, _: Kind, _: &[f32], _: &[f32]) -> Result<Self, CudaError> {
        match engine.0 {}
    }

    /// `y = conv(norm(x))`, or `y += conv(norm(x))`; with or without the norm.
    pub fn convolve(
        &self,
        _x: &FeatureMap,
        _norm: Option<&Norm>,
        _y: &mut FeatureMap,
        _add: bool,
    ) -> Result<(), CudaError> {
        match self.0 {}
    }
}

impl Affine {
    /// Copies γ and β `[c]`.
    pub fn upload(engine: &Arc<Engine>, _: &[f32], _: &[f32]) -> Result<Self, CudaError> {
        match engine.0 {}
    }

    /// The norm of x, for the convolution that reads it next.
    pub fn of(
        &self,
        _x: &FeatureMap,
        _groups: usize,
        _eps: f64,
        _silu: bool,
    ) -> Result<group_norm::Norm, CudaError> {
        match self.0 {}
    }
}

impl Norm {
    /// Where it lies.
    pub fn engine(&self) -> &Arc<Engine> {
        match self.0 {}
    }

    /// `y = norm(x)`
    pub fn apply(&self, _x: &FeatureMap, _y: &mut FeatureMap) -> Result<(), CudaError> {
        match self.0 {}
    }
}

impl Folded {
    /// Folds and copies.
    pub fn upload(engine: &Arc<Engine>, _: Projection, _: Projection) -> Result<Self, CudaError> {
        match engine.0 {}
    }

    /// Adds to x what its positions attend to, by queries and keys, in h.
    pub fn attend(&self, _: [&FeatureMap; 3], _x: &mut FeatureMap) -> Result<(), CudaError> {
        match self.0 {}
    }
}

//! CUDA: the three doors once more, for maps in a device's memory.
//!
//! | file | what |
//! | --- | --- |
//! | `error` | what can go wrong, and what to do about it |
//! | `element` | f16, bf16 or f32 |
//! | `device` | which devices there are, and which libraries are missing |
//! | `program` | the sources in `source/`, compiled by NVRTC once and kept on disk |
//! | `engine` | a device at work in one precision: stream, kernels, memory |
//! | `map` | a feature map there: `[h·w][channels]`, and its way in and out |
//! | `cudnn` | cuDNN's descriptors |
//! | `filters` | a convolution's weights as cuDNN reads them, strides and upsampling folded in |
//! | `conv2d` | convolution through cuDNN |
//! | `group_norm` | group norm in two launches |
//! | `attention` | one head over all positions, some queries at a time |
//! | `absent` | stands for all of it in a build without the feature `cuda`: an engine that cannot be made |
//!
//! All libraries are loaded when an engine is made; a missing one is an error that names it. Everything an engine does
//! is queued on one stream and done in that order.

mod element;
mod error;
mod uploaded;

#[cfg(feature = "cuda")]
mod attention;
#[cfg(feature = "cuda")]
mod conv2d;
#[cfg(feature = "cuda")]
mod cudnn;
#[cfg(feature = "cuda")]
mod device;
#[cfg(feature = "cuda")]
mod engine;
#[cfg(feature = "cuda")]
mod filters;
#[cfg(feature = "cuda")]
mod group_norm;
#[cfg(feature = "cuda")]
mod map;
#[cfg(feature = "cuda")]
mod program;

#[cfg(not(feature = "cuda"))]
mod absent;

pub use element::Element;
pub use error::{CudaError, Library};
pub use uploaded::Uploaded;

#[cfg(not(feature = "cuda"))]
pub use absent::{Affine, Engine, Filters, Folded, Map, Norm, compile, devices};
#[cfg(feature = "cuda")]
pub use {
    attention::Folded,
    device::devices,
    engine::Engine,
    filters::Filters,
    group_norm::{Affine, Norm},
    map::Map,
    program::compile,
};

/// A CUDA device of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Its number: N of `cuda:N`.
    pub index: usize,
    /// What its maker calls it.
    pub name: String,
    /// Compute capability, major and minor.
    pub capability: (u32, u32),
    /// Bytes of memory.
    pub total: usize,
    /// Bytes that nobody uses; unknown where the device lets nobody in.
    pub free: Option<usize>,
    /// The newest CUDA version that the driver understands, major and minor.
    pub driver: (u32, u32),
}

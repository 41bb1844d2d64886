//! CUDA: f16, bf16 or f32 on NVIDIA's GPUs.
//!
//! Each file uses only those before it:
//!
//! | file | what |
//! | --- | --- |
//! | `error` | errors, with advice |
//! | `device` | the devices of this machine, and the libraries that they need |
//! | `cache` | files in the user's cache folder |
//! | `program` | the sources in `source/`, compiled by NVRTC once and kept on disk |
//! | `memory` | a device's stream and memory |
//! | `cudnn` | cuDNN's descriptors and plans |
//! | `identity` | the device, the driver, the libraries and the build; what earlier runs of the same found out |
//! | `engine` | a device at work in one precision: stream, kernels, scratch memory |
//! | `map` | feature maps `[h·w][channels]` in the device's memory |
//! | `filters` | a convolution's weights in cuDNN's layout, with strides and upsampling folded in |
//! | `norm` | group norm in two launches, RMS norm in one |
//! | `conv2d` | convolution through cuDNN |
//! | `attention` | one head over all positions, some queries at a time |
//! | `backend` | [`Cuda`], the implementation of [`Backend`](super::Backend) |
//!
//! All libraries are loaded when a [`Cuda`] is created; a missing one is an error that names it.

mod attention;
mod backend;
mod cache;
mod conv2d;
mod cudnn;
mod device;
mod engine;
mod error;
mod filters;
mod identity;
mod map;
mod memory;
mod norm;
mod program;

pub use attention::FoldedProjections;
pub use backend::Cuda;
pub use device::{DeviceInfo, devices};
pub use engine::Engine;
pub use error::{CudaError, Library};
pub use filters::DeviceFilters;
pub use map::DeviceMap;
pub use norm::{DeviceCoefficients, DeviceNorm};
pub use program::compile;

//! The operations of the model: one interface, and one implementation per kind of device.
//!
//! | file | what |
//! | --- | --- |
//! | [`backend`] | the interface that the model uses: maps, weights, and three operations on them |
//! | [`workspace`] | memory that is reused from one operation to the next |
//! | [`parameter`] | a tensor of a checkpoint, in the precision in which it is stored |
//! | [`precision`] | f16, bf16 or f32 |
//! | [`error`] | why an operation failed |
//! | [`reference`](mod@reference) | the definitions of convolution and attention in f64, for the tests |
//! | [`cpu`] | f32 on the CPU: AVX-512, AVX2, or portable |
//! | `cuda` | f16, bf16 or f32 on NVIDIA's GPUs, with the feature `cuda` |
//!
//! The operations are convolution (with the norm and SiLU of its input, bias, residual and ReLU in the same pass), the
//! statistics of a norm, and attention. Entry points validate shapes and choose an implementation; implementations
//! decide nothing. Tests compare each of them with its definition at every level of the machine. All unsafe code
//! but the memory map of the weights is here.

pub mod backend;
pub mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
pub mod error;
pub mod parameter;
pub mod precision;
pub mod reference;
pub mod workspace;

pub use backend::{
    Activation, AttentionParameters, Backend, ConvInput, ConvKind, ConvOutput, ConvParameters, FeatureMap,
    LEAST_NORM, MAX_CHANNELS, NormParameters, Shape,
};
pub use cpu::{Cpu, Level, LevelError};
pub use error::Error;
pub use parameter::Parameter;
pub use precision::Precision;
pub use workspace::{Workspace, WorkspacePool};

//! The arithmetic, behind three doors that take [`FeatureMap`]s: in f32 on the CPU, and once more in [`cuda`].
//!
//! | door | what |
//! | --- | --- |
//! | [`conv2d::Conv2d`] | a convolution, with group norm and SiLU of its input, bias, and residual in the same pass |
//! | [`group_norm::GroupNorm`] | the statistics of a group norm, as a scale and a shift for the next convolution |
//! | [`attention::attention`] | one head over all positions, in memory that grows with their number |
//!
//! | behind them | what |
//! | --- | --- |
//! | [`feature_map`] | activations, blocked by 16 channels, and the sums that their writer knew |
//! | [`workspace`] | memory that stays from one operation to the next |
//! | [`level`] | which instructions this machine has: AVX-512, AVX2 with FMA, or none in particular |
//! | [`simd`] | vector code, written once for all levels |
//! | `gemm` | the matrix product that all doors end in |
//! | [`cuda`] | the same doors for maps in the memory of a CUDA device |
//!
//! A door checks shapes and picks the body; a body holds no policy. Each door has a naive twin in f64, with which the
//! tests compare it at every level that the machine has. All unsafe code but the memory map of the weights is here.

pub mod attention;
pub mod conv2d;
pub mod cuda;
pub mod error;
pub mod feature_map;
mod gemm;
pub mod group_norm;
pub mod level;
mod memory;
pub mod simd;
pub mod workspace;

pub use conv2d::Kind;
pub use feature_map::{FeatureMap, Shape};
pub use group_norm::Norm;
pub use level::Level;
pub use workspace::{SharedWorkspace, Workspace};

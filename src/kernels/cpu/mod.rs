//! The CPU: f32 in host memory, on rayon's threads.
//!
//! | file | what |
//! | --- | --- |
//! | `backend` | [`Cpu`], the implementation of [`Backend`](super::Backend) |
//! | `feature_map` | activations, blocked by 16 channels, and the sums that their writer kept |
//! | `conv2d` | convolution, with norm, activation, bias and residual in the same pass |
//! | `norm` | norms as a scale and a shift per channel, and a factor per pixel |
//! | `attention` | one head over all positions, in memory that grows with their number |
//! | `sums` | sums per channel that do not depend on the number of threads |
//! | `gemm` | the matrix product that all operations use |
//! | `level` | which instructions this machine has: AVX-512, AVX2 with FMA, or neither |
//! | `simd` | vector code, written once for all levels |
//! | `memory` | aligned and reused memory |
//! | `pages` | where it comes from |

pub mod attention;
mod backend;
pub mod conv2d;
pub mod feature_map;
mod gemm;
pub mod level;
mod memory;
pub mod norm;
mod pages;
pub mod simd;
mod sums;

pub use backend::Cpu;
pub use feature_map::HostMap;
pub use level::{Level, LevelError};

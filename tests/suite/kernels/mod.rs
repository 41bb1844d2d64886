//! Every kernel at every level that the machine supports, against its definition in f64.
//!
//! ```text
//! parts.rs      levels, exp and SiLU, norms, the blocked layout
//! conv2d.rs     convolutions on edge cases and on random shapes
//! attention.rs  attention on edge cases and on random shapes
//! planted.rs    the control of the run with the address sanitizer
//! cuda.rs       the same on a CUDA device in each precision, and the compilation of its kernels (needs no device)
//! ```

mod attention;
mod common;
mod conv2d;
#[cfg(feature = "cuda")]
mod cuda;
mod parts;
#[cfg(vae_heap_maps)]
mod planted;

//! Every kernel at every level that the machine has, against its definition in f64.
//!
//! ```text
//! parts.rs      levels, exp and SiLU, group norm, the blocked layout
//! conv2d.rs     convolutions on awkward and on random shapes
//! attention.rs  likewise
//! cuda.rs       the same on a CUDA device, in each of its precisions; and the compiler, which needs none
//! ```

mod attention;
mod common;
mod conv2d;
mod cuda;
mod parts;

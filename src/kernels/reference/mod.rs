//! The definitions of the operations, in f64. Every fast implementation is tested against them.

pub mod attention;
pub mod conv2d;

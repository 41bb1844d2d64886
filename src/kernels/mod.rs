//! The arithmetic, behind three doors.
//!
//! | door | what |
//! | --- | --- |
//! | [`conv2d()`] | a convolution in one of the four forms that the VAE has |
//! | [`group_norm()`] | group norm, with the SiLU that follows it |
//! | [`attention()`] | one head over all positions, in memory that grows with their number |
//!
//! A door checks shapes and picks the body; a body holds no policy. The bodies here are plain candle
//! operations, on every device that candle has. A faster body goes into a file beside the plain one,
//! which stays as its twin in the tests.

mod attention;
mod conv2d;
mod group_norm;

pub use attention::attention;
pub use conv2d::{ConvForm, conv2d};
pub use group_norm::{Activation, group_norm};

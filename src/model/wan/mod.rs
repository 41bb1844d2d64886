//! The VAE of Wan 2.1 and Qwen-Image (diffusers' `AutoencoderKLWan`, `AutoencoderKLQwenImage`) on single pictures.
//!
//! It is a VAE for videos. Shapes in comments are those of Wan 2.1 for a picture of h × w.
//! A picture is its first frame: the causal convolutions see zeros in place of earlier frames, and so only
//! the last slice in time of each filter counts; the convolutions over time alone are not used.
//!
//! | file | what |
//! | --- | --- |
//! | `layers` | causal convolution, RMS norm, attention, residual block |
//! | `encoder` | picture `[3,h,w]` → h `[32,h/8,w/8]` |
//! | `decoder` | z `[16,h/8,w/8]` → picture `[3,h,w]` |
//! | `autoencoder` | the two halves with their 1×1 convolutions |

mod autoencoder;
mod decoder;
mod encoder;
mod layers;

pub use autoencoder::{WanDecoder, WanEncoder};

//! The model: Stable Diffusion's `AutoencoderKL`, with the names and the order of its checkpoint.
//!
//! Recommended reading order. Each file uses only those before it, and the [`Observer`] of this one:
//!
//! | file | what |
//! | --- | --- |
//! | `config` | `config.json`: the network, its latents, and their scaling |
//! | `parameters` | the named tensors of a checkpoint |
//! | `layers` | convolution, group norm, attention: one struct for each kind of weights |
//! | `blocks` | residual block, mid block, down block, up block |
//! | `encoder` | picture `[3,h,w]` → h `[8,h/8,w/8]` |
//! | `posterior` | moments → mean, logvar, std, sample |
//! | `decoder` | z `[4,h/8,w/8]` → picture `[3,h,w]` |
//! | `autoencoder_kl` | the two halves with their 1×1 convolutions |
//! | `scaling` | latents ⇄ what diffusion models work on |
//!
//! Shapes in comments are those of SD2 for a picture of h × w. Inside, one picture at a time passes from layer to layer as
//! a feature map of the [`Backend`](crate::device::Backend) that computes.

mod autoencoder_kl;
pub(crate) mod blocks;
mod config;
pub(crate) mod decoder;
pub(crate) mod encoder;
pub(crate) mod layers;
pub(crate) mod parameters;
mod posterior;
pub(crate) mod scaling;

use std::fmt;

use candle_core::Result;

pub use autoencoder_kl::{AutoencoderKl, DecodeLatents, EncodePictures, LatentDecoder, PictureEncoder};
pub use config::{Config, ConfigError, Kl, Network, UnknownScaling};
pub use parameters::{Parameters, Tensors};
pub use posterior::Posterior;
pub use scaling::{ChannelStatistics, Scaling};

pub use crate::kernels::{FeatureMap, Parameter};

/// Channels of a picture.
const RGB: usize = 3;

/// Receives the result of every block as soon as it is computed, one picture at a time.
///
/// The model computes nothing for it: an observer that wants statistics computes them from the map.
pub trait Observer {
    /// The block called `name` in the checkpoint (`encoder.down_blocks.0`) computed `map`. An error ends the pass.
    fn block(&mut self, name: fmt::Arguments, map: &dyn FeatureMap) -> Result<()>;
}

/// Observes nothing.
impl Observer for () {
    fn block(&mut self, _: fmt::Arguments, _: &dyn FeatureMap) -> Result<()> {
        Ok(())
    }
}

//! The models: Stable Diffusion's `AutoencoderKL` and its relatives, with the names and the order of their checkpoints.
//!
//! Recommended reading order. Each file uses only those before it, and the [`Observer`] of this one:
//!
//! | file | what |
//! | --- | --- |
//! | `config` | `config.json`: the network, its latents, and their scaling |
//! | `parameters` | the named tensors of a checkpoint |
//! | `layers` | convolution, norm, attention: one struct for each kind of weights |
//! | `blocks` | residual block, mid block, down block, up block |
//! | `encoder` | picture `[3,h,w]` → h `[8,h/8,w/8]` |
//! | `posterior` | moments → mean, logvar, std, sample |
//! | `decoder` | z `[4,h/8,w/8]` → picture `[3,h,w]` |
//! | `batch` | checks of the input, and the loop over the pictures of a batch |
//! | `autoencoder_kl` | the two halves with their 1×1 convolutions |
//! | `scaling` | latents ⇄ what diffusion models work on |
//! | [`tiny`] | another network: the TAESD family |
//! | [`wan`] | another network: Wan 2.1 and Qwen-Image, on single pictures |
//! | `network` | the halves of any network |
//!
//! Shapes in comments are those of SD2 for a picture of h × w. Inside, one picture at a time passes from layer to layer as
//! a feature map of the [`Backend`](crate::device::Backend) that computes.

mod autoencoder_kl;
mod batch;
pub(crate) mod blocks;
mod config;
pub(crate) mod decoder;
pub(crate) mod encoder;
pub(crate) mod layers;
mod network;
pub(crate) mod parameters;
mod posterior;
pub(crate) mod scaling;
pub mod tiny;
pub mod wan;

use std::fmt;

use candle_core::Result;

pub use autoencoder_kl::{AutoencoderKl, DecodeLatents, EncodePictures, LatentDecoder, PictureEncoder};
pub use config::{Config, ConfigError, Kl, Network, Stages, Tiny, UnknownScaling, Wan};
pub use network::{latent_decoder, picture_encoder};
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

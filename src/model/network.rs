//! The halves of any network.

use candle_core::Result;

use crate::kernels::Backend;

use super::autoencoder_kl::{DecodeLatents, EncodePictures, LatentDecoder, PictureEncoder};
use super::config::Network;
use super::tiny::{TinyDecoder, TinyEncoder};
use super::wan::{WanDecoder, WanEncoder};
use super::{Config, Parameters};

/// Loads the encoding half of the network that the config names.
///
/// # Errors
/// If a tensor is missing, or has another shape than the config says.
pub fn picture_encoder<B: Backend>(
    backend: &B,
    config: &Config,
    tensors: impl Into<Parameters>,
) -> Result<Box<dyn EncodePictures>> {
    Ok(match config.network {
        Network::Kl(_) => Box::new(PictureEncoder::new(backend, config, tensors)?),
        Network::Wan(_) => Box::new(WanEncoder::new(backend, config, tensors)?),
        Network::Tiny(_) => Box::new(TinyEncoder::new(backend, config, tensors)?),
    })
}

/// Loads the decoding half of the network that the config names.
///
/// # Errors
/// If a tensor is missing, or has another shape than the config says.
pub fn latent_decoder<B: Backend>(
    backend: &B,
    config: &Config,
    tensors: impl Into<Parameters>,
) -> Result<Box<dyn DecodeLatents>> {
    Ok(match config.network {
        Network::Kl(_) => Box::new(LatentDecoder::new(backend, config, tensors)?),
        Network::Wan(_) => Box::new(WanDecoder::new(backend, config, tensors)?),
        Network::Tiny(_) => Box::new(TinyDecoder::new(backend, config, tensors)?),
    })
}

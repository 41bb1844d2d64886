//! The two halves, with the 1×1 convolutions at the latents.

use candle_core::{Result, Tensor};

use crate::kernels::{Backend, ConvKind};

use super::super::autoencoder_kl::{DecodeLatents, EncodePictures};
use super::super::batch::{check_latents, check_pixels, for_each_picture};
use super::super::config::{Network, Wan};
use super::super::layers::Conv2d;
use super::super::parameters::Loader;
use super::super::{Config, Observer, Parameters};
use super::decoder::Decoder;
use super::encoder::Encoder;
use super::layers::causal;

/// Picture → posterior: `encoder`, then `quant_conv`.
#[derive(Debug)]
pub struct WanEncoder<B: Backend> {
    encoder: Encoder<B>,
    quant_conv: Conv2d<B>,
    config: Config,
    backend: B,
}

impl<B: Backend> WanEncoder<B> {
    /// Loads the tensors under `encoder` and `quant_conv`.
    ///
    /// # Errors
    /// If a tensor is missing, or has another shape than the config says.
    pub fn new(backend: &B, config: &Config, tensors: impl Into<Parameters>) -> Result<Self> {
        let (wan, tensors) = (wan(config)?, tensors.into());
        let load = Loader::new(backend, &tensors);
        let moments = 2 * config.latent_channels;
        Ok(Self {
            encoder: Encoder::new(config, wan, load.under("encoder"))?,
            quant_conv: causal(moments, moments, ConvKind::Point, load.under("quant_conv"))?,
            config: config.clone(),
            backend: backend.clone(),
        })
    }
}

impl<B: Backend> EncodePictures for WanEncoder<B> {
    fn h(&self, x: &Tensor, observer: &mut dyn Observer) -> Result<Tensor> {
        check_pixels(x, &self.config)?;
        for_each_picture(&self.backend, x, |x, workspace| self.encoder.forward(x, workspace, observer))
    }

    fn moments(&self, h: &Tensor) -> Result<Tensor> {
        for_each_picture(&self.backend, h, |h, workspace| self.quant_conv.forward(h, workspace))
    }
}

/// Latents → picture: `post_quant_conv`, then `decoder`.
#[derive(Debug)]
pub struct WanDecoder<B: Backend> {
    post_quant_conv: Conv2d<B>,
    decoder: Decoder<B>,
    config: Config,
    backend: B,
}

impl<B: Backend> WanDecoder<B> {
    /// Loads the tensors under `post_quant_conv` and `decoder`.
    ///
    /// # Errors
    /// If a tensor is missing, or has another shape than the config says.
    pub fn new(backend: &B, config: &Config, tensors: impl Into<Parameters>) -> Result<Self> {
        let (wan, tensors) = (wan(config)?, tensors.into());
        let load = Loader::new(backend, &tensors);
        let c = config.latent_channels;
        Ok(Self {
            post_quant_conv: causal(c, c, ConvKind::Point, load.under("post_quant_conv"))?,
            decoder: Decoder::new(config, wan, load.under("decoder"))?,
            config: config.clone(),
            backend: backend.clone(),
        })
    }
}

impl<B: Backend> DecodeLatents for WanDecoder<B> {
    fn z(&self, latents: &Tensor) -> Result<Tensor> {
        check_latents(latents, &self.config)?;
        for_each_picture(&self.backend, latents, |z, workspace| self.post_quant_conv.forward(z, workspace))
    }

    /// The result is clamped to −1..1.
    fn dec(&self, z: &Tensor, observer: &mut dyn Observer) -> Result<Tensor> {
        let y =
            for_each_picture(&self.backend, z, |z, workspace| self.decoder.forward(z, workspace, observer))?;
        y.clamp(-1f32, 1f32)
    }
}

/// The description of the network.
fn wan(config: &Config) -> Result<&Wan> {
    match &config.network {
        Network::Wan(wan) => Ok(wan),
        _ => candle_core::bail!("the config is not that of an AutoencoderKLWan or AutoencoderKLQwenImage"),
    }
}

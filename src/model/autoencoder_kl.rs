//! The two halves, with the 1×1 convolutions at the latents.
//!
//! A program that only encodes loads [`PictureEncoder`] alone, one that only decodes [`LatentDecoder`].

use candle_core::{Error, Result, Tensor};

use crate::kernels::{Backend, ConvKind};

use super::batch::{check_latents, check_pixels, for_each_picture};
use super::decoder::Decoder;
use super::encoder::Encoder;
use super::layers::Conv2d;
use super::parameters::Loader;
use super::{Config, Kl, Observer, Parameters, Posterior};

/// The encoding half of a model, on any backend.
pub trait EncodePictures: Send + Sync {
    /// Pixels `[n, 3, h, w]` in −1..1 → h `[n, 8, h/8, w/8]`, the output of the encoder itself.
    fn h(&self, x: &Tensor, observer: &mut dyn Observer) -> Result<Tensor>;

    /// h `[n, 8, h/8, w/8]` → moments of the same shape: mean and log-variance.
    fn moments(&self, h: &Tensor) -> Result<Tensor>;

    /// Pixels `[n, 3, h, w]` in −1..1 → the distribution of their latents.
    fn encode(&self, x: &Tensor) -> Result<Posterior> {
        self.posterior(&self.moments(&self.h(x, &mut ())?)?)
    }

    /// Moments → the distribution of the latents.
    fn posterior(&self, moments: &Tensor) -> Result<Posterior> {
        Posterior::new(moments)
    }
}

/// The decoding half of a model, on any backend.
pub trait DecodeLatents: Send + Sync {
    /// Unscaled latents `[n, 4, h/8, w/8]` → z of the same shape, the input of the decoder itself.
    fn z(&self, latents: &Tensor) -> Result<Tensor>;

    /// z → pixels `[n, 3, h, w]`, about −1..1 (not clamped): the output of the decoder itself.
    fn dec(&self, z: &Tensor, observer: &mut dyn Observer) -> Result<Tensor>;

    /// Unscaled latents `[n, 4, h/8, w/8]` → pixels `[n, 3, h, w]`, about −1..1 (not clamped).
    fn decode(&self, latents: &Tensor) -> Result<Tensor> {
        self.dec(&self.z(latents)?, &mut ())
    }
}

/// Picture → posterior: `encoder`, then `quant_conv`.
#[derive(Debug)]
pub struct PictureEncoder<B: Backend> {
    encoder: Encoder<B>,
    quant_conv: Option<Conv2d<B>>,
    config: Config,
    backend: B,
}

impl<B: Backend> PictureEncoder<B> {
    /// Loads the tensors under `encoder` and `quant_conv`.
    ///
    /// # Errors
    /// If a tensor is missing, or has another shape than the config says.
    pub fn new(backend: &B, config: &Config, tensors: impl Into<Parameters>) -> Result<Self> {
        let tensors = tensors.into();
        let load = Loader::new(backend, &tensors);
        let kl = kl(config)?;
        let (inner, z) = (kl.inner_channels(config.latent_channels), config.latent_channels);
        let quant_conv = || Conv2d::new(2 * inner, 2 * z, ConvKind::Point, load.under("quant_conv"));
        Ok(Self {
            encoder: Encoder::new(kl, inner, load.under("encoder"))?,
            quant_conv: kl.use_quant_conv.then(quant_conv).transpose()?,
            config: config.clone(),
            backend: backend.clone(),
        })
    }
}

impl<B: Backend> EncodePictures for PictureEncoder<B> {
    fn h(&self, x: &Tensor, observer: &mut dyn Observer) -> Result<Tensor> {
        check_pixels(x, &self.config)?;
        for_each_picture(&self.backend, x, |x, workspace| self.encoder.forward(x, workspace, observer))
    }

    fn moments(&self, h: &Tensor) -> Result<Tensor> {
        match &self.quant_conv {
            Some(quant_conv) => {
                for_each_picture(&self.backend, h, |h, workspace| quant_conv.forward(h, workspace))
            }
            None => Ok(h.clone()),
        }
    }
}

/// Latents → picture: `post_quant_conv`, then `decoder`.
#[derive(Debug)]
pub struct LatentDecoder<B: Backend> {
    post_quant_conv: Option<Conv2d<B>>,
    decoder: Decoder<B>,
    config: Config,
    backend: B,
}

impl<B: Backend> LatentDecoder<B> {
    /// Loads the tensors under `post_quant_conv` and `decoder`.
    ///
    /// # Errors
    /// If a tensor is missing, or has another shape than the config says.
    pub fn new(backend: &B, config: &Config, tensors: impl Into<Parameters>) -> Result<Self> {
        let tensors = tensors.into();
        let load = Loader::new(backend, &tensors);
        let kl = kl(config)?;
        let (inner, z) = (kl.inner_channels(config.latent_channels), config.latent_channels);
        let post_quant_conv = || Conv2d::new(z, inner, ConvKind::Point, load.under("post_quant_conv"));
        Ok(Self {
            post_quant_conv: kl.use_post_quant_conv.then(post_quant_conv).transpose()?,
            decoder: Decoder::new(kl, inner, load.under("decoder"))?,
            config: config.clone(),
            backend: backend.clone(),
        })
    }
}

impl<B: Backend> DecodeLatents for LatentDecoder<B> {
    fn z(&self, latents: &Tensor) -> Result<Tensor> {
        check_latents(latents, &self.config)?;
        match &self.post_quant_conv {
            Some(post_quant_conv) => {
                for_each_picture(&self.backend, latents, |z, workspace| post_quant_conv.forward(z, workspace))
            }
            None => Ok(latents.clone()),
        }
    }

    fn dec(&self, z: &Tensor, observer: &mut dyn Observer) -> Result<Tensor> {
        for_each_picture(&self.backend, z, |z, workspace| self.decoder.forward(z, workspace, observer))
    }
}

/// The encoder and decoder of one checkpoint.
///
/// Several threads can use one model at once: each pass takes its memory from a pool, and nothing is locked meanwhile.
#[derive(Debug)]
pub struct AutoencoderKl<B: Backend> {
    /// Picture → posterior.
    pub encoder: PictureEncoder<B>,
    /// Latents → picture.
    pub decoder: LatentDecoder<B>,
    config: Config,
}

impl<B: Backend> AutoencoderKl<B> {
    /// Loads all tensors of the checkpoint: a [`Parameters`], or candle's `VarBuilder`.
    ///
    /// # Errors
    /// If a tensor is missing, or has another shape than the config says.
    pub fn new(backend: &B, config: &Config, tensors: impl Into<Parameters>) -> Result<Self> {
        let tensors = tensors.into();
        Ok(Self {
            encoder: PictureEncoder::new(backend, config, tensors.clone())?,
            decoder: LatentDecoder::new(backend, config, tensors)?,
            config: config.clone(),
        })
    }

    /// The checkpoint's config.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Pixels `[n, 3, h, w]` in −1..1 → the distribution of their latents.
    pub fn encode(&self, x: &Tensor) -> Result<Posterior> {
        self.encoder.encode(x)
    }

    /// Unscaled latents `[n, 4, h/8, w/8]` → pixels `[n, 3, h, w]`, about −1..1 (not clamped).
    /// [`Scaling::unscale`](super::Scaling::unscale) undoes the scaling of latents.
    pub fn decode(&self, latents: &Tensor) -> Result<Tensor> {
        self.decoder.decode(latents)
    }
}

fn kl(config: &Config) -> Result<&Kl> {
    config.kl().ok_or_else(|| Error::Msg("the config is not that of an AutoencoderKL".into()))
}

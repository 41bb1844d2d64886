//! The two halves with the 1×1 convolutions at the latents, and the scaling of latents.
//!
//! A command that encodes loads only [`PictureEncoder`], one that decodes only [`LatentDecoder`].

use candle_core::{Device, Error, Result, Tensor};

use super::decoder::Decoder;
use super::encoder::Encoder;
use super::layers::Conv2d;
use super::parameters::Parameters;
use super::{Config, Observer, Posterior};
use crate::kernels::{FeatureMap, Kind, Shape, SharedWorkspace, Workspace};

/// Picture → posterior: `encoder`, then `quant_conv`.
#[derive(Debug, Clone)]
pub struct PictureEncoder {
    encoder: Encoder,
    quant_conv: Option<Conv2d>,
    config: Config,
    space: SharedWorkspace,
}

impl PictureEncoder {
    /// Finds the tensors under `encoder` and `quant_conv`.
    pub fn new(config: &Config, vb: Parameters, space: &SharedWorkspace) -> Result<Self> {
        let moments = 2 * config.latent_channels;
        let quant_conv = || Conv2d::new(moments, moments, Kind::Point, vb.pp("quant_conv"));
        Ok(Self {
            encoder: Encoder::new(config, vb.pp("encoder"))?,
            quant_conv: config.use_quant_conv.then(quant_conv).transpose()?,
            config: config.clone(),
            space: space.clone(),
        })
    }

    /// Pixels `[n, 3, h, w]` in −1..1 → h `[n, 8, h/8, w/8]`, the encoder's own output.
    pub fn h(&self, x: &Tensor, observer: &mut dyn Observer) -> Result<Tensor> {
        let (_, channels, height, width) = x.dims4()?;
        let least = self.config.downscale();
        if channels != self.config.in_channels || height < least || width < least {
            candle_core::bail!(
                "the encoder takes [n, {}, h, w] with sides of at least {least}, not {:?}",
                self.config.in_channels,
                x.dims()
            );
        }
        for_each_picture(x, &self.space, |x, space| self.encoder.forward(x, space, observer))
    }

    /// h `[n, 8, h/8, w/8]` → moments of the same shape: mean and log-variance.
    pub fn moments(&self, h: &Tensor) -> Result<Tensor> {
        match &self.quant_conv {
            Some(quant_conv) => for_each_picture(h, &self.space, |h, space| quant_conv.replace(h, space)),
            None => Ok(h.clone()),
        }
    }

    /// Pixels `[n, 3, h, w]` in −1..1 → the distribution of their latents.
    pub fn encode(&self, x: &Tensor) -> Result<Posterior> {
        Posterior::new(&self.moments(&self.h(x, &mut ())?)?)
    }
}

/// Latents → picture: `post_quant_conv`, then `decoder`.
#[derive(Debug, Clone)]
pub struct LatentDecoder {
    post_quant_conv: Option<Conv2d>,
    decoder: Decoder,
    config: Config,
    space: SharedWorkspace,
}

impl LatentDecoder {
    /// Finds the tensors under `post_quant_conv` and `decoder`.
    pub fn new(config: &Config, vb: Parameters, space: &SharedWorkspace) -> Result<Self> {
        let c = config.latent_channels;
        let post_quant_conv = || Conv2d::new(c, c, Kind::Point, vb.pp("post_quant_conv"));
        Ok(Self {
            post_quant_conv: config.use_post_quant_conv.then(post_quant_conv).transpose()?,
            decoder: Decoder::new(config, vb.pp("decoder"))?,
            config: config.clone(),
            space: space.clone(),
        })
    }

    /// Unscaled latents `[n, 4, h/8, w/8]` → z of the same shape, the decoder's own input.
    pub fn z(&self, latents: &Tensor) -> Result<Tensor> {
        let (_, channels, height, width) = latents.dims4()?;
        if channels != self.config.latent_channels || height == 0 || width == 0 {
            let c = self.config.latent_channels;
            candle_core::bail!("the decoder takes latents [n, {c}, h, w], not {:?}", latents.dims());
        }
        match &self.post_quant_conv {
            Some(post_quant_conv) => {
                for_each_picture(latents, &self.space, |z, space| post_quant_conv.replace(z, space))
            }
            None => Ok(latents.clone()),
        }
    }

    /// z → pixels `[n, 3, h, w]`, about −1..1 (not clamped): the decoder's own output.
    pub fn dec(&self, z: &Tensor, observer: &mut dyn Observer) -> Result<Tensor> {
        for_each_picture(z, &self.space, |z, space| self.decoder.forward(z, space, observer))
    }

    /// Unscaled latents `[n, 4, h/8, w/8]` → pixels `[n, 3, h, w]`, about −1..1 (not clamped).
    pub fn decode(&self, latents: &Tensor) -> Result<Tensor> {
        self.dec(&self.z(latents)?, &mut ())
    }
}

/// Both halves of one checkpoint.
#[derive(Debug, Clone)]
pub struct AutoencoderKl {
    /// Picture → posterior.
    pub encoder: PictureEncoder,
    /// Latents → picture.
    pub decoder: LatentDecoder,
    config: Config,
}

impl AutoencoderKl {
    /// Finds all tensors of the checkpoint: a [`Parameters`], or candle's `VarBuilder`.
    pub fn new(config: &Config, tensors: impl Into<Parameters>) -> Result<Self> {
        Self::within(&SharedWorkspace::new().map_err(Error::wrap)?, config, tensors)
    }

    /// The same, in a workspace that is there already.
    pub fn within(space: &SharedWorkspace, config: &Config, tensors: impl Into<Parameters>) -> Result<Self> {
        let vb = tensors.into();
        Ok(Self {
            encoder: PictureEncoder::new(config, vb.clone(), space)?,
            decoder: LatentDecoder::new(config, vb, space)?,
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

    /// Scaled latents `[n, 4, h/8, w/8]` → pixels `[n, 3, h, w]`, about −1..1 (not clamped).
    pub fn decode(&self, latents: &Tensor) -> Result<Tensor> {
        self.decoder.decode(&self.config.unscale(latents)?)
    }
}

/// `[n, c, h, w]` → `[n, c', h', w']`, picture by picture: a batch needs no more memory than one picture.
fn for_each_picture(
    batch: &Tensor,
    space: &SharedWorkspace,
    mut forward: impl FnMut(FeatureMap, &mut Workspace) -> Result<FeatureMap>,
) -> Result<Tensor> {
    let (n, channels, height, width) = batch.dims4()?;
    let mut space = space.lock();
    let mut results = Vec::with_capacity(n);
    for i in 0..n {
        let shape = Shape::new(channels, height, width);
        let mut x = space.take(shape);
        x.load(&batch.get(i)?.flatten_all()?.to_vec1::<f32>()?, shape)?;
        let y = forward(x, &mut space)?;
        let Shape { channels, height, width } = y.shape();
        results.push(Tensor::from_vec(y.fetch()?, (1, channels, height, width), &Device::Cpu)?);
        space.give(y);
    }
    Tensor::cat(&results, 0)
}

impl Config {
    /// What the VAE samples → what diffusion models work on: `(z − shift) · scaling_factor`.
    pub fn scale(&self, z: &Tensor) -> Result<Tensor> {
        z.affine(self.scaling_factor, -self.shift_factor.unwrap_or(0.0) * self.scaling_factor)
    }

    /// The reverse of [`Config::scale`]: `latents / scaling_factor + shift`.
    pub fn unscale(&self, latents: &Tensor) -> Result<Tensor> {
        unscale(latents, self.scaling_factor, self.shift_factor.unwrap_or(0.0))
    }
}

/// `latents / scaling_factor + shift`, for latents whose file says by what they were scaled.
pub fn unscale(latents: &Tensor, scaling_factor: f64, shift: f64) -> Result<Tensor> {
    latents.affine(1.0 / scaling_factor, shift)
}

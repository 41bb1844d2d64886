//! candle-transformers' AutoEncoderKL with the same weights, as an independent reference.
//!
//! It uses candle's own operations: it is slow, and shares no arithmetic with [`crate::model`] and its kernels.

use candle_core::{DType, Device, Error, Result, Shape, Tensor};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};
use candle_transformers::models::stable_diffusion::vae::{AutoEncoderKL, AutoEncoderKLConfig};

use crate::model::Config;

/// candle-transformers' model.
///
/// Use it for one picture at a time: in a batch, the attention of 0.11.1 gives different values for the same picture.
pub struct Stock(AutoEncoderKL);

impl Stock {
    /// Creates the model from the tensors of a checkpoint; it is an error if one is missing or has the wrong shape.
    pub fn new(config: &Config, tensors: Box<dyn SimpleBackend>, device: &Device) -> Result<Self> {
        let kl =
            config.kl().ok_or_else(|| Error::Msg("the config is not that of an AutoencoderKL".into()))?;
        let stock = AutoEncoderKLConfig {
            block_out_channels: kl.block_out_channels.clone(),
            layers_per_block: kl.layers_per_block,
            latent_channels: config.latent_channels,
            norm_num_groups: kl.norm_num_groups,
            use_quant_conv: kl.use_quant_conv,
            use_post_quant_conv: kl.use_post_quant_conv,
        };
        let tensors = ZeroVariance { tensors, channels: config.latent_channels };
        let tensors = VarBuilder::from_backend(Box::new(tensors), DType::F32, device.clone());
        Ok(Self(AutoEncoderKL::new(tensors, 3, 3, stock)?))
    }

    /// Encodes pixels `[1, 3, h, w]` in −1..1; returns the posterior's mean `[1, 4, h/8, w/8]`.
    pub fn mean(&self, x: &Tensor) -> Result<Tensor> {
        self.0.encode(x)?.sample()
    }

    /// Decodes unscaled latents `[1, 4, h/8, w/8]`; returns pixels `[1, 3, h, w]`.
    pub fn decode(&self, latents: &Tensor) -> Result<Tensor> {
        self.0.decode(latents)
    }
}

/// A checkpoint whose posterior has zero variance, so that the stock model's `sample()` returns the mean.
struct ZeroVariance {
    tensors: Box<dyn SimpleBackend>,
    channels: usize,
}

/// A log-variance whose exponential is zero in f32.
const LOG_OF_ZERO: f64 = -200.0;

impl SimpleBackend for ZeroVariance {
    fn get(&self, shape: Shape, name: &str, init: Init, dtype: DType, device: &Device) -> Result<Tensor> {
        let tensor = self.tensors.get(shape, name, init, dtype, device)?;
        let with_logvar = |value: f64| -> Result<Tensor> {
            let mean = tensor.narrow(0, 0, self.channels)?;
            let logvar = (mean.zeros_like()? + value)?;
            Tensor::cat(&[mean, logvar], 0)
        };
        match name {
            "quant_conv.weight" => with_logvar(0.0),
            "quant_conv.bias" => with_logvar(LOG_OF_ZERO),
            _ => Ok(tensor),
        }
    }

    fn get_unchecked(&self, name: &str, dtype: DType, device: &Device) -> Result<Tensor> {
        self.tensors.get_unchecked(name, dtype, device)
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.tensors.contains_tensor(name)
    }
}

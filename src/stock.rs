//! A second opinion: candle-transformers' AutoEncoderKL, made of candle's own operations, with the same weights.
//!
//! It is slow, and shares no arithmetic with [`crate::model`] and [`crate::kernels`].

use candle_core::{DType, Device, Result, Shape, Tensor};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};
use candle_transformers::models::stable_diffusion::vae::{AutoEncoderKL, AutoEncoderKLConfig};

use crate::model::Config;

/// candle-transformers' model.
///
/// Take it for one picture at a time: with a batch its attention in 0.11.1 gives other values for the same picture.
pub struct Stock(AutoEncoderKL);

impl Stock {
    /// Reads all tensors of a checkpoint.
    pub fn new(config: &Config, tensors: Box<dyn SimpleBackend>, device: &Device) -> Result<Self> {
        let stock = AutoEncoderKLConfig {
            block_out_channels: config.block_out_channels.clone(),
            layers_per_block: config.layers_per_block,
            latent_channels: config.latent_channels,
            norm_num_groups: config.norm_num_groups,
            use_quant_conv: config.use_quant_conv,
            use_post_quant_conv: config.use_post_quant_conv,
        };
        let sharp = Sharp { tensors, channels: config.latent_channels };
        let tensors = VarBuilder::from_backend(Box::new(sharp), DType::F32, device.clone());
        Ok(Self(AutoEncoderKL::new(tensors, config.in_channels, config.out_channels, stock)?))
    }

    /// Pixels `[1, 3, h, w]` in −1..1 → the posterior's mean `[1, 4, h/8, w/8]`.
    pub fn mean(&self, x: &Tensor) -> Result<Tensor> {
        self.0.encode(x)?.sample()
    }

    /// Unscaled latents `[1, 4, h/8, w/8]` → pixels `[1, 3, h, w]`.
    pub fn decode(&self, latents: &Tensor) -> Result<Tensor> {
        self.0.decode(latents)
    }
}

/// A checkpoint whose posterior has no variance: the stock model can only sample it, and so samples the mean.
struct Sharp {
    tensors: Box<dyn SimpleBackend>,
    channels: usize,
}

/// Its exponential is zero.
const LOG_OF_NO_VARIANCE: f32 = -200.0;

impl SimpleBackend for Sharp {
    fn get(&self, shape: Shape, name: &str, init: Init, dtype: DType, device: &Device) -> Result<Tensor> {
        let tensor = self.tensors.get(shape, name, init, dtype, device)?;
        let logvar = |value: f32| -> Result<Tensor> {
            let mean = tensor.narrow(0, 0, self.channels)?;
            let logvar = mean.zeros_like()?.affine(1.0, f64::from(value))?;
            Tensor::cat(&[mean, logvar], 0)
        };
        match name {
            "quant_conv.weight" => logvar(0.0),
            "quant_conv.bias" => logvar(LOG_OF_NO_VARIANCE),
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

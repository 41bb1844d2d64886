//! The layers that own weights: convolution, group norm, attention.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use crate::kernels::{self, Activation, ConvForm};

/// Every group norm of the VAE has this epsilon (`resnet_eps=1e-6` in `diffusers/models/autoencoders/vae.py`).
const NORM_EPS: f64 = 1e-6;

/// A convolution with bias, in one of the forms that the VAE has.
#[derive(Debug, Clone)]
pub struct Conv2d {
    weight: Tensor, // [out, in, k, k]
    bias: Tensor,   // [out]
    form: ConvForm,
}

impl Conv2d {
    /// Reads `weight` and `bias` under the prefix of `vb`.
    pub fn new(c_in: usize, c_out: usize, form: ConvForm, vb: VarBuilder) -> Result<Self> {
        let k = form.kernel_size();
        let weight = vb.get((c_out, c_in, k, k), "weight")?;
        let bias = vb.get(c_out, "bias")?;
        Ok(Self { weight, bias, form })
    }

    /// `[n, in, h, w]` → `[n, out, h', w']`, where the form says what h' and w' are.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        kernels::conv2d(x, &self.weight, &self.bias, self.form)
    }
}

/// Group norm over channels, with or without the SiLU that follows it nearly everywhere.
#[derive(Debug, Clone)]
pub struct GroupNorm {
    weight: Tensor, // [channels]
    bias: Tensor,   // [channels]
    groups: usize,
    activation: Activation,
}

impl GroupNorm {
    /// Reads `weight` and `bias` under the prefix of `vb`.
    pub fn new(groups: usize, channels: usize, activation: Activation, vb: VarBuilder) -> Result<Self> {
        let weight = vb.get(channels, "weight")?;
        let bias = vb.get(channels, "bias")?;
        Ok(Self { weight, bias, groups, activation })
    }

    /// `[n, c, h, w]` → the same shape.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        kernels::group_norm(x, &self.weight, &self.bias, (self.groups, NORM_EPS), self.activation)
    }
}

/// One head of self-attention over all positions, with a residual around it.
///
/// `diffusers/models/attention_processor.py`, `Attention` with `residual_connection=True`.
#[derive(Debug, Clone)]
pub struct Attention {
    group_norm: GroupNorm,
    to_q: Conv2d,
    to_k: Conv2d,
    to_v: Conv2d,
    to_out: Conv2d,
}

impl Attention {
    /// Reads the current spelling (`to_q`, `to_k`, `to_v`, `to_out.0`) or the older one
    /// (`query`, `key`, `value`, `proj_attn`), as linear `[c,c]` or as convolution `[c,c,1,1]`.
    pub fn new(groups: usize, channels: usize, vb: VarBuilder) -> Result<Self> {
        let projection = |name: &str, older: &str| {
            let name = if vb.contains_tensor(&format!("{older}.weight")) { older } else { name };
            pointwise(channels, vb.pp(name))
        };
        Ok(Self {
            group_norm: GroupNorm::new(groups, channels, Activation::None, vb.pp("group_norm"))?,
            to_q: projection("to_q", "query")?,
            to_k: projection("to_k", "key")?,
            to_v: projection("to_v", "value")?,
            to_out: projection("to_out.0", "proj_attn")?,
        })
    }

    /// `[n, c, h, w]` → the same shape.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let h = self.group_norm.forward(x)?;
        let tokens = |t: Tensor| t.flatten_from(2)?.transpose(1, 2)?.contiguous(); // [n, h·w, c]
        let q = tokens(self.to_q.forward(&h)?)?;
        let k = tokens(self.to_k.forward(&h)?)?;
        let v = tokens(self.to_v.forward(&h)?)?;
        let h = kernels::attention(&q, &k, &v)?; // [n, h·w, c]
        let h = h.transpose(1, 2)?.contiguous()?.reshape(x.shape())?;
        self.to_out.forward(&h)? + x
    }
}

/// A projection of every position by itself, stored as `[c,c,1,1]` or as `[c,c]`.
fn pointwise(channels: usize, vb: VarBuilder) -> Result<Conv2d> {
    let weight = vb
        .get((channels, channels, 1, 1), "weight")
        .or_else(|_| vb.get((channels, channels), "weight")?.reshape((channels, channels, 1, 1)))?;
    let bias = vb.get(channels, "bias")?;
    Ok(Conv2d { weight, bias, form: ConvForm::Pointwise })
}

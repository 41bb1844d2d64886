//! The layers with weights: convolution, group norm, attention.

use candle_core::Result;

use crate::kernels::{
    Activation, AttentionParameters, Backend, ConvInput, ConvKind, ConvOutput, ConvParameters, FeatureMap,
    NormParameters, Workspace,
};

use super::parameters::Loader;

/// Every group norm of the VAE has this epsilon (`resnet_eps=1e-6` in `diffusers/models/autoencoders/vae.py`).
const NORM_EPS: f64 = 1e-6;

/// A convolution with bias.
#[derive(Debug)]
pub struct Conv2d<B: Backend> {
    weights: B::Convolution,
    kind: ConvKind,
    c_out: usize,
}

impl<B: Backend> Conv2d<B> {
    /// Loads `weight` `[c_out, c_in, k, k]` and `bias` `[c_out]`.
    pub fn new(c_in: usize, c_out: usize, kind: ConvKind, load: Loader<B>) -> Result<Self> {
        let weight = load.tensor("weight", &[c_out, c_in, kind.side(), kind.side()])?;
        let bias = load.vector("bias", c_out)?;
        let weights = load.backend().convolution(ConvParameters { kind, c_in, weight, bias })?;
        Ok(Self { weights, kind, c_out })
    }

    /// `conv(norm(x))`, with or without the norm.
    pub fn forward(
        &self,
        x: &B::Map,
        norm: Option<&B::Coefficients>,
        space: &mut Workspace<B>,
    ) -> Result<B::Map> {
        let mut y = space.take(self.kind.output(x.shape(), self.c_out));
        let input = ConvInput { map: x, norm };
        space.backend().convolve(&self.weights, input, ConvOutput::Replace(&mut y), space)?;
        Ok(y)
    }

    /// `conv(x)`, where x is not needed afterwards.
    pub fn forward_owned(&self, x: B::Map, space: &mut Workspace<B>) -> Result<B::Map> {
        Ok(space.backend().convolve_owned(&self.weights, x, space)?)
    }

    /// Adds `conv(norm(x))` to y.
    pub fn add_to(
        &self,
        y: &mut B::Map,
        x: &B::Map,
        norm: Option<&B::Coefficients>,
        space: &mut Workspace<B>,
    ) -> Result<()> {
        let input = ConvInput { map: x, norm };
        Ok(space.backend().convolve(&self.weights, input, ConvOutput::AddTo(y), space)?)
    }
}

/// A group norm over channels, and the activation that follows it.
#[derive(Debug)]
pub struct GroupNorm<B: Backend> {
    weights: B::GroupNorm,
    activation: Activation,
}

impl<B: Backend> GroupNorm<B> {
    /// Loads `weight` and `bias`, both `[channels]`.
    pub fn new(groups: usize, channels: usize, activation: Activation, load: Loader<B>) -> Result<Self> {
        let (weight, bias) = (load.vector("weight", channels)?, load.vector("bias", channels)?);
        let parameters = NormParameters { weight, bias, groups, eps: NORM_EPS };
        Ok(Self { weights: load.backend().group_norm(parameters)?, activation })
    }

    /// The norm of x: a scale and a shift per channel that the layer which reads x next applies while it reads.
    pub fn of(&self, x: &B::Map, space: &Workspace<B>) -> Result<B::Coefficients> {
        Ok(space.backend().normalize(&self.weights, x, self.activation)?)
    }
}

/// Self-attention with one head over all positions, with a residual connection.
///
/// `diffusers/models/attention_processor.py`, `Attention` with `residual_connection=True`.
#[derive(Debug)]
pub struct Attention<B: Backend> {
    group_norm: GroupNorm<B>,
    projections: B::Attention,
}

impl<B: Backend> Attention<B> {
    /// Loads the current names (`to_q`, `to_k`, `to_v`, `to_out.0`) or the older ones (`query`, `key`, `value`,
    /// `proj_attn`), as linear layers `[c, c]` or as convolutions `[c, c, 1, 1]`.
    pub fn new(groups: usize, channels: usize, load: Loader<B>) -> Result<Self> {
        let projection = |name: &str, older: &str| {
            let name = if load.contains(&format!("{older}.weight")) { older } else { name };
            projection(channels, &load.under(name))
        };
        let projections = AttentionParameters {
            to_q: projection("to_q", "query")?,
            to_k: projection("to_k", "key")?,
            to_v: projection("to_v", "value")?,
            to_out: projection("to_out.0", "proj_attn")?,
        };
        Ok(Self {
            group_norm: GroupNorm::new(groups, channels, Activation::Identity, load.under("group_norm"))?,
            projections: load.backend().attention(projections)?,
        })
    }

    /// `x + to_out(attention(to_q(h), to_k(h), to_v(h)))` with h = group_norm(x); `[c, h, w]` → the same shape
    pub fn forward(&self, x: B::Map, space: &mut Workspace<B>) -> Result<B::Map> {
        let norm = self.group_norm.of(&x, space)?;
        Ok(space.backend().attend(&self.projections, x, &norm, space)?)
    }
}

/// A projection of every position by itself.
fn projection<B: Backend>(channels: usize, load: &Loader<B>) -> Result<ConvParameters> {
    let weight = load.tensor("weight", &[channels, channels, 1, 1]);
    let weight = weight.or_else(|_| load.tensor("weight", &[channels, channels]))?;
    let bias = load.vector("bias", channels)?;
    Ok(ConvParameters { kind: ConvKind::Point, c_in: channels, weight, bias })
}

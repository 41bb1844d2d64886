//! The layers of the VAE of Wan 2.1, and the blocks that encoder and decoder share.

use candle_core::Result;

use crate::kernels::{Activation, AttentionParameters, Backend, ConvKind, ConvParameters, Workspace};

use super::super::blocks::ResnetBlock;
use super::super::layers::{Attention, Conv2d, Norm};
use super::super::parameters::Loader;

/// A causal convolution over time, rows and columns, for the first frame: loads `weight` `[c_out, c_in, k, k, k]` and `bias`
/// `[c_out]`.
///
/// Before the first frame there are only zeros, so of each filter the last slice in time remains.
pub fn causal<B: Backend>(c_in: usize, c_out: usize, kind: ConvKind, load: Loader<B>) -> Result<Conv2d<B>> {
    let (side, taps) = (kind.side(), kind.taps());
    let weight = load.tensor("weight", &[c_out, c_in, side, side, side])?;
    let weight = weight.part_of_each(side * taps, (side - 1) * taps..side * taps);
    conv(kind, c_in, weight, load.vector("bias", c_out)?, &load)
}

/// A convolution of single frames: loads `weight` `[c_out, c_in, k, k]` and `bias` `[c_out]`.
pub fn spatial<B: Backend>(c_in: usize, c_out: usize, kind: ConvKind, load: Loader<B>) -> Result<Conv2d<B>> {
    let weight = load.tensor("weight", &[c_out, c_in, kind.side(), kind.side()])?;
    conv(kind, c_in, weight, load.vector("bias", c_out)?, &load)
}

fn conv<B: Backend>(
    kind: ConvKind,
    c_in: usize,
    weight: crate::kernels::Parameter,
    bias: Vec<f32>,
    load: &Loader<B>,
) -> Result<Conv2d<B>> {
    Conv2d::from_parameters(parameters(kind, c_in, weight, bias), load.backend())
}

/// No group norm reads the result.
fn parameters(
    kind: ConvKind,
    c_in: usize,
    weight: crate::kernels::Parameter,
    bias: Vec<f32>,
) -> ConvParameters {
    ConvParameters { kind, c_in, weight, bias, relu: false, sums: false }
}

/// `silu(x/‖x‖₂·√c·γ)` over the channels of each pixel: loads `gamma` `[c, 1, 1, 1]`.
pub fn norm<B: Backend>(channels: usize, load: Loader<B>) -> Result<Norm<B>> {
    let gamma = load.tensor("gamma", &[channels, 1, 1, 1])?.to_f32()?.into_owned();
    Norm::rms(gamma, Activation::Silu, load.backend())
}

/// Attention with one head over all positions of the frame: loads `norm`, `to_qkv` and `proj`.
pub fn attention<B: Backend>(channels: usize, load: Loader<B>) -> Result<Attention<B>> {
    let gamma = load.tensor("norm.gamma", &[channels, 1, 1])?.to_f32()?.into_owned();
    let weight = load.tensor("to_qkv.weight", &[3 * channels, channels, 1, 1])?;
    let bias = load.vector("to_qkv.bias", 3 * channels)?;
    let size = channels * channels;
    let third = |i: usize| {
        let weight = weight.clone().part_of_each(3 * size, i * size..(i + 1) * size);
        parameters(ConvKind::Point, channels, weight, bias[i * channels..(i + 1) * channels].to_vec())
    };
    let proj = load.under("proj");
    let (weight, bias) =
        (proj.tensor("weight", &[channels, channels, 1, 1])?, proj.vector("bias", channels)?);
    let to_out = parameters(ConvKind::Point, channels, weight, bias);
    let projections = AttentionParameters { to_q: third(0), to_k: third(1), to_v: third(2), to_out };
    let norm = Norm::rms(gamma, Activation::Identity, load.backend())?;
    Attention::from_parameters(norm, projections, load.backend())
}

/// Two convolutions, each after a norm and SiLU, and a shortcut around them. The shortcut has a 1×1 convolution if the number
/// of channels changes.
pub fn resnet<B: Backend>(c_in: usize, c_out: usize, load: Loader<B>) -> Result<ResnetBlock<B>> {
    Ok(ResnetBlock {
        norm1: norm(c_in, load.under("norm1"))?,
        conv1: causal(c_in, c_out, ConvKind::Same, load.under("conv1"))?,
        norm2: norm(c_out, load.under("norm2"))?,
        conv2: causal(c_out, c_out, ConvKind::Same, load.under("conv2"))?,
        conv_shortcut: match c_in == c_out {
            true => None,
            false => Some(causal(c_in, c_out, ConvKind::Point, load.under("conv_shortcut"))?),
        },
    })
}

/// Residual block, attention, residual block, at the latents' resolution.
#[derive(Debug)]
pub struct MidBlock<B: Backend> {
    resnets: [ResnetBlock<B>; 2],
    attention: Attention<B>,
}

impl<B: Backend> MidBlock<B> {
    /// `mid_block`
    pub fn new(channels: usize, load: Loader<B>) -> Result<Self> {
        let resnet = |j: usize| resnet(channels, channels, load.under("resnets").under(j));
        let attention = attention(channels, load.under("attentions.0"))?;
        Ok(Self { resnets: [resnet(0)?, resnet(1)?], attention })
    }

    /// `[c, h, w]` → the same shape
    pub fn forward(&self, x: B::Map, workspace: &mut Workspace<B>) -> Result<B::Map> {
        let h = self.resnets[0].forward(x, workspace)?;
        let h = self.attention.forward(h, workspace)?;
        self.resnets[1].forward(h, workspace)
    }
}

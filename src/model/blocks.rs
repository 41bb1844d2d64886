//! The blocks of encoder and decoder.

use candle_core::Result;

use crate::kernels::{Activation, Backend, ConvKind, Workspace};

use super::Kl;
use super::layers::{Attention, Conv2d, Norm};
use super::parameters::Loader;

/// Two convolutions, each after a norm and SiLU, and a shortcut around them.
#[derive(Debug)]
pub struct ResnetBlock<B: Backend> {
    pub(super) norm1: Norm<B>,
    pub(super) conv1: Conv2d<B>,
    pub(super) norm2: Norm<B>,
    pub(super) conv2: Conv2d<B>,
    pub(super) conv_shortcut: Option<Conv2d<B>>,
}

impl<B: Backend> ResnetBlock<B> {
    /// `resnets.{j}`; it has a `conv_shortcut` if the number of channels changes.
    pub fn new(groups: usize, c_in: usize, c_out: usize, load: Loader<B>) -> Result<Self> {
        let shortcut = load.under("conv_shortcut");
        Ok(Self {
            norm1: Norm::group(groups, c_in, Activation::Silu, load.under("norm1"))?,
            conv1: Conv2d::new(c_in, c_out, ConvKind::Same, load.under("conv1"))?,
            norm2: Norm::group(groups, c_out, Activation::Silu, load.under("norm2"))?,
            conv2: Conv2d::new(c_out, c_out, ConvKind::Same, load.under("conv2"))?,
            conv_shortcut: match c_in == c_out {
                true => None,
                false => Some(Conv2d::new(c_in, c_out, ConvKind::Point, shortcut)?),
            },
        })
    }

    /// `shortcut(x) + conv2(silu(norm2(conv1(silu(norm1(x))))))`; `[in, h, w]` → `[out, h, w]`
    pub fn forward(&self, x: B::Map, workspace: &mut Workspace<B>) -> Result<B::Map> {
        let h = self.conv1.forward_normed(&self.norm1, &x, workspace)?; // [out, h, w]
        let mut y = match &self.conv_shortcut {
            Some(shortcut) => shortcut.forward(x, workspace)?, // [out, h, w]
            None => x,
        };
        self.conv2.add_normed(&mut y, &self.norm2, &h, workspace)?; // [out, h, w]
        workspace.give(h);
        Ok(y)
    }
}

/// Residual block, attention, residual block, at the latents' resolution.
#[derive(Debug)]
pub struct MidBlock<B: Backend> {
    resnets: [ResnetBlock<B>; 2],
    attention: Option<Attention<B>>,
}

impl<B: Backend> MidBlock<B> {
    /// `mid_block`; it has no attention if the config says so (`mid_block_add_attention`).
    pub fn new(config: &Kl, channels: usize, load: Loader<B>) -> Result<Self> {
        let groups = config.norm_num_groups;
        let resnet = |j: usize| ResnetBlock::new(groups, channels, channels, load.under("resnets").under(j));
        let attention = match config.mid_block_add_attention {
            true => Some(Attention::new(groups, channels, load.under("attentions.0"))?),
            false => None,
        };
        Ok(Self { resnets: [resnet(0)?, resnet(1)?], attention })
    }

    /// `[c, h, w]` → the same shape
    pub fn forward(&self, x: B::Map, workspace: &mut Workspace<B>) -> Result<B::Map> {
        let mut h = self.resnets[0].forward(x, workspace)?;
        if let Some(attention) = &self.attention {
            h = attention.forward(h, workspace)?;
        }
        self.resnets[1].forward(h, workspace)
    }
}

/// What the encoder or the decoder has at one resolution.
#[derive(Debug, Clone, Copy)]
pub struct Resolution {
    /// Input channels.
    pub c_in: usize,
    /// Output channels.
    pub c_out: usize,
    /// Residual blocks.
    pub layers: usize,
    /// Whether another resolution follows.
    pub resample: bool,
    /// Whether attention follows each residual block.
    pub attention: bool,
}

/// Residual blocks, each with an attention layer at some levels of some models.
#[derive(Debug)]
struct Layers<B: Backend> {
    resnets: Vec<ResnetBlock<B>>,
    /// One for each residual block, or none.
    attentions: Vec<Attention<B>>,
}

impl<B: Backend> Layers<B> {
    /// `resnets.{j}`, of which the first changes the number of channels, and `attentions.{j}`.
    fn new(groups: usize, at: Resolution, load: &Loader<B>) -> Result<Self> {
        let c_in = |j: usize| if j == 0 { at.c_in } else { at.c_out };
        let resnet = |j| ResnetBlock::new(groups, c_in(j), at.c_out, load.under("resnets").under(j));
        let attention = |j| Attention::new(groups, at.c_out, load.under("attentions").under(j));
        let attentions = if at.attention { at.layers } else { 0 };
        Ok(Self {
            resnets: (0..at.layers).map(resnet).collect::<Result<_>>()?,
            attentions: (0..attentions).map(attention).collect::<Result<_>>()?,
        })
    }

    /// `[in, h, w]` → `[out, h, w]`
    fn forward(&self, x: B::Map, workspace: &mut Workspace<B>) -> Result<B::Map> {
        let mut h = x;
        for (j, resnet) in self.resnets.iter().enumerate() {
            h = resnet.forward(h, workspace)?;
            if let Some(attention) = self.attentions.get(j) {
                h = attention.forward(h, workspace)?;
            }
        }
        Ok(h)
    }
}

/// Residual blocks, then a convolution that halves both sides.
#[derive(Debug)]
pub struct DownBlock<B: Backend> {
    layers: Layers<B>,
    downsampler: Option<Conv2d<B>>,
}

impl<B: Backend> DownBlock<B> {
    /// `down_blocks.{i}`
    pub fn new(groups: usize, at: Resolution, load: Loader<B>) -> Result<Self> {
        let layers = Layers::new(groups, at, &load)?;
        let conv = load.under("downsamplers.0.conv");
        let downsampler = match at.resample {
            true => Some(Conv2d::new(at.c_out, at.c_out, ConvKind::Down2, conv)?),
            false => None,
        };
        Ok(Self { layers, downsampler })
    }

    /// `[in, h, w]` → `[out, h/2, w/2]`, or `[out, h, w]` in the last block
    pub fn forward(&self, x: B::Map, workspace: &mut Workspace<B>) -> Result<B::Map> {
        let h = self.layers.forward(x, workspace)?;
        match &self.downsampler {
            Some(downsampler) => downsampler.forward(h, workspace),
            None => Ok(h),
        }
    }
}

/// Residual blocks, then an upsampling that doubles both sides, and a convolution.
#[derive(Debug)]
pub struct UpBlock<B: Backend> {
    layers: Layers<B>,
    upsampler: Option<Conv2d<B>>,
}

impl<B: Backend> UpBlock<B> {
    /// `up_blocks.{i}`
    pub fn new(groups: usize, at: Resolution, load: Loader<B>) -> Result<Self> {
        let layers = Layers::new(groups, at, &load)?;
        let conv = load.under("upsamplers.0.conv");
        let upsampler = match at.resample {
            true => Some(Conv2d::new(at.c_out, at.c_out, ConvKind::Up2, conv)?),
            false => None,
        };
        Ok(Self { layers, upsampler })
    }

    /// `[in, h, w]` → `[out, 2h, 2w]`, or `[out, h, w]` in the last block
    pub fn forward(&self, x: B::Map, workspace: &mut Workspace<B>) -> Result<B::Map> {
        let h = self.layers.forward(x, workspace)?;
        match &self.upsampler {
            Some(upsampler) => upsampler.forward(h, workspace),
            None => Ok(h),
        }
    }
}

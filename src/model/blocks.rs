//! The blocks that encoder and decoder are made of.

use candle_core::Result;

use super::layers::{Attention, Conv2d, GroupNorm};
use super::parameters::Parameters;
use crate::kernels::{FeatureMap, Kind, Workspace};

/// Two convolutions, each after a group norm and SiLU, and a shortcut around them.
#[derive(Debug, Clone)]
pub struct ResnetBlock {
    norm1: GroupNorm,
    conv1: Conv2d,
    norm2: GroupNorm,
    conv2: Conv2d,
    conv_shortcut: Option<Conv2d>,
}

impl ResnetBlock {
    /// `resnets.{j}`; there is a `conv_shortcut` where the number of channels changes.
    pub fn new(groups: usize, c_in: usize, c_out: usize, vb: Parameters) -> Result<Self> {
        let shortcut = || Conv2d::new(c_in, c_out, Kind::Point, vb.pp("conv_shortcut"));
        Ok(Self {
            norm1: GroupNorm::new(groups, c_in, true, vb.pp("norm1"))?,
            conv1: Conv2d::new(c_in, c_out, Kind::Same, vb.pp("conv1"))?,
            norm2: GroupNorm::new(groups, c_out, true, vb.pp("norm2"))?,
            conv2: Conv2d::new(c_out, c_out, Kind::Same, vb.pp("conv2"))?,
            conv_shortcut: (c_in != c_out).then(shortcut).transpose()?,
        })
    }

    /// `shortcut(x) + conv2(silu(norm2(conv1(silu(norm1(x))))))`; `[in, h, w]` → `[out, h, w]`
    pub fn forward(&self, mut x: FeatureMap, space: &mut Workspace) -> Result<FeatureMap> {
        let h = self.conv1.forward(&x, Some(&self.norm1.of(&x)?), space)?;
        if let Some(shortcut) = &self.conv_shortcut {
            x = shortcut.replace(x, space)?;
        }
        self.conv2.add_to(&mut x, &h, Some(&self.norm2.of(&h)?), space)?;
        space.give(h);
        Ok(x)
    }
}

/// Residual block, attention, residual block, at the latents' resolution.
#[derive(Debug, Clone)]
pub struct MidBlock {
    resnets: [ResnetBlock; 2],
    attention: Option<Attention>,
}

impl MidBlock {
    /// `mid_block`; the attention can be absent (`mid_block_add_attention`).
    pub fn new(groups: usize, channels: usize, attention: bool, vb: Parameters) -> Result<Self> {
        let resnet = |j: usize| ResnetBlock::new(groups, channels, channels, vb.pp("resnets").pp(j));
        let attention = attention.then(|| Attention::new(groups, channels, vb.pp("attentions.0")));
        Ok(Self { resnets: [resnet(0)?, resnet(1)?], attention: attention.transpose()? })
    }

    /// `[c, h, w]` → the same shape.
    pub fn forward(&self, x: FeatureMap, space: &mut Workspace) -> Result<FeatureMap> {
        let mut h = self.resnets[0].forward(x, space)?;
        if let Some(attention) = &self.attention {
            h = attention.forward(h, space)?;
        }
        self.resnets[1].forward(h, space)
    }
}

/// Residual blocks, then a halving of both sides.
#[derive(Debug, Clone)]
pub struct DownBlock {
    resnets: Vec<ResnetBlock>,
    downsampler: Option<Conv2d>,
}

/// What one resolution of the encoder or decoder has.
#[derive(Debug, Clone, Copy)]
pub struct Stage {
    /// Channels that come in.
    pub c_in: usize,
    /// Channels that go out.
    pub c_out: usize,
    /// Residual blocks.
    pub layers: usize,
    /// Whether the resolution changes at the end.
    pub resample: bool,
}

impl Stage {
    fn resnets(&self, groups: usize, vb: &Parameters) -> Result<Vec<ResnetBlock>> {
        let c_in = |j: usize| if j == 0 { self.c_in } else { self.c_out };
        (0..self.layers)
            .map(|j| ResnetBlock::new(groups, c_in(j), self.c_out, vb.pp("resnets").pp(j)))
            .collect()
    }
}

impl DownBlock {
    /// `down_blocks.{i}`
    pub fn new(groups: usize, stage: Stage, vb: Parameters) -> Result<Self> {
        let downsampler = || Conv2d::new(stage.c_out, stage.c_out, Kind::Down2, vb.pp("downsamplers.0.conv"));
        Ok(Self {
            resnets: stage.resnets(groups, &vb)?,
            downsampler: stage.resample.then(downsampler).transpose()?,
        })
    }

    /// `[in, h, w]` → `[out, h/2, w/2]`, or `[out, h, w]` in the last block.
    pub fn forward(&self, x: FeatureMap, space: &mut Workspace) -> Result<FeatureMap> {
        chain(&self.resnets, self.downsampler.as_ref(), x, space)
    }
}

/// Residual blocks, then a doubling of both sides.
#[derive(Debug, Clone)]
pub struct UpBlock {
    resnets: Vec<ResnetBlock>,
    upsampler: Option<Conv2d>,
}

impl UpBlock {
    /// `up_blocks.{i}`
    pub fn new(groups: usize, stage: Stage, vb: Parameters) -> Result<Self> {
        let upsampler = || Conv2d::new(stage.c_out, stage.c_out, Kind::Up2, vb.pp("upsamplers.0.conv"));
        Ok(Self {
            resnets: stage.resnets(groups, &vb)?,
            upsampler: stage.resample.then(upsampler).transpose()?,
        })
    }

    /// `[in, h, w]` → `[out, 2h, 2w]`, or `[out, h, w]` in the last block.
    pub fn forward(&self, x: FeatureMap, space: &mut Workspace) -> Result<FeatureMap> {
        chain(&self.resnets, self.upsampler.as_ref(), x, space)
    }
}

fn chain(
    resnets: &[ResnetBlock],
    resampler: Option<&Conv2d>,
    x: FeatureMap,
    space: &mut Workspace,
) -> Result<FeatureMap> {
    let mut h = x;
    for resnet in resnets {
        h = resnet.forward(h, space)?;
    }
    match resampler {
        Some(resampler) => resampler.replace(h, space),
        None => Ok(h),
    }
}

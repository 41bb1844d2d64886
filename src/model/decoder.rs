//! z → picture: the decoding half (`Decoder` in `diffusers/models/autoencoders/vae.py`).

use candle_core::Result;

use crate::kernels::{Activation, Backend, ConvKind, Workspace};

use super::blocks::{MidBlock, Resolution, UpBlock};
use super::layers::{Conv2d, Norm};
use super::parameters::Loader;
use super::{Kl, Observer, RGB};

/// The decoding half.
#[derive(Debug)]
pub struct Decoder<B: Backend> {
    conv_in: Conv2d<B>,
    mid_block: MidBlock<B>,
    up_blocks: Vec<UpBlock<B>>,
    conv_norm_out: Norm<B>,
    conv_out: Conv2d<B>,
}

impl<B: Backend> Decoder<B> {
    /// Loads the tensors under `decoder`; z has `z_channels` channels.
    pub fn new(config: &Kl, z_channels: usize, load: Loader<B>) -> Result<Self> {
        let groups = config.norm_num_groups;
        let channels: Vec<usize> = config.decoder_channels().iter().rev().copied().collect(); // [512, 512, 256, 128]
        let (first, last) = (channels[0], channels[channels.len() - 1]);
        let up_block = |i: usize| {
            let at = Resolution {
                c_in: channels[i.saturating_sub(1)], // block 0 keeps the channels of conv_in
                c_out: channels[i],
                layers: config.layers_per_block + 1,
                resample: i + 1 < channels.len(),
                attention: config.has_attention(channels.len() - 1 - i),
            };
            UpBlock::new(groups, at, load.under("up_blocks").under(i))
        };
        Ok(Self {
            conv_in: Conv2d::new(z_channels, first, ConvKind::Same, load.under("conv_in"))?,
            mid_block: MidBlock::new(config, first, load.under("mid_block"))?,
            up_blocks: (0..channels.len()).map(up_block).collect::<Result<_>>()?,
            conv_norm_out: Norm::group(groups, last, Activation::Silu, load.under("conv_norm_out"))?,
            conv_out: Conv2d::new(last, RGB, ConvKind::Same, load.under("conv_out"))?,
        })
    }

    /// z `[4, h/8, w/8]` → pixels `[3, h, w]`, about −1..1 (not clamped).
    pub fn forward(
        &self,
        z: B::Map,
        workspace: &mut Workspace<B>,
        observer: &mut dyn Observer,
    ) -> Result<B::Map> {
        let h = self.conv_in.forward(z, workspace)?; // [512, h/8, w/8]
        observer.block(format_args!("decoder.conv_in"), &h)?;
        let mut h = self.mid_block.forward(h, workspace)?; // [512, h/8, w/8]
        observer.block(format_args!("decoder.mid_block"), &h)?;
        for (i, block) in self.up_blocks.iter().enumerate() {
            h = block.forward(h, workspace)?; // [512, h/4, w/4], [512, h/2, w/2], [256, h, w], [128, h, w]
            observer.block(format_args!("decoder.up_blocks.{i}"), &h)?;
        }
        let y = self.conv_out.forward_normed(&self.conv_norm_out, &h, workspace)?; // [3, h, w]
        workspace.give(h);
        Ok(y)
    }
}

//! Picture → h: the encoding half (`Encoder` in `diffusers/models/autoencoders/vae.py`).

use candle_core::Result;

use crate::kernels::{Activation, Backend, ConvKind, Workspace};

use super::blocks::{DownBlock, MidBlock, Resolution};
use super::layers::{Conv2d, Norm};
use super::parameters::Loader;
use super::{Kl, Observer, RGB};

/// The encoding half.
#[derive(Debug)]
pub struct Encoder<B: Backend> {
    conv_in: Conv2d<B>,
    down_blocks: Vec<DownBlock<B>>,
    mid_block: MidBlock<B>,
    conv_norm_out: Norm<B>,
    conv_out: Conv2d<B>,
}

impl<B: Backend> Encoder<B> {
    /// Loads the tensors under `encoder`; h has `2 · channels` channels.
    pub fn new(config: &Kl, channels: usize, load: Loader<B>) -> Result<Self> {
        let moments = 2 * channels;
        let groups = config.norm_num_groups;
        let channels = &config.block_out_channels; // [128, 256, 512, 512]
        let (first, last) = (channels[0], channels[channels.len() - 1]);
        let down_block = |i: usize| {
            let at = Resolution {
                c_in: channels[i.saturating_sub(1)], // block 0 keeps the channels of conv_in
                c_out: channels[i],
                layers: config.layers_per_block,
                resample: i + 1 < channels.len(),
                attention: config.has_attention(i),
            };
            DownBlock::new(groups, at, load.under("down_blocks").under(i))
        };
        Ok(Self {
            conv_in: Conv2d::new(RGB, first, ConvKind::Same, load.under("conv_in"))?,
            down_blocks: (0..channels.len()).map(down_block).collect::<Result<_>>()?,
            mid_block: MidBlock::new(config, last, load.under("mid_block"))?,
            conv_norm_out: Norm::group(groups, last, Activation::Silu, load.under("conv_norm_out"))?,
            conv_out: Conv2d::new(last, moments, ConvKind::Same, load.under("conv_out"))?,
        })
    }

    /// Pixels `[3, h, w]` in −1..1 → h `[8, h/8, w/8]`.
    pub fn forward(
        &self,
        x: B::Map,
        workspace: &mut Workspace<B>,
        observer: &mut dyn Observer,
    ) -> Result<B::Map> {
        let mut h = self.conv_in.forward(x, workspace)?; // [128, h, w]
        observer.block(format_args!("encoder.conv_in"), &h)?;
        for (i, block) in self.down_blocks.iter().enumerate() {
            h = block.forward(h, workspace)?; // [128, h/2, w/2], [256, h/4, w/4], [512, h/8, w/8] twice
            observer.block(format_args!("encoder.down_blocks.{i}"), &h)?;
        }
        let h = self.mid_block.forward(h, workspace)?; // [512, h/8, w/8]
        observer.block(format_args!("encoder.mid_block"), &h)?;
        let y = self.conv_out.forward_normed(&self.conv_norm_out, &h, workspace)?; // [8, h/8, w/8]
        workspace.give(h);
        Ok(y)
    }
}

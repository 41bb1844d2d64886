//! Picture → h: the compressing half (`Encoder` in `diffusers/models/autoencoders/vae.py`).

use candle_core::Result;

use super::blocks::{DownBlock, MidBlock, Stage};
use super::layers::{Conv2d, GroupNorm};
use super::parameters::Parameters;
use super::{Config, Observer};
use crate::kernels::{FeatureMap, Kind, Workspace};

/// The compressing half.
#[derive(Debug, Clone)]
pub struct Encoder {
    conv_in: Conv2d,
    down_blocks: Vec<DownBlock>,
    mid_block: MidBlock,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
}

impl Encoder {
    /// Reads the tensors under `encoder`.
    pub fn new(config: &Config, vb: Parameters) -> Result<Self> {
        let groups = config.norm_num_groups;
        let channels = &config.block_out_channels; // [128, 256, 512, 512]
        let (first, last) = (channels[0], channels[channels.len() - 1]);
        let down_block = |i: usize| {
            let stage = Stage {
                c_in: channels[i.saturating_sub(1)],
                c_out: channels[i],
                layers: config.layers_per_block,
                resample: i + 1 < channels.len(),
            };
            DownBlock::new(groups, stage, vb.pp("down_blocks").pp(i))
        };
        let moments = 2 * config.latent_channels;
        Ok(Self {
            conv_in: Conv2d::new(config.in_channels, first, Kind::Same, vb.pp("conv_in"))?,
            down_blocks: (0..channels.len()).map(down_block).collect::<Result<_>>()?,
            mid_block: MidBlock::new(groups, last, config.mid_block_add_attention, vb.pp("mid_block"))?,
            conv_norm_out: GroupNorm::new(groups, last, true, vb.pp("conv_norm_out"))?,
            conv_out: Conv2d::new(last, moments, Kind::Same, vb.pp("conv_out"))?,
        })
    }

    /// Pixels `[3, h, w]` in −1..1 → h `[8, h/8, w/8]`.
    pub fn forward(
        &self,
        x: FeatureMap,
        space: &mut Workspace,
        observer: &mut dyn Observer,
    ) -> Result<FeatureMap> {
        let mut h = self.conv_in.replace(x, space)?; // [128, h, w]
        observer.block(format_args!("encoder.conv_in"), &h);
        for (i, block) in self.down_blocks.iter().enumerate() {
            h = block.forward(h, space)?; // [128, h/2, w/2], [256, h/4, w/4], [512, h/8, w/8] twice
            observer.block(format_args!("encoder.down_blocks.{i}"), &h);
        }
        let h = self.mid_block.forward(h, space)?; // [512, h/8, w/8]
        observer.block(format_args!("encoder.mid_block"), &h);
        self.conv_out.forward(&h, Some(&self.conv_norm_out.of(&h)?), space) // [8, h/8, w/8]
    }
}

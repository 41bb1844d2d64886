//! Picture → h: the encoding half (`WanEncoder3d` in `diffusers/models/autoencoders/autoencoder_kl_wan.py`).

use candle_core::Result;

use crate::kernels::{Backend, ConvKind, Workspace};

use super::super::blocks::ResnetBlock;
use super::super::config::Wan;
use super::super::layers::{Conv2d, Norm};
use super::super::parameters::Loader;
use super::super::{Config, Observer, RGB};
use super::layers::{MidBlock, causal, norm, resnet, spatial};

/// The encoding half.
#[derive(Debug)]
pub struct Encoder<B: Backend> {
    conv_in: Conv2d<B>,
    down_blocks: Vec<DownBlock<B>>,
    mid_block: MidBlock<B>,
    norm_out: Norm<B>,
    conv_out: Conv2d<B>,
}

/// An entry of the list `down_blocks`, which has those of all resolutions.
#[derive(Debug)]
enum DownBlock<B: Backend> {
    Resnet(ResnetBlock<B>),
    /// Halves both sides.
    Resample(Conv2d<B>),
}

impl<B: Backend> Encoder<B> {
    /// Loads the tensors under `encoder`.
    pub fn new(config: &Config, wan: &Wan, load: Loader<B>) -> Result<Self> {
        let channels = wan.encoder_channels(); // [96, 192, 384, 384]
        let mut c = wan.base_dim;
        let conv_in = causal(RGB, c, ConvKind::Same, load.under("conv_in"))?;
        let mut down_blocks = Vec::new();
        for (level, &c_out) in channels.iter().enumerate() {
            for _ in 0..wan.num_res_blocks {
                let load = load.under("down_blocks").under(down_blocks.len());
                down_blocks.push(DownBlock::Resnet(resnet(c, c_out, load)?));
                c = c_out;
            }
            if level + 1 < channels.len() {
                let load = load.under("down_blocks").under(down_blocks.len()).under("resample.1");
                down_blocks.push(DownBlock::Resample(spatial(c, c, ConvKind::Down2, load)?));
            }
        }
        Ok(Self {
            conv_in,
            down_blocks,
            mid_block: MidBlock::new(c, load.under("mid_block"))?,
            norm_out: norm(c, load.under("norm_out"))?,
            conv_out: causal(c, 2 * config.latent_channels, ConvKind::Same, load.under("conv_out"))?,
        })
    }

    /// Pixels `[3, h, w]` in −1..1 → h `[32, h/8, w/8]`.
    pub fn forward(
        &self,
        x: B::Map,
        workspace: &mut Workspace<B>,
        observer: &mut dyn Observer,
    ) -> Result<B::Map> {
        let mut h = self.conv_in.forward(x, workspace)?; // [96, h, w]
        observer.block(format_args!("encoder.conv_in"), &h)?;
        for (i, block) in self.down_blocks.iter().enumerate() {
            h = match block {
                DownBlock::Resnet(resnet) => resnet.forward(h, workspace)?, // [96, h, w], [192, h/2, w/2], …
                DownBlock::Resample(conv) => conv.forward(h, workspace)?, // [96, h/2, w/2], [192, h/4, w/4], …
            };
            observer.block(format_args!("encoder.down_blocks.{i}"), &h)?;
        }
        let h = self.mid_block.forward(h, workspace)?; // [384, h/8, w/8]
        observer.block(format_args!("encoder.mid_block"), &h)?;
        let y = self.conv_out.forward_normed(&self.norm_out, &h, workspace)?; // [32, h/8, w/8]
        workspace.give(h);
        Ok(y)
    }
}

//! z → picture: the decoding half (`WanDecoder3d` in `diffusers/models/autoencoders/autoencoder_kl_wan.py`).

use candle_core::Result;

use crate::kernels::{Backend, ConvKind, Workspace};

use super::super::blocks::ResnetBlock;
use super::super::config::Wan;
use super::super::layers::{Conv2d, Norm};
use super::super::parameters::Loader;
use super::super::{Config, Observer, RGB};
use super::layers::{MidBlock, causal, norm, resnet, spatial};

/// The decoding half.
#[derive(Debug)]
pub struct Decoder<B: Backend> {
    conv_in: Conv2d<B>,
    mid_block: MidBlock<B>,
    up_blocks: Vec<UpBlock<B>>,
    norm_out: Norm<B>,
    conv_out: Conv2d<B>,
}

/// Residual blocks, then an upsampling that doubles both sides, and a convolution that halves the channels.
#[derive(Debug)]
struct UpBlock<B: Backend> {
    resnets: Vec<ResnetBlock<B>>,
    upsampler: Option<Conv2d<B>>,
}

impl<B: Backend> UpBlock<B> {
    /// `[in, h, w]` → `[out/2, 2h, 2w]`, or `[out, h, w]` in the last block
    fn forward(&self, x: B::Map, workspace: &mut Workspace<B>) -> Result<B::Map> {
        let mut h = x;
        for resnet in &self.resnets {
            h = resnet.forward(h, workspace)?;
        }
        match &self.upsampler {
            Some(upsampler) => upsampler.forward(h, workspace),
            None => Ok(h),
        }
    }
}

impl<B: Backend> Decoder<B> {
    /// Loads the tensors under `decoder`.
    pub fn new(config: &Config, wan: &Wan, load: Loader<B>) -> Result<Self> {
        let channels: Vec<usize> = wan.decoder_channels().into_iter().rev().collect(); // [384, 384, 192, 96]
        let mut c = channels[0];
        let conv_in = causal(config.latent_channels, c, ConvKind::Same, load.under("conv_in"))?;
        let mid_block = MidBlock::new(c, load.under("mid_block"))?;
        let mut up_blocks = Vec::new();
        for (i, &c_out) in channels.iter().enumerate() {
            let load = load.under("up_blocks").under(i);
            let mut resnets = Vec::new();
            for j in 0..=wan.num_res_blocks {
                resnets.push(resnet(c, c_out, load.under("resnets").under(j))?);
                c = c_out;
            }
            let mut upsampler = None;
            if i + 1 < channels.len() {
                let load = load.under("upsamplers.0.resample.1");
                upsampler = Some(spatial(c, c / 2, ConvKind::Up2, load)?);
                c /= 2;
            }
            up_blocks.push(UpBlock { resnets, upsampler });
        }
        Ok(Self {
            conv_in,
            mid_block,
            up_blocks,
            norm_out: norm(c, load.under("norm_out"))?,
            conv_out: causal(c, RGB, ConvKind::Same, load.under("conv_out"))?,
        })
    }

    /// z `[16, h/8, w/8]` → pixels `[3, h, w]`, about −1..1 (not clamped).
    pub fn forward(
        &self,
        z: B::Map,
        workspace: &mut Workspace<B>,
        observer: &mut dyn Observer,
    ) -> Result<B::Map> {
        let h = self.conv_in.forward(z, workspace)?; // [384, h/8, w/8]
        observer.block(format_args!("decoder.conv_in"), &h)?;
        let mut h = self.mid_block.forward(h, workspace)?; // [384, h/8, w/8]
        observer.block(format_args!("decoder.mid_block"), &h)?;
        for (i, block) in self.up_blocks.iter().enumerate() {
            h = block.forward(h, workspace)?; // [192, h/4, w/4], [192, h/2, w/2], [96, h, w], [96, h, w]
            observer.block(format_args!("decoder.up_blocks.{i}"), &h)?;
        }
        let y = self.conv_out.forward_normed(&self.norm_out, &h, workspace)?; // [3, h, w]
        workspace.give(h);
        Ok(y)
    }
}

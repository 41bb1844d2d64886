//! The TAESD family: diffusers' `AutoencoderTiny`, two small networks of convolutions and ReLU, without norms and attention
//! (`EncoderTiny` and `DecoderTiny` in `diffusers/models/autoencoders/vae.py`).
//!
//! Inside, pixels are in 0..1. Latents are those of the large VAE that it was distilled from, as diffusion models use them:
//! scaled. The encoder gives latents, not a distribution. Shapes in comments are those of `taesd` for a picture of h × w.

use candle_core::{Result, Tensor};

use crate::kernels::{Backend, ConvKind, ConvParameters, Workspace};

use super::autoencoder_kl::{DecodeLatents, EncodePictures};
use super::batch::{check_latents, check_pixels, for_each_picture};
use super::config::{Network, Stages, Tiny};
use super::layers::Conv2d;
use super::parameters::Loader;
use super::{Config, Observer, Parameters, Posterior, RGB};

/// Values of latents beyond this are limited smoothly before they are decoded.
const LIMIT: f64 = 3.0;

/// Picture → latents.
#[derive(Debug)]
pub struct TinyEncoder<B: Backend> {
    /// With their numbers in the checkpoint.
    layers: Vec<(usize, Layer<B>)>,
    config: Config,
    backend: B,
}

/// Latents → picture.
#[derive(Debug)]
pub struct TinyDecoder<B: Backend> {
    /// With their numbers in the checkpoint. ReLU and upsampling have numbers, too, and belong to a convolution here: ReLU to the one
    /// before it, upsampling to the one after it.
    layers: Vec<(usize, Layer<B>)>,
    config: Config,
    backend: B,
}

impl<B: Backend> TinyEncoder<B> {
    /// Loads the tensors under `encoder`.
    ///
    /// # Errors
    /// If a tensor is missing, or has another shape than the config says.
    pub fn new(backend: &B, config: &Config, tensors: impl Into<Parameters>) -> Result<Self> {
        let (tiny, tensors) = (tiny(config)?, tensors.into());
        let load = Loader::new(backend, &tensors).under("encoder.layers");
        let Stages { channels, ref blocks } = tiny.encoder;
        let mut layers = Layers::default();
        for (i, &blocks) in blocks.iter().enumerate() {
            layers.add(1, |number| {
                let load = load.under(number);
                match i {
                    0 => conv(RGB, channels, ConvKind::Same, BIAS, load), // [64, h, w]
                    _ => conv(channels, channels, ConvKind::Down2Around, PLAIN, load), // [64, h/2, w/2], …
                }
            })?;
            layers.add_blocks(blocks, channels, &load)?;
        }
        // [4, h/8, w/8]
        layers.add(1, |number| {
            conv(channels, config.latent_channels, ConvKind::Same, BIAS, load.under(number))
        })?;
        Ok(Self { layers: layers.0, config: config.clone(), backend: backend.clone() })
    }
}

impl<B: Backend> TinyDecoder<B> {
    /// Loads the tensors under `decoder`.
    ///
    /// # Errors
    /// If a tensor is missing, or has another shape than the config says.
    pub fn new(backend: &B, config: &Config, tensors: impl Into<Parameters>) -> Result<Self> {
        let (tiny, tensors) = (tiny(config)?, tensors.into());
        let load = Loader::new(backend, &tensors).under("decoder.layers");
        let Stages { channels, ref blocks } = tiny.decoder;
        let mut layers = Layers::default();
        // [64, h/8, w/8]
        layers.add(2, |number| {
            conv(config.latent_channels, channels, ConvKind::Same, BIAS_RELU, load.under(number - 1))
        })?;
        for (i, &count) in blocks.iter().enumerate() {
            layers.add_blocks(count, channels, &load)?;
            if i + 1 < blocks.len() {
                layers.add(2, |number| {
                    conv(channels, channels, ConvKind::Up2, PLAIN, load.under(number)) // [64, h/4, w/4], …
                })?;
            }
        }
        layers.add(1, |number| conv(channels, RGB, ConvKind::Same, BIAS, load.under(number)))?; // [3, h, w]
        Ok(Self { layers: layers.0, config: config.clone(), backend: backend.clone() })
    }
}

impl<B: Backend> EncodePictures for TinyEncoder<B> {
    /// Pixels `[n, 3, h, w]` in −1..1 → latents `[n, 4, h/8, w/8]`.
    fn h(&self, x: &Tensor, observer: &mut dyn Observer) -> Result<Tensor> {
        check_pixels(x, &self.config)?;
        let x = ((x + 1.0)? / 2.0)?;
        for_each_picture(&self.backend, &x, |x, workspace| {
            forward("encoder", &self.layers, x, workspace, observer)
        })
    }

    /// The latents themselves.
    fn moments(&self, h: &Tensor) -> Result<Tensor> {
        Ok(h.clone())
    }

    fn posterior(&self, moments: &Tensor) -> Result<Posterior> {
        Posterior::certain(moments.clone())
    }
}

impl<B: Backend> DecodeLatents for TinyDecoder<B> {
    /// Latents `[n, 4, h/8, w/8]` → `3·tanh(latents/3)`.
    fn z(&self, latents: &Tensor) -> Result<Tensor> {
        check_latents(latents, &self.config)?;
        (latents / LIMIT)?.tanh()? * LIMIT
    }

    fn dec(&self, z: &Tensor, observer: &mut dyn Observer) -> Result<Tensor> {
        let y = for_each_picture(&self.backend, z, |z, workspace| {
            forward("decoder", &self.layers, z, workspace, observer)
        })?;
        (y * 2.0)? - 1.0
    }
}

/// The description of the network.
fn tiny(config: &Config) -> Result<&Tiny> {
    match &config.network {
        Network::Tiny(tiny) => Ok(tiny),
        _ => candle_core::bail!("the config is not that of an AutoencoderTiny"),
    }
}

/// A convolution, or three with a shortcut.
#[derive(Debug)]
enum Layer<B: Backend> {
    Conv(Conv2d<B>),
    Block(Block<B>),
}

/// `AutoencoderTinyBlock` in `diffusers/models/unets/unet_2d_blocks.py`.
#[derive(Debug)]
struct Block<B: Backend> {
    conv0: Conv2d<B>,
    conv2: Conv2d<B>,
    conv4: Conv2d<B>,
}

impl<B: Backend> Block<B> {
    fn new(channels: usize, load: &Loader<B>) -> Result<Self> {
        let conv = |number: usize| {
            conv(channels, channels, ConvKind::Same, BIAS_RELU, load.under("conv").under(number))
        };
        Ok(Self { conv0: conv(0)?, conv2: conv(2)?, conv4: conv(4)? })
    }

    /// `relu(conv4(relu(conv2(relu(conv0(x))))) + x)`; `[c, h, w]` → the same shape
    fn forward(&self, mut x: B::Map, workspace: &mut Workspace<B>) -> Result<B::Map> {
        let h = self.conv0.forward_kept(&x, workspace)?;
        let h = self.conv2.forward(h, workspace)?;
        self.conv4.add(&mut x, &h, workspace)?; // its ReLU follows the sum
        workspace.give(h);
        Ok(x)
    }
}

/// Layers by their numbers in the checkpoint.
struct Layers<B: Backend>(Vec<(usize, Layer<B>)>);

impl<B: Backend> Default for Layers<B> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<B: Backend> Layers<B> {
    /// Adds a convolution that stands for `count` layers of the checkpoint, under the number of the last of them.
    fn add(&mut self, count: usize, new: impl FnOnce(usize) -> Result<Conv2d<B>>) -> Result<()> {
        let number = self.next() + count;
        self.0.push((number - 1, Layer::Conv(new(number - 1)?)));
        Ok(())
    }

    fn add_blocks(&mut self, count: usize, channels: usize, load: &Loader<B>) -> Result<()> {
        for _ in 0..count {
            let number = self.next();
            self.0.push((number, Layer::Block(Block::new(channels, &load.under(number))?)));
        }
        Ok(())
    }

    /// The number of the next layer.
    fn next(&self) -> usize {
        self.0.last().map_or(0, |(number, _)| number + 1)
    }
}

/// Passes x through the layers of `half`.
fn forward<B: Backend>(
    half: &str,
    layers: &[(usize, Layer<B>)],
    x: B::Map,
    workspace: &mut Workspace<B>,
    observer: &mut dyn Observer,
) -> Result<B::Map> {
    let mut x = x;
    for (number, layer) in layers {
        x = match layer {
            Layer::Conv(conv) => conv.forward(x, workspace)?,
            Layer::Block(block) => block.forward(x, workspace)?,
        };
        observer.block(format_args!("{half}.layers.{number}"), &x)?;
    }
    Ok(x)
}

/// What a convolution has besides its weight.
#[derive(Clone, Copy)]
struct With {
    bias: bool,
    relu: bool,
}

const PLAIN: With = With { bias: false, relu: false };
const BIAS: With = With { bias: true, relu: false };
const BIAS_RELU: With = With { bias: true, relu: true };

/// Loads a 3×3 convolution.
fn conv<B: Backend>(
    c_in: usize,
    c_out: usize,
    kind: ConvKind,
    with: With,
    load: Loader<B>,
) -> Result<Conv2d<B>> {
    let weight = load.tensor("weight", &[c_out, c_in, 3, 3])?;
    let bias = if with.bias { load.vector("bias", c_out)? } else { vec![0.0; c_out] };
    let parameters = ConvParameters { kind, c_in, weight, bias, relu: with.relu, sums: false };
    Conv2d::from_parameters(parameters, load.backend())
}

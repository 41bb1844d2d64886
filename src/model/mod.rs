//! The model: Stable Diffusion's `AutoencoderKL`, in checkpoint order, with checkpoint names.
//!
//! Read it in this order; each file uses only those before it:
//!
//! | file | what |
//! | --- | --- |
//! | [`config`] | `config.json` |
//! | [`parameters`] | the tensors of a checkpoint, where they lie |
//! | [`layers`] | `conv`, `norm`, `attention`: one struct for each kind of weight |
//! | [`observer`] | who watches the model at work |
//! | [`blocks`] | residual block, mid block, down block, up block |
//! | [`encoder`] | picture `[n,3,h,w]` → h `[n,8,h/8,w/8]` |
//! | [`posterior`] | moments → mean, logvar, std, sample |
//! | [`decoder`] | z `[n,4,h/8,w/8]` → picture `[n,3,h,w]` |
//! | [`autoencoder_kl`] | the two halves with their 1×1 convolutions, and the scaling of latents |
//!
//! Shapes in comments are those of SD2 for a picture of h × w. Inside, one picture at a time goes from layer to layer
//! as a [`FeatureMap`](crate::kernels::FeatureMap); the arithmetic is behind the doors of [`crate::kernels`].

pub mod autoencoder_kl;
pub mod blocks;
pub mod config;
pub mod decoder;
pub mod encoder;
pub mod layers;
pub mod observer;
pub mod parameters;
pub mod posterior;

pub use autoencoder_kl::{AutoencoderKl, LatentDecoder, PictureEncoder, unscale};
pub use config::{Config, ConfigError};
pub use observer::Observer;
pub use parameters::{Parameter, Parameters, Tensors};
pub use posterior::Posterior;

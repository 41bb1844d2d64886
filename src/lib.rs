//! Stable Diffusion's variational autoencoder by itself: pictures into latents, and back, as `diffusers` does it.
//!
//! ```text
//! picture file → pixels [n,3,h,w] in −1..1 → encoder → quant_conv → moments [n,8,h/8,w/8]
//!             → posterior → sample or mean → × scaling factor → latents [n,4,h/8,w/8] → latents file
//! latents file → latents → ÷ scaling factor → post_quant_conv → decoder → pixels → picture file
//! ```
//!
//! The modules in the order of the pipeline:
//!
//! - [`picture`]: picture files ⇄ pixels
//! - [`checkpoint`]: where weights come from
//! - [`model`]: the network, as the paper has it
//! - [`noise`]: torch's random numbers
//! - [`latents`]: latents and their files
//! - [`metrics`]: how alike two pictures are
//! - [`statistics`]: what many numbers are like
//! - [`figure`]: figures to look at
//! - [`device`]: where to compute
//! - [`stock`]: a second opinion on the model, from candle-transformers
//! - [`kernels`]: the arithmetic
//!
//! # Example
//! ```no_run
//! use candle_core::Device;
//! use vae::checkpoint::{Checkpoint, Hub, Precision, Source};
//! use vae::model::AutoencoderKl;
//! use vae::picture::{Background, Format, Picture};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let checkpoint = Checkpoint::open(&Source::Sd2, None, Precision::Full, &Hub::from_env())?;
//! let vae = AutoencoderKl::new(checkpoint.config(), checkpoint.parameters())?;
//! let picture = Picture::open("img.png".as_ref(), Background::WHITE)?.preprocess(32)?;
//! let posterior = vae.encode(&picture.to_tensor(&Device::Cpu)?)?; // mean, std: [1, 4, h/8, w/8]
//! let latents = vae.config().scale(posterior.mean())?;
//! let decoded = Picture::from_tensor(&vae.decode(&latents)?)?;
//! std::fs::write("out.png", decoded.to_file_bytes(Format::Png)?)?;
//! # Ok(())
//! # }
//! ```

#![deny(unsafe_code, missing_docs, clippy::undocumented_unsafe_blocks)]

pub mod checkpoint;
pub mod device;
pub mod figure;
#[allow(unsafe_code)]
pub mod kernels;
pub mod latents;
pub mod metrics;
pub mod model;
pub mod noise;
pub mod numbers;
pub mod picture;
pub mod statistics;
pub mod stock;

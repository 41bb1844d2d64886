//! Encodes pictures into Stable Diffusion latents and decodes them back, with the results of `diffusers` up to rounding.
//!
//! ```text
//! picture file → pixels [n,3,h,w] in −1..1 → encoder → quant_conv → moments [n,8,h/8,w/8]
//!             → posterior → sample or mean → × scaling factor → latents [n,4,h/8,w/8] → latents file
//! latents file → latents → ÷ scaling factor → post_quant_conv → decoder → pixels → picture file
//! ```
//!
//! # From a checkpoint to a picture
//!
//! 1. Open a [`Checkpoint`](checkpoint::Checkpoint): the built-in one, a file, a folder, or a repository of the hub.
//! 2. Choose where to compute: a backend such as [`Cpu`](device::Cpu).
//! 3. Load the model, an [`AutoencoderKl`](model::AutoencoderKl), from both.
//! 4. Read a [`Picture`](picture::Picture), and round its sides down to a multiple of 8 (the program uses 32).
//! 5. Encode it into a [`Posterior`](model::Posterior); take its mean, or a sample with torch's random numbers
//!    ([`Generator`](noise::Generator)); and scale that to the latents on which diffusion models work.
//! 6. Decode the latents into a picture.
//!
//! ```
//! use candle_core::Device;
//! use vae::checkpoint::{Checkpoint, Hub, Source, Variant};
//! use vae::device::Cpu;
//! use vae::model::AutoencoderKl;
//! use vae::picture::{Background, Format, Picture, SAMPLE_PNG};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let source = Source::Tiny; // or Source::Hub(…), or "sd2".parse()?
//! let checkpoint = Checkpoint::open(&source, None, Variant::Full, &Hub::from_env())?;
//! let vae = AutoencoderKl::new(&Cpu::new()?, checkpoint.config(), checkpoint.parameters())?;
//!
//! let picture = Picture::from_bytes(SAMPLE_PNG, Background::WHITE)?; // or Picture::open(…)
//! let picture = picture.resize(96, 64).preprocess(32)?;
//! let posterior = vae.encode(&picture.to_tensor(&Device::Cpu)?)?; // mean, std: [1, 4, h/8, w/8]
//! let latents = vae.config().scale(posterior.mean())?;
//!
//! let pixels = vae.decode(&vae.config().unscale(&latents)?)?;
//! let decoded = Picture::from_tensor(&pixels)?;
//! let png = decoded.to_file_bytes(Format::Png)?;
//! # assert_eq!((latents.dims(), decoded.width()), (&[1, 4, 8, 12][..], 96));
//! # assert!(png.starts_with(b"\x89PNG"));
//! # Ok(())
//! # }
//! ```
//!
//! # Modules
//!
//! In the order of the pipeline:
//!
//! - [`picture`]: picture files ⇄ pixels
//! - [`checkpoint`]: finding, downloading and reading weights
//! - [`model`]: the network, with the names and the order of diffusers' checkpoints
//! - [`noise`]: torch's random numbers
//! - [`latents`]: latents and their files
//! - [`device`]: devices and precisions
//! - [`metrics`], [`statistics`], [`numbers`]: PSNR and SSIM, summary statistics, number formatting
//! - [`escape`]: text that is safe to print on a terminal
//! - `figure`: figures for inspection, with the feature `figure`
//! - `stock`: candle-transformers' implementation of the model for comparison, with the feature `cli`
//!
//! # Features
//!
//! - `cli` (default): the program `vae` and its dependencies; includes `figure`
//! - `figure`: figures with captions in a built-in font
//! - `cuda`: computation on NVIDIA's GPUs

#![deny(unsafe_code, missing_docs, clippy::undocumented_unsafe_blocks)]

pub mod cache_folder;
pub mod checkpoint;
pub mod device;
pub mod escape;
#[cfg(feature = "figure")]
pub mod figure;
#[allow(unsafe_code)]
mod kernels;
pub mod latents;
pub mod metrics;
pub mod model;
pub mod noise;
pub mod numbers;
pub mod picture;
mod safetensors_header;
pub mod statistics;
#[cfg(feature = "cli")]
pub mod stock;

/// Items for this package's tests and benchmarks. Not part of the public API; they can change in any version.
#[doc(hidden)]
pub mod internals {
    #[cfg(feature = "cuda")]
    pub use crate::kernels::cuda;
    pub use crate::kernels::{Activation, ConvKind, NormParameters, Shape, Workspace, cpu, reference};
    pub use crate::model::decoder::Decoder;
    pub use crate::model::encoder::Encoder;
    pub use crate::model::layers::Conv2d;
    pub use crate::model::parameters::Loader;
}

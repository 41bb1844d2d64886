//! `config.json`: the network of a checkpoint, its latents, and their scaling.
//!
//! | file | `_class_name` |
//! | --- | --- |
//! | `kl` | `AutoencoderKL` and `AutoencoderKLFlux2` |
//! | `wan` | `AutoencoderKLWan` and `AutoencoderKLQwenImage` |
//! | `tiny` | `AutoencoderTiny` |

mod kl;
mod tiny;
mod wan;

use candle_core::{Error, Result as CandleResult, Tensor};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use kl::Kl;
pub use tiny::{Stages, Tiny};
pub use wan::Wan;

use super::Scaling;

/// The description of one VAE.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The architecture.
    pub network: Network,
    /// Channels of z, the unscaled latents.
    pub latent_channels: usize,
    /// How diffusion models expect the latents. `None` if it is unknown, as the shapes of a checkpoint do not state it.
    pub scaling: Option<Scaling>,
    /// Whether the model is meant to be computed in f32, because its activations are too large for f16. A missing key counts as
    /// `false`: diffusers' default is `true`, but only its SDXL pipelines use it, whose checkpoints have the key.
    pub force_upcast: bool,
}

/// The architecture of a VAE.
///
/// It is serialized for [`Config::architecture_sha256`] alone. A field that is added is left out at the value that it had before
/// (`skip_serializing_if`), so that the digests of other models stay the same.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum Network {
    /// `AutoencoderKL`: Stable Diffusion 1, 2, 3 and XL, FLUX.1 and FLUX.2.
    Kl(Kl),
    /// `AutoencoderKLWan` and `AutoencoderKLQwenImage`: Wan 2.1 and Qwen-Image, on single pictures.
    Wan(Wan),
    /// `AutoencoderTiny`: the TAESD family.
    Tiny(Tiny),
}

impl Network {
    /// diffusers' class, or the first one if there are several.
    pub fn class(&self) -> &'static str {
        match self {
            Self::Kl(_) => "AutoencoderKL",
            Self::Wan(_) => "AutoencoderKLWan",
            Self::Tiny(_) => "AutoencoderTiny",
        }
    }
}

/// Why a `config.json` does not describe a VAE that this crate supports.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not JSON, or a key of the wrong type.
    #[error("not a valid config: {0}")]
    Json(serde_json::Error),
    /// The config describes another kind of model.
    #[error(
        "it describes a `{0}`, not an AutoencoderKL or another supported VAE; \
         point --model at the VAE's own folder (`vae` in a pipeline)"
    )]
    OtherModel(String),
    /// A VAE with a part that the supported models do not have, or with invalid sizes.
    #[error("{0}")]
    Unsupported(String),
}

/// The scaling of latents is needed, and nothing states it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the scaling factor of the model is unknown")]
pub struct UnknownScaling;

impl Config {
    /// Reads and checks the text of a `config.json`.
    ///
    /// The scaling of an `AutoencoderKLFlux2` is unknown afterwards: its statistics are tensors (`bn.running_mean`,
    /// `bn.running_var`).
    pub fn from_json(json: &str) -> Result<Self, ConfigError> {
        #[derive(Deserialize)]
        struct Class {
            #[serde(rename = "_class_name")]
            name: Option<String>,
        }
        let class: Class = serde_json::from_str(json).map_err(ConfigError::Json)?;
        match class.name.as_deref() {
            Some("AutoencoderKL") => kl::from_json(json, false),
            Some("AutoencoderKLFlux2") => kl::from_json(json, true),
            Some("AutoencoderKLWan" | "AutoencoderKLQwenImage") => wan::from_json(json),
            Some("AutoencoderTiny") => tiny::from_json(json),
            Some(other) => Err(ConfigError::OtherModel(other.to_string())),
            None => Err(ConfigError::OtherModel("model without a `_class_name`".into())),
        }
    }

    /// Picture pixels per pixel of z along a side: 8 for SD2.
    pub fn downscale(&self) -> usize {
        let resolutions = match &self.network {
            Network::Kl(kl) => kl.block_out_channels.len(),
            Network::Wan(wan) => wan.dim_mult.len(),
            Network::Tiny(tiny) => tiny.decoder.blocks.len(),
        };
        1 << (resolutions - 1)
    }

    /// The sides of pictures must be multiples of this: 8 for SD2, 16 for FLUX.2, whose scaled latents are patches of 2 × 2.
    pub fn multiple(&self) -> usize {
        self.downscale() * self.scaling.as_ref().map_or(1, |scaling| scaling.patch)
    }

    /// The SHA-256 of everything that results depend on beside the weights and the scaling, in lower-case hexadecimal digits: one
    /// file of weights gives other results with another `norm_num_groups`, for example. Keys of the file that are not used
    /// have no effect on it.
    pub fn architecture_sha256(&self) -> String {
        #[derive(Serialize)]
        struct Architecture<'a> {
            network: &'a Network,
            latent_channels: usize,
            #[serde(skip_serializing_if = "std::ops::Not::not")]
            force_upcast: bool,
        }
        let &Self { ref network, latent_channels, scaling: _, force_upcast } = self;
        let architecture = Architecture { network, latent_channels, force_upcast };
        let json = serde_json::to_string(&architecture).expect("names, numbers and lists are JSON");
        Sha256::digest(json).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The scaling.
    ///
    /// # Errors
    /// [`UnknownScaling`] if the checkpoint does not state it.
    pub fn scaling(&self) -> Result<&Scaling, UnknownScaling> {
        self.scaling.as_ref().ok_or(UnknownScaling)
    }

    /// [`Scaling::scale`] of what the network encodes; nothing, if that is scaled already.
    ///
    /// # Errors
    /// Its errors, and [`UnknownScaling`].
    pub fn scale(&self, z: &Tensor) -> CandleResult<Tensor> {
        if self.latents_are_scaled() {
            return Ok(z.clone());
        }
        self.scaling().map_err(Error::wrap)?.scale(z)
    }

    /// The inverse: [`Scaling::unscale`], or nothing.
    ///
    /// # Errors
    /// Its errors, and [`UnknownScaling`].
    pub fn unscale(&self, latents: &Tensor) -> CandleResult<Tensor> {
        if self.latents_are_scaled() {
            return Ok(latents.clone());
        }
        self.scaling().map_err(Error::wrap)?.unscale(latents)
    }

    /// Whether latents are always the posterior's mean: as diffusers' pipelines for FLUX.2 take it, and because there is nothing
    /// else in the TAESD family.
    pub fn draws_mean(&self) -> bool {
        self.latents_are_scaled() || self.scaling.as_ref().is_some_and(|scaling| scaling.patch > 1)
    }

    /// Whether the network itself works on scaled latents, as the TAESD family does: on those of the VAE that it was distilled
    /// from, whose scaling is that of this config.
    pub fn latents_are_scaled(&self) -> bool {
        matches!(self.network, Network::Tiny(_))
    }

    /// The description of an `AutoencoderKL`, if the network is one.
    pub fn kl(&self) -> Option<&Kl> {
        match &self.network {
            Network::Kl(kl) => Some(kl),
            _ => None,
        }
    }
}

fn refuse<T>(message: String) -> Result<T, ConfigError> {
    Err(ConfigError::Unsupported(message))
}

/// The most channels of latents.
const MAX_LATENT_CHANNELS: usize = 256;

/// Fails if a number is not in 1..=most.
fn check_range(key: &str, value: usize, most: usize) -> Result<(), ConfigError> {
    match value {
        0 => refuse(format!("`{key}` is 0; 1 to {most} are supported")),
        n if n > most => refuse(format!("`{key}` is {n}; 1 to {most} are supported")),
        _ => Ok(()),
    }
}

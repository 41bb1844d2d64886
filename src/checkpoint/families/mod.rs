//! The families of VAEs, and the models that `--model` knows by name.
//!
//! The VAEs of a family share one latent space: latents that one of them encodes, another one decodes, and all have the same
//! scaling. Members differ in their decoder, or in the numbers of both halves (`sdxl-fp16-fix`).
//!
//! | file | what |
//! | --- | --- |
//! | `table` | the families and the models |

mod table;

use serde::Serialize;

use crate::model::{ChannelStatistics, Config, Network, Scaling};

pub use table::{FAMILIES, SD2};

/// A latent space, and what is known about its VAEs.
#[derive(Debug, PartialEq)]
pub struct Family {
    /// The name, as `--family` takes it.
    pub name: &'static str,
    /// The full name, and other models that have the same VAE.
    pub title: &'static str,
    /// The kind of network.
    pub kind: Kind,
    /// Channels of the unscaled latents.
    pub latent_channels: usize,
    /// The ratio of the picture's sides to those of the unscaled latents.
    pub downscale: usize,
    /// How its diffusion models expect latents.
    pub numbers: Numbers,
    /// What is known about its activations in f16.
    pub half_precision: HalfPrecision,
    /// The licence of the weights.
    pub licence: &'static str,
    /// Repositories on the hub that have a VAE of this family.
    pub repositories: &'static [&'static str],
    /// Of a tiny autoencoder, the families whose latents it encodes and decodes.
    pub latents_of: &'static [&'static str],
}

/// The kinds of networks, as far as families differ in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// diffusers' `AutoencoderKL` and `AutoencoderKLFlux2`.
    Kl,
    /// `AutoencoderKLQwenImage` and `AutoencoderKLWan`.
    Wan,
    /// `AutoencoderTiny`. Its latents are the scaled ones of another family, whose numbers it has.
    Tiny,
}

/// The numbers of a family's scaling.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Numbers {
    /// `(z − shift) · factor`
    Factor {
        /// The factor.
        factor: f64,
        /// The shift.
        shift: f64,
    },
    /// `(z − mean) · factor / std`, for each channel.
    Statistics {
        /// The factor.
        factor: f64,
        /// The mean of each channel.
        mean: &'static [f64],
        /// The standard deviation of each channel.
        std: &'static [f64],
    },
    /// The mean and the variance of each channel are among the weights.
    InWeights,
}

/// Whether a model can be computed in f16.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HalfPrecision {
    /// It is in wide use.
    Works,
    /// Activations exceed the range of f16, and pictures become NaN.
    Overflows,
    /// Reported to give wrong pictures at times; bf16 and f32 work.
    Unstable,
    /// Nothing is known.
    #[default]
    Unknown,
}

/// A model that `--model` knows by name.
#[derive(Debug, PartialEq, Eq)]
pub struct NamedModel {
    /// The name.
    pub name: &'static str,
    /// The name of its family.
    family: &'static str,
    /// Where it is, in the order in which repositories are tried. All have the same weights, possibly in another number format.
    pub repositories: &'static [Repository],
    /// What is known about f16, if that is not what is known about the family.
    half_precision: Option<HalfPrecision>,
    /// The licence, if that is not the family's.
    licence: Option<&'static str>,
    /// The SHA-256 of its weights in different number formats, if they are known.
    pub sha256: &'static [&'static str],
}

/// A repository on the hub with a VAE in `vae/` or at the top.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Repository {
    /// `owner/name`
    pub id: &'static str,
    /// Whether a user must accept the licence on its page first.
    pub gated: bool,
}

impl Family {
    /// The family of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        FAMILIES.iter().find(|family| family.name == name)
    }

    /// The family that has its VAE in the repository `id`.
    pub fn of_repository(id: &str) -> Option<&'static Self> {
        FAMILIES.iter().find(|family| family.repositories.iter().any(|r| r.eq_ignore_ascii_case(id)))
    }

    /// The families whose VAEs have this network and these latents. Their scaling may differ.
    pub fn fitting(config: &Config) -> Vec<&'static Self> {
        FAMILIES.iter().filter(|family| family.fits(config)).collect()
    }

    /// Whether VAEs of this family have this network and these latents.
    pub fn fits(&self, config: &Config) -> bool {
        let kind = match config.network {
            Network::Kl(_) => Kind::Kl,
            Network::Wan(_) => Kind::Wan,
            Network::Tiny(_) => Kind::Tiny,
        };
        (self.kind, self.latent_channels, self.downscale)
            == (kind, config.latent_channels, config.downscale())
    }

    /// The scaling; `None` if it is among the weights.
    pub fn scaling(&self) -> Option<Scaling> {
        match self.numbers {
            Numbers::Factor { factor, shift } => Some(Scaling::new(factor, shift)),
            Numbers::Statistics { factor, mean, std } => {
                let statistics = ChannelStatistics { mean: mean.to_vec(), std: std.to_vec() };
                Some(Scaling { statistics: Some(statistics), ..Scaling::new(factor, 0.0) })
            }
            Numbers::InWeights => None,
        }
    }

    /// The family of tiny autoencoders for the latents of this one.
    pub fn tiny(&self) -> Option<&'static Self> {
        FAMILIES.iter().find(|family| family.latents_of.contains(&self.name))
    }

    /// A model of this family that everybody can download.
    pub fn free_model(&self) -> Option<&'static NamedModel> {
        NamedModel::all().find(|model| model.family == self.name && !model.is_gated())
    }
}

impl NamedModel {
    /// All models, in the order in which they are listed.
    pub fn all() -> impl Iterator<Item = &'static Self> {
        table::OTHERS[..1].iter().chain([&SD2]).chain(&table::OTHERS[1..])
    }

    /// The model of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        Self::all().find(|model| model.name == name)
    }

    /// The model whose weights have this SHA-256.
    pub fn with_sha256(digest: &str) -> Option<&'static Self> {
        Self::all().find(|model| model.sha256.contains(&digest))
    }

    /// Its family.
    pub fn family(&self) -> &'static Family {
        Family::named(self.family).expect("every model has a family")
    }

    /// What is known about its activations in f16.
    pub fn half_precision(&self) -> HalfPrecision {
        self.half_precision.unwrap_or(self.family().half_precision)
    }

    /// The licence of its weights.
    pub fn licence(&self) -> &'static str {
        self.licence.unwrap_or(self.family().licence)
    }

    /// Whether all its repositories are gated.
    pub fn is_gated(&self) -> bool {
        self.repositories.iter().all(|repository| repository.gated)
    }
}

impl HalfPrecision {
    /// What is known, in words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Works => "works",
            Self::Overflows => "overflows",
            Self::Unstable => "unstable",
            Self::Unknown => "unknown",
        }
    }

    /// Whether models are better computed in f32 or bf16.
    pub fn is_harmful(self) -> bool {
        matches!(self, Self::Overflows | Self::Unstable)
    }
}

//! Latents, their provenance and their files.
//!
//! | file | what |
//! | --- | --- |
//! | [`safetensors`] | the file format: reads and writes our own files, reads those of other programs |
//! | [`header`] | the header of a file, read without the values |
//! | [`summary`] | summary statistics per channel, and whether the values look scaled |
//! | [`plates`] | the channels as grey pictures |

pub mod header;
pub mod plates;
pub mod safetensors;
pub mod summary;

use std::collections::BTreeMap;

use candle_core::Tensor;

use crate::model::Scaling;

pub use header::Header;
pub use summary::Summary;

/// Latents, and where they come from.
#[derive(Debug, Clone)]
pub struct Latents {
    /// The values `[n, c, h, w]`, f32 on the CPU. Stable Diffusion's have 4 channels and 1/8 of the picture's sides.
    pub tensor: Tensor,
    /// Where they come from; all `None` in a file of another program.
    pub provenance: Provenance,
}

impl Latents {
    /// Creates latents from finite values.
    ///
    /// # Errors
    /// [`LatentsError::NotFinite`] if a value is NaN or infinite.
    pub fn new(tensor: Tensor, provenance: Provenance) -> Result<Self, LatentsError> {
        let values = tensor.flatten_all()?.to_vec1::<f32>()?;
        match values.iter().filter(|v| !v.is_finite()).count() {
            0 => Ok(Self { tensor, provenance }),
            bad => Err(LatentsError::NotFinite { bad, all: values.len() }),
        }
    }
}

/// Everything that is needed to decode latents later, and how they were computed. `None` means unknown.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Provenance {
    /// The hub id or path of the VAE.
    pub model: Option<String>,
    /// The commit of the model's repository on the hub.
    pub model_revision: Option<String>,
    /// The SHA-256 digest of the weights file, in hexadecimal.
    pub model_sha256: Option<String>,
    /// The scaling of the VAE.
    pub scaling: Option<Scaling>,
    /// Whether the scaling has been applied to the values. If not, they are z, as the VAE computed it.
    pub scaled: Option<bool>,
    /// How the values were taken from the posterior.
    pub draw: Option<Draw>,
    /// The precision of the encoder on a CUDA device: `f16`, `bf16` or `f32`; `None` on the CPU.
    pub precision: Option<String>,
    /// The width and height of the picture file in pixels.
    pub original_size: Option<(usize, usize)>,
    /// The width and height of the preprocessed picture that was encoded.
    pub encoded_size: Option<(usize, usize)>,
    /// A human-readable note, such as that these are not Stable Diffusion latents.
    pub note: Option<String>,
    /// Further keys and values, such as the digest of the input and the settings that `vae encode` stores.
    pub other: BTreeMap<String, String>,
}

/// How latents were taken from the posterior.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Draw {
    /// The posterior's mean.
    Mean,
    /// A sample, with noise from torch's CPU generator.
    Sample {
        /// The seed of the generator.
        seed: u64,
    },
}

/// Why a latents file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LatentsError {
    /// The file cannot be opened or read.
    #[error("cannot read the file: {0}")]
    Read(std::io::Error),
    /// The file ends within its header.
    #[error("the file is incomplete; make or copy it again")]
    CutOff {
        /// Whether the header begins like one that this program writes.
        ours: bool,
    },
    /// Not a safetensors file, or a damaged one.
    #[error("not a valid safetensors file: {0}")]
    Format(String),
    /// Written in another version of the format than [`FORMAT_VERSION`](safetensors::FORMAT_VERSION).
    #[error("the file has format version {0}, but this vae reads version {ours}; update vae", ours = safetensors::FORMAT_VERSION)]
    Version(String),
    /// A value in the metadata is invalid.
    #[error("invalid metadata `{key}: {value}`")]
    Metadata {
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
    },
    /// There is not exactly one tensor that can be latents.
    #[error("no latents found: {0}")]
    Tensor(String),
    /// Some values are NaN or infinite.
    #[error("{bad} of {all} latent values are NaN or infinite")]
    NotFinite {
        /// The number of NaN and infinite values.
        bad: usize,
        /// The number of values.
        all: usize,
    },
    /// The plates of all channels have more than [`MAX_PIXELS`](crate::picture::MAX_PIXELS).
    #[error("latents of shape {0:?} are too large for one picture")]
    TooLarge(Vec<usize>),
    /// An error of candle.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

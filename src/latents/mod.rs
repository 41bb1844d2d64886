//! Latents with their provenance. One file for each format:
//!
//! | file | what |
//! | --- | --- |
//! | [`safetensors`] | our own files, and those of other writers |
//!
//! | to look at them | what |
//! | --- | --- |
//! | [`summary`] | what each channel is like, and whether they look scaled |
//! | [`plates`] | each channel as a grey picture |

pub mod plates;
pub mod safetensors;
pub mod summary;

use candle_core::Tensor;

pub use summary::Summary;

/// Latents, and what is known of how they were made.
#[derive(Debug, Clone)]
pub struct Latents {
    /// `[n, 4, h/8, w/8]`, f32 on the CPU.
    pub tensor: Tensor,
    /// What is known; a file of another writer says nothing.
    pub provenance: Provenance,
}

impl Latents {
    /// Keeps latents whose values are all numbers.
    ///
    /// # Errors
    /// [`LatentsError::NotFinite`] where some are NaN or infinite.
    pub fn new(tensor: Tensor, provenance: Provenance) -> Result<Self, LatentsError> {
        let values = tensor.flatten_all()?.to_vec1::<f32>()?;
        match values.iter().filter(|v| !v.is_finite()).count() {
            0 => Ok(Self { tensor, provenance }),
            bad => Err(LatentsError::NotFinite { bad, all: values.len() }),
        }
    }
}

/// What a person, or a program, needs to decode latents long after they were made.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Provenance {
    /// Hub id or path of the VAE.
    pub model: Option<String>,
    /// The commit on the hub.
    pub model_revision: Option<String>,
    /// SHA-256 of the weights file.
    pub model_sha256: Option<String>,
    /// How the values relate to what the VAE sampled; `None` where the file does not say.
    pub scaling: Option<Scaling>,
    /// How the values were taken from the posterior.
    pub draw: Option<Draw>,
    /// Width and height of the picture file.
    pub original_size: Option<(usize, usize)>,
    /// Width and height that were encoded.
    pub encoded_size: Option<(usize, usize)>,
    /// What a person should know: that they are not Stable Diffusion's, say.
    pub note: Option<String>,
}

/// The factor of the VAE, and whether it has been applied.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scaling {
    /// `scaling_factor` of the config.
    pub factor: f64,
    /// `shift_factor` of the config, 0 where there is none.
    pub shift: f64,
    /// Whether the values are `(z − shift) · factor` (as diffusion models take them) or z.
    pub scaled: bool,
}

/// How latents were taken from the posterior.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Draw {
    /// The mean.
    Mean,
    /// A sample, with noise from torch's CPU generator under this seed.
    Sample {
        /// The seed.
        seed: u64,
    },
}

/// Why a latents file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LatentsError {
    /// No safetensors, a cut one, or one whose header lies.
    #[error("it is no valid safetensors file: {0}")]
    Format(String),
    /// Written by a later version.
    #[error("it has format version {0}, and this program reads version {ours}; update vae", ours = safetensors::FORMAT_VERSION)]
    Version(String),
    /// A value in the metadata that cannot be.
    #[error("its metadata say `{key}: {value}`, which cannot be")]
    Metadata {
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
    },
    /// Not one tensor of three or four dimensions.
    #[error("it holds no latents: {0}")]
    Tensor(String),
    /// NaN or infinite values.
    #[error("{bad} of its {all} values are NaN or infinite; whatever made it went wrong")]
    NotFinite {
        /// How many.
        bad: usize,
        /// Of how many.
        all: usize,
    },
    /// candle refuses.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

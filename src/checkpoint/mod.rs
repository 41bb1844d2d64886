//! Where weights come from. [`Checkpoint::open`] takes a [`Source`] and returns the config and the tensors.
//!
//! | file | what |
//! | --- | --- |
//! | [`built_in`] | the small model that is part of the program |
//! | [`path`] | a folder in the diffusers layout, or a `.safetensors` file beside a `config.json` |
//! | [`hub`] | a repository on the Hugging Face hub, through the cache that Python also uses |
//! | [`weights`] | one safetensors file, read tensor by tensor |
//! | `digest` | the SHA-256 of a file, remembered from run to run |
//! | [`contents`] | the tensors and metadata that the header of a safetensors file lists |
//! | [`modules`] | the tree of modules, from the tensors' names |
//! | [`pipeline`] | the pipeline around the checkpoint, from `model_index.json` |
//! | `small_file` | reads small files within a limit |

pub mod built_in;
pub mod contents;
mod digest;
pub mod hub;
pub mod modules;
pub mod path;
pub mod pipeline;
mod small_file;
pub mod weights;

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::str::FromStr;

pub use contents::Contents;
pub use hub::{Hub, HubError, Progress, Refresh};
pub use modules::Module;
pub use pipeline::Pipeline;
pub use weights::Weights;

use crate::model::{Config, ConfigError, Parameters, Scaling, Tensors};

/// Which checkpoint to open, as `--model` names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The small model that is part of the program. Its latents are not those of Stable Diffusion.
    Tiny,
    /// Stable Diffusion 2's VAE, from the first of its mirrors that has it.
    Sd2,
    /// A folder or a `.safetensors` file.
    Path(PathBuf),
    /// A repository on the hub, `owner/name`, with the VAE in `vae/` or at the top.
    Hub(String),
}

impl FromStr for Source {
    type Err = Infallible;

    /// `tiny` and `sd2` are names, `owner/name` is a hub id unless it exists on disk, and anything else is a path.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        let is_name = |s: &str| {
            !s.is_empty()
                && !s.starts_with('.')
                && s.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        };
        let path = PathBuf::from(text);
        Ok(match (text, text.split_once('/')) {
            ("tiny", _) => Self::Tiny,
            ("sd2", _) => Self::Sd2,
            _ if path.exists() || text.ends_with(".safetensors") => Self::Path(path),
            (_, Some((owner, name))) if is_name(owner) && is_name(name) => Self::Hub(text.to_string()),
            _ => Self::Path(path),
        })
    }
}

/// Which of a checkpoint's two weights files to prefer. The other one is used if the preferred one is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// `diffusion_pytorch_model.safetensors`
    Full,
    /// `diffusion_pytorch_model.fp16.safetensors`; of a model that is meant for f32 (`force_upcast` in its config), the same as `Full`
    Fp16,
}

impl Variant {
    /// File names, the preferred one first, of the model with this `config.json`.
    fn file_names(self, config: &Path) -> [&'static str; 2] {
        const FULL: &str = "diffusion_pytorch_model.safetensors";
        const FP16: &str = "diffusion_pytorch_model.fp16.safetensors";
        let config = || Config::from_json(&small_file::read(config).ok()?).ok();
        match self {
            Self::Fp16 if !config().is_some_and(|config| config.force_upcast) => [FP16, FULL],
            _ => [FULL, FP16],
        }
    }
}

/// Why a checkpoint could not be opened. Each message names the file.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// A file of the checkpoint cannot be read.
    #[error("cannot read {}: {reason}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        reason: std::io::Error,
    },
    /// A folder or file without the other files of a VAE.
    #[error("{0}")]
    Layout(String),
    /// A `config.json` that is not an AutoencoderKL's.
    #[error("{}: {reason}", path.display())]
    Config {
        /// The `config.json`.
        path: PathBuf,
        /// What is wrong with it.
        reason: ConfigError,
    },
    /// A weights file that is not in the safetensors format.
    #[error("{file} is not a valid safetensors file: {reason}; it may be incomplete, download it again")]
    Weights {
        /// The file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file could not be loaded from the hub.
    #[error(transparent)]
    Hub(#[from] HubError),
}

/// Where an opened checkpoint came from. It is written into latents files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// A hub id, or a path as it was given.
    pub model: String,
    /// The commit on the hub.
    pub revision: Option<String>,
    /// A remark for readers of such latents files.
    pub note: Option<&'static str>,
}

/// An opened checkpoint. Its config has been read; its tensors are read when the model asks for them.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    config: Config,
    weights: Weights,
    origin: Origin,
    folder: Option<PathBuf>,
    warning: Option<String>,
}

impl Checkpoint {
    /// Finds the files of `source`, downloads them if necessary, and reads the config and the header of the weights.
    ///
    /// `revision` is a branch, tag or commit on the hub. Other sources ignore it.
    pub fn open(
        source: &Source,
        revision: Option<&str>,
        variant: Variant,
        hub: &Hub,
    ) -> Result<Self, CheckpointError> {
        match source {
            Source::Tiny => built_in::open(),
            Source::Path(path) => path::open(path, variant),
            Source::Hub(id) => hub.open(&[id], revision, variant),
            Source::Sd2 => {
                let mut checkpoint = hub.open(&hub::SD2_MIRRORS, revision, variant)?;
                checkpoint.warning = hub::doubt(&checkpoint)?;
                Ok(checkpoint)
            }
        }
    }

    fn read(config: PathBuf, weights: PathBuf, origin: Origin) -> Result<Self, CheckpointError> {
        let text = small_file::read(&config)
            .map_err(|reason| CheckpointError::Read { path: config.clone(), reason })?;
        let folder = config.parent().map(Path::to_path_buf);
        let mut config = parse_config(&text, &config)?;
        let weights = Weights::open(&weights)?;
        if config.scaling.is_none() {
            config.scaling = batch_norm_scaling(config.latent_channels, &weights)?;
        }
        Ok(Self { config, weights, origin, folder, warning: None })
    }

    /// The content of `config.json`.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Where the checkpoint came from.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// A warning for the user if this is the default model with an unknown digest.
    pub fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }

    /// The weights file.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// Whether `sha256` is the digest of these weights, or that of the same weights in the other number format, as far as
    /// this is known: it is for Stable Diffusion 2's.
    ///
    /// # Errors
    /// Those of [`Weights::sha256`].
    pub fn has_weights(&self, sha256: &str) -> Result<bool, CheckpointError> {
        let own = self.weights.sha256()?;
        Ok(own == sha256 || [own, sha256].iter().all(|digest| hub::SD2_SHA256.contains(digest)))
    }

    /// The tree of modules.
    pub fn modules(&self) -> Module {
        Module::of(&self.weights.contents(), self.config.kl().map_or(0, |kl| kl.norm_num_groups))
    }

    /// The pipeline that the checkpoint belongs to, if `model_index.json` is in the parent folder, in the cache or on the
    /// hub.
    pub fn pipeline(&self, hub: &Hub) -> Option<Pipeline> {
        let folder = self.folder.as_deref()?;
        Pipeline::above(folder).or_else(|| {
            let commit = self.origin.revision.as_deref().filter(|_| folder.ends_with("vae"))?;
            hub.fetch(&self.origin.model, commit, pipeline::INDEX)?;
            Pipeline::above(folder)
        })
    }

    /// The tensors in the form that the model's constructors take.
    pub fn parameters(&self) -> Parameters {
        Parameters::new(self.weights.clone())
    }
}

/// The scaling of FLUX.2, whose statistics are tensors. `None` if there are no such tensors.
fn batch_norm_scaling(
    latent_channels: usize,
    tensors: &impl Tensors,
) -> Result<Option<Scaling>, CheckpointError> {
    if !tensors.contains("bn.running_mean") {
        return Ok(None);
    }
    let read = |name| -> candle_core::Result<Vec<f32>> {
        Ok(tensors.get(name, &[4 * latent_channels])?.to_f32()?.into_owned())
    };
    let layout = |e: candle_core::Error| CheckpointError::Layout(e.to_string());
    let (mean, var) = (read("bn.running_mean").map_err(layout)?, read("bn.running_var").map_err(layout)?);
    let is_usable = |(mean, var): (&f32, &f32)| mean.is_finite() && var.is_finite() && *var >= 0.0;
    match mean.iter().zip(&var).all(is_usable) {
        true => Ok(Some(Scaling::flux2(&mean, &var))),
        false => {
            Err(CheckpointError::Layout("`bn.running_mean` or `bn.running_var` has invalid values".into()))
        }
    }
}

/// Parses `text`, the content of `path`.
fn parse_config(text: &str, path: &Path) -> Result<Config, CheckpointError> {
    Config::from_json(text).map_err(|reason| CheckpointError::Config { path: path.into(), reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_for_f32_has_its_full_file_first() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("config.json");
        let first = |config: &str, variant: Variant| {
            std::fs::write(&path, format!(r#"{{"_class_name": "AutoencoderKL"{config}}}"#)).expect("a file");
            variant.file_names(&path)[0]
        };
        assert!(first("", Variant::Fp16).contains("fp16"));
        assert!(first(r#", "force_upcast": false"#, Variant::Fp16).contains("fp16"));
        assert!(!first(r#", "force_upcast": true"#, Variant::Fp16).contains("fp16"));
        assert!(!first("", Variant::Full).contains("fp16"));
    }

    #[test]
    fn a_source_is_a_name_a_path_or_a_hub_id() {
        let parse = |text: &str| text.parse::<Source>();
        assert_eq!(parse("sd2"), Ok(Source::Sd2));
        assert_eq!(parse("tiny"), Ok(Source::Tiny));
        assert_eq!(parse("src"), Ok(Source::Path("src".into())));
        assert_eq!(parse("no/such/file.safetensors"), Ok(Source::Path("no/such/file.safetensors".into())));
        assert_eq!(parse("stabilityai/sd-vae-ft-mse"), Ok(Source::Hub("stabilityai/sd-vae-ft-mse".into())));
        for path in ["", "sd3", "a/b/c", "/no/such", "../x", "owner/", "owner/na me"] {
            assert_eq!(parse(path), Ok(Source::Path(path.into())));
        }
    }
}

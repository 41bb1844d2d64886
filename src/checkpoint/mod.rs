//! Where weights come from. [`Checkpoint::open`] takes a [`Source`] and gives the config and the tensors.
//!
//! | file | what |
//! | --- | --- |
//! | [`built_in`] | the small model that is part of the program |
//! | [`path`] | a folder in the diffusers layout, or a `.safetensors` file beside a `config.json` |
//! | [`hub`] | a repository on the Hugging Face hub, through the cache that Python shares |
//! | [`weights`] | one safetensors file, memory-mapped, read tensor by tensor |
//! | [`contents`] | what the header of a safetensors file lists |
//! | [`modules`] | the tree of modules that its names spell |
//! | [`pipeline`] | the components beside the checkpoint, from `model_index.json` |

pub mod built_in;
pub mod contents;
pub mod hub;
pub mod modules;
pub mod path;
pub mod pipeline;
pub mod weights;

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::str::FromStr;

pub use contents::Contents;
pub use hub::{Hub, HubError};
pub use modules::Module;
pub use pipeline::Pipeline;
pub use weights::Weights;

use crate::model::{Config, ConfigError, Parameters};

/// Which checkpoint to open: what `--model` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The small model that is part of the program. Its latents are its own, not Stable Diffusion's.
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

    /// `tiny` and `sd2` are names, `owner/name` is a hub id unless it exists on disk; all else is a path.
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

/// Which of a checkpoint's two files is wanted; the other one is taken where it is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// `diffusion_pytorch_model.safetensors`
    Full,
    /// `diffusion_pytorch_model.fp16.safetensors`
    Fp16,
}

impl Variant {
    /// File names, the wanted one first.
    fn file_names(self) -> [&'static str; 2] {
        const FULL: &str = "diffusion_pytorch_model.safetensors";
        const HALF: &str = "diffusion_pytorch_model.fp16.safetensors";
        match self {
            Self::Full => [FULL, HALF],
            Self::Fp16 => [HALF, FULL],
        }
    }
}

/// Why a checkpoint could not be opened. Each message names the file and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// A file of the checkpoint cannot be read.
    #[error("cannot read {}: {reason}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: std::io::Error,
    },
    /// A folder without the files of a VAE.
    #[error("{0}")]
    Layout(String),
    /// A `config.json` of something else.
    #[error("{}: {reason}", path.display())]
    Config {
        /// The `config.json`.
        path: PathBuf,
        /// What is wrong with it.
        reason: ConfigError,
    },
    /// A weights file that is no safetensors.
    #[error("{origin} is no valid safetensors file: {reason}; it may be cut off: fetch it again")]
    Weights {
        /// The file.
        origin: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The hub did not deliver.
    #[error(transparent)]
    Hub(#[from] HubError),
}

/// Where an opened checkpoint came from, as it is written into latents files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// A hub id, or a path as it was given.
    pub model: String,
    /// The commit on the hub.
    pub revision: Option<String>,
    /// What a person who finds such latents should know.
    pub note: Option<&'static str>,
}

/// A checkpoint that has been found, and whose config has been read. Its tensors are read when they are asked for.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    config: Config,
    weights: Weights,
    origin: Origin,
    folder: Option<PathBuf>,
    warning: Option<String>,
}

impl Checkpoint {
    /// Finds the files of `source`, downloading them where that is needed, and reads config and header.
    ///
    /// `revision` is a branch, tag or commit on the hub; paths have none.
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
                checkpoint.warning = hub::doubt(&checkpoint);
                Ok(checkpoint)
            }
        }
    }

    fn read(config: PathBuf, weights: PathBuf, origin: Origin) -> Result<Self, CheckpointError> {
        let text = std::fs::read_to_string(&config)
            .map_err(|reason| CheckpointError::Read { path: config.clone(), reason })?;
        let folder = config.parent().map(Path::to_path_buf);
        let config = parse_config(&text, &config)?;
        Ok(Self { config, weights: Weights::map(&weights)?, origin, folder, warning: None })
    }

    /// What `config.json` says.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Where it came from.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// What a person should know before trusting it: the default model with an unknown digest.
    pub fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }

    /// The weights file.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// The tree of its modules.
    pub fn modules(&self) -> Module {
        Module::of(&self.weights.contents(), self.config.norm_num_groups)
    }

    /// The pipeline that it is part of, where `model_index.json` is in the folder above, in the cache or on the hub.
    pub fn pipeline(&self, hub: &Hub) -> Option<Pipeline> {
        let folder = self.folder.as_deref()?;
        Pipeline::above(folder).or_else(|| {
            let commit = self.origin.revision.as_deref().filter(|_| folder.ends_with("vae"))?; // paths have none
            hub.fetch(&self.origin.model, commit, pipeline::INDEX)?;
            Pipeline::above(folder)
        })
    }

    /// The tensors, as the model's constructors take them.
    pub fn parameters(&self) -> Parameters {
        Parameters::new(self.weights.clone())
    }
}

/// `path` is where the text is from.
fn parse_config(text: &str, path: &Path) -> Result<Config, CheckpointError> {
    Config::from_json(text).map_err(|reason| CheckpointError::Config { path: path.into(), reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_a_name_a_path_or_a_hub_id() {
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

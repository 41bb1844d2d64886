//! Where weights come from. [`Checkpoint::open`] takes a [`Source`] and returns the config and the tensors.
//!
//! | file | what |
//! | --- | --- |
//! | [`built_in`] | the small model that is part of the program |
//! | [`evidence`] | which family a checkpoint belongs to, and how its latents are scaled |
//! | [`families`] | the families of VAEs, and the models that have names |
//! | [`path`] | a folder in the diffusers layout, or one file |
//! | [`fingerprint`] | the first layer of an encoder, which identifies its family |
//! | [`single_file`] | a file of a VAE or of a whole model, without a `config.json` |
//! | [`hub`] | a repository on the Hugging Face hub, through the cache that Python also uses |
//! | [`weights`] | one file of weights, read tensor by tensor |
//! | [`safetensors`] | the header of a safetensors file |
//! | [`pickle`] | PyTorch's own files, which contain a pickle |
//! | `table` | where the tensors of a file are |
//! | `digest` | the SHA-256 of a file, remembered from run to run |
//! | [`convert`] | the VAE of a checkpoint as a new file |
//! | [`foreign`] | what a file is that holds no VAE |
//! | [`names`] | the names of a VAE's tensors in files, and in diffusers |
//! | `shapes` | the config that follows from the shapes of the tensors |
//! | `vae_tensors` | the tensors of the VAE in a weights file, by their names in diffusers |
//! | [`contents`] | the names, types and shapes of a file's tensors, and its metadata |
//! | [`modules`] | the tree of modules, from the tensors' names |
//! | [`pipeline`] | the pipeline around the checkpoint, from `model_index.json` |
//! | `small_file` | reads small files within a limit |

pub mod built_in;
pub mod contents;
pub mod convert;
mod digest;
pub mod evidence;
pub mod families;
pub mod fingerprint;
pub mod foreign;
pub mod hub;
pub mod modules;
pub mod names;
pub mod path;
pub mod pickle;
pub mod pipeline;
pub mod safetensors;
mod shapes;
pub mod single_file;
mod small_file;
mod table;
mod vae_tensors;
pub mod weights;

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::str::FromStr;

pub use contents::Contents;
pub use evidence::{Overrides, Recognition};
pub use families::{Family, NamedModel};
pub use hub::{Hub, HubError, Progress, Refresh};
pub use modules::Module;
pub use pipeline::Pipeline;
pub use vae_tensors::VaeTensors;
pub use weights::Weights;

use crate::model::{Config, ConfigError, Network, Parameters, Scaling, Tensors};

use evidence::{Clues, Evidence, Misfit, recognize};
use fingerprint::{Fingerprint, Table};

/// Which checkpoint to open, as `--model` names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The small model that is part of the program. Its latents are not those of Stable Diffusion.
    Tiny,
    /// A model that has a name, from the first of its repositories that has it.
    Named(&'static NamedModel),
    /// A folder or a file.
    Path(PathBuf),
    /// A repository on the hub, `owner/name`, with the VAE in `vae/` or at the top.
    Hub(String),
}

/// Ends of the names of weights files. No hub id has one.
const EXTENSIONS: [&str; 7] = [".safetensors", ".sft", ".ckpt", ".pt", ".pth", ".bin", ".gguf"];

impl FromStr for Source {
    type Err = Infallible;

    /// `tiny` and those of [`NamedModel::all`] are names, `owner/name` is a hub id unless it exists on disk, and anything
    /// else is a path.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        let is_name = |s: &str| {
            !s.is_empty()
                && !s.starts_with('.')
                && s.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        };
        if let Some(model) = NamedModel::named(text) {
            return Ok(Self::Named(model));
        }
        let path = PathBuf::from(text);
        Ok(match (text, text.split_once('/')) {
            (built_in::NAME, _) => Self::Tiny,
            _ if path.exists() || EXTENSIONS.iter().any(|extension| text.ends_with(extension)) => {
                Self::Path(path)
            }
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
    /// A pickle of PyTorch that is not read.
    #[error("{file} cannot be read as a checkpoint of PyTorch: {reason}")]
    Pickle {
        /// The file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file could not be loaded from the hub.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// An option about the scaling does not fit the checkpoint.
    #[error(transparent)]
    Misfit(#[from] Misfit),
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
    tensors: VaeTensors,
    origin: Origin,
    folder: Option<PathBuf>,
    /// The `config.json` that the config was read from.
    config_text: Option<String>,
    /// Whether that text is in the metadata of the weights file.
    has_own_config: bool,
    recognition: Recognition,
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
        Self::open_with(source, revision, variant, hub, &Overrides::default())
    }

    /// The same with options for the scaling, which come before all other evidence.
    ///
    /// # Errors
    /// [`CheckpointError::Misfit`] if one of them does not fit the checkpoint, and the others.
    pub fn open_with(
        source: &Source,
        revision: Option<&str>,
        variant: Variant,
        hub: &Hub,
        overrides: &Overrides,
    ) -> Result<Self, CheckpointError> {
        let mut named = None;
        let mut checkpoint = match source {
            Source::Tiny => built_in::open()?,
            Source::Path(path) => path::open(path, variant)?,
            Source::Hub(id) => hub.open(&[id], revision, variant)?,
            Source::Named(model) => {
                named = Some(*model);
                let ids: Vec<&str> = model.repositories.iter().map(|repository| repository.id).collect();
                let checkpoint = hub.open(&ids, revision, variant)?;
                Self { warning: hub::doubt(&checkpoint, model)?, ..checkpoint }
            }
        };
        checkpoint.recognize(named, overrides)?;
        Ok(checkpoint)
    }

    /// Finds out how the latents are scaled.
    fn recognize(
        &mut self,
        named: Option<&'static NamedModel>,
        overrides: &Overrides,
    ) -> Result<(), CheckpointError> {
        let clues = Clues {
            config: &self.config,
            config_from: self.config_text.as_ref().map(|_| match self.has_own_config {
                true => Evidence::Metadata,
                false => Evidence::ConfigJson,
            }),
            contents: &self.weights().contents(),
            first_layer: self.first_layer(),
            named,
            repository: self.origin.revision.as_ref().map(|_| self.origin.model.as_str()),
            file: self.weights().path(),
        };
        let found = recognize(&clues, &Table::known(), overrides)?;
        self.config.scaling = found.scaling.clone();
        if self.config_text.is_none() {
            self.config.force_upcast = found.half_precision.is_harmful();
        }
        self.recognition = found;
        Ok(())
    }

    /// What was found out about the family and the scaling.
    pub fn recognition(&self) -> &Recognition {
        &self.recognition
    }

    /// The fingerprint of the encoder; `None` if it has no first layer `[c, 3, 3, 3]` of floats.
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        Fingerprint::of(&self.first_layer()?)
    }

    /// The weights of the encoder's first layer `[c, 3, 3, 3]`.
    fn first_layer(&self) -> Option<Vec<f32>> {
        let (name, channels) = match &self.config.network {
            Network::Kl(kl) => ("encoder.conv_in.weight", kl.block_out_channels[0]),
            Network::Tiny(tiny) => ("encoder.layers.0.weight", tiny.encoder.channels),
            Network::Wan(_) => return None,
        };
        let weights = self.tensors.get(name, &[channels, 3, 3, 3]).ok()?;
        Some(weights.to_f32().ok()?.into_owned())
    }

    fn read(config: PathBuf, weights: PathBuf, origin: Origin) -> Result<Self, CheckpointError> {
        let text = small_file::read(&config)
            .map_err(|reason| CheckpointError::Read { path: config.clone(), reason })?;
        let folder = config.parent().map(Path::to_path_buf);
        let config = parse_config(&text, &config)?;
        let tensors = VaeTensors::of(Weights::open(&weights)?);
        let config = with_scaling_of(config, &tensors)?;
        let (config_text, recognition) = (Some(text), Recognition::default());
        Ok(Self {
            config,
            tensors,
            origin,
            folder,
            config_text,
            has_own_config: false,
            recognition,
            warning: None,
        })
    }

    /// The content of `config.json`.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Where the checkpoint came from.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// A warning for the user: this is a model with a name and another digest than the known ones, or a config was not used.
    pub fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }

    /// The weights file, which may contain more than the VAE.
    pub fn weights(&self) -> &Weights {
        self.tensors.weights()
    }

    /// The tensors of the VAE.
    pub fn tensors(&self) -> &VaeTensors {
        &self.tensors
    }

    /// The digest of the weights: see [`VaeTensors::sha256`]. It is computed once.
    ///
    /// # Errors
    /// If the file cannot be read or its length has changed.
    pub fn sha256(&self) -> Result<&str, CheckpointError> {
        self.tensors.sha256()
    }

    /// Whether `sha256` is the digest of these weights, or that of the same weights in the other number format, as far as
    /// this is known ([`NamedModel::sha256`]).
    ///
    /// # Errors
    /// Those of [`Checkpoint::sha256`].
    pub fn has_weights(&self, sha256: &str) -> Result<bool, CheckpointError> {
        let own = self.sha256()?;
        let is_same = |model: &NamedModel| [own, sha256].iter().all(|digest| model.sha256.contains(digest));
        Ok(own == sha256 || NamedModel::all().any(is_same))
    }

    /// The tree of modules.
    pub fn modules(&self) -> Module {
        Module::of(&self.tensors.contents(), &self.config.network)
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
        Parameters::new(self.tensors.clone())
    }
}

/// The config with the scaling that is among the tensors, if it has none.
fn with_scaling_of(mut config: Config, tensors: &VaeTensors) -> Result<Config, CheckpointError> {
    if config.scaling.is_none() {
        config.scaling = batch_norm_scaling(config.latent_channels, tensors)?;
    }
    Ok(config)
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
        assert_eq!(parse("sd2"), Ok(Source::Named(&families::SD2)));
        assert!(NamedModel::all().all(|model| parse(model.name) == Ok(Source::Named(model))));
        assert_eq!(parse("tiny"), Ok(Source::Tiny));
        assert_eq!(parse("src"), Ok(Source::Path("src".into())));
        assert_eq!(parse("no/such/file.safetensors"), Ok(Source::Path("no/such/file.safetensors".into())));
        assert_eq!(parse("models/v1-5.ckpt"), Ok(Source::Path("models/v1-5.ckpt".into())));
        assert_eq!(parse("stabilityai/sd-vae-ft-mse"), Ok(Source::Hub("stabilityai/sd-vae-ft-mse".into())));
        for path in ["", "sd4", "./sd2", "a/b/c", "/no/such", "../x", "owner/", "owner/na me"] {
            assert_eq!(parse(path), Ok(Source::Path(path.into())));
        }
    }
}

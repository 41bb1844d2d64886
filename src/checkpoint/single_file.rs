//! A checkpoint in one file: of a VAE alone, or of a whole diffusion model with a VAE in it, under the names of any
//! [`Naming`](super::names::Naming).
//!
//! The config is that of a `config.json` beside the file or of the file's metadata, if it fits the tensors. Otherwise, it follows
//! from their shapes, and the scaling is unknown.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::model::{Config, Network};

use super::names::Names;
use super::shapes::{self, Shapes};
use super::vae_tensors::VaeTensors;
use super::{
    Checkpoint, CheckpointError, Origin, Recognition, Weights, foreign, small_file, with_scaling_of,
};

/// The key of a `config.json` in the metadata of a file, which `vae convert-model` writes.
pub const CONFIG_KEY: &str = "vae.config";

/// Opens the file.
pub(super) fn open(path: &Path, origin: Origin) -> Result<Checkpoint, CheckpointError> {
    let refuse = |reason: String| CheckpointError::Layout(format!("{} {reason}", path.display()));
    let weights = Weights::open(path).map_err(|e| explain(path, e))?;
    let contents = weights.contents();
    let tensors = VaeTensors::of(weights);
    if tensors.stored().is_empty() || !tensors.is_recognized() {
        return Err(refuse(format!("is {}; name a VAE with --model", foreign::kind_of(&contents))));
    }
    let of_vae =
        contents.tensors.iter().filter_map(|tensor| tensor.name.strip_prefix(tensors.names().prefix));
    if let Some(kind) = of_vae.into_iter().find_map(foreign::relative_with) {
        return Err(refuse(format!("is {kind}")));
    }
    let stored = tensors.stored().iter();
    let shapes: Shapes = stored.map(|(name, entry)| (name.clone(), entry.shape.as_slice())).collect();
    let beside = path.with_file_name("config.json");
    // The file's own config comes first: it was written with these weights.
    let own = contents.metadata.get(CONFIG_KEY);
    let own = own.map(|text| Declared { place: format!("the metadata `{CONFIG_KEY}`"), text: text.clone() });
    let other = small_file::read(&beside).ok();
    let other = other.map(|text| Declared { place: beside.display().to_string(), text });
    let (has_own_config, is_beside) = (own.is_some(), own.is_none() && other.is_some());
    let ignored = own.as_ref().zip(other.as_ref()).and_then(|(own, other)| {
        let [ours, theirs] = [own, other].map(|declared| Config::from_json(&declared.text).ok());
        (ours != theirs).then(|| format!("{} is not used, because the file has its own config", other.place))
    });
    let declared = own.or(other);
    let (config, warning) = choose(declared.as_ref(), &shapes)
        .map_err(|reason| refuse(with_names_of(tensors.names(), &reason)))?;
    let config_text = declared.map(|declared| declared.text).filter(|_| warning.is_none());
    let has_config = is_beside && warning.is_none();
    let folder = path.parent().filter(|_| has_config).map(Path::to_path_buf);
    let config = with_scaling_of(config, &tensors)?;
    let recognition = Recognition::default();
    let warning = warning.or(ignored);
    Ok(Checkpoint { config, tensors, origin, folder, config_text, has_own_config, recognition, warning })
}

/// A reason with the names of tensors as the file has them. In backticks it has those of diffusers.
fn with_names_of(names: Names, reason: &str) -> String {
    let name = |(i, text): (usize, &str)| match names.of_diffusers(text).filter(|_| i % 2 == 1) {
        Some(stored) => stored,
        None => text.into(),
    };
    let texts: Vec<String> = reason.split('`').enumerate().map(name).collect();
    texts.join("`")
}

/// A config that was found with the file.
struct Declared {
    /// Where, for messages.
    place: String,
    text: String,
}

/// The declared config if it fits the tensors; otherwise the one that their shapes give, with a warning.
fn choose(declared: Option<&Declared>, shapes: &Shapes) -> Result<(Config, Option<String>), String> {
    let Some(Declared { place, text }) = declared else {
        return Ok((shapes::config_of(shapes, None)?, None));
    };
    let (config, inferred) = match Config::from_json(text) {
        Ok(config) => {
            let inferred = shapes::config_of(shapes, Some(&config))?;
            match fits(&config, &inferred, shapes) {
                true => return Ok((config, None)),
                false => ("it describes another model".to_string(), inferred),
            }
        }
        Err(e) => (e.to_string(), shapes::config_of(shapes, None)?),
    };
    Ok((inferred, Some(format!("{place} is not used: {config}"))))
}

/// Whether the config describes a model with these tensors. `inferred` follows from their shapes.
fn fits(config: &Config, inferred: &Config, shapes: &Shapes) -> bool {
    let has = |half: &str| shapes.keys().any(|name| name.starts_with(half));
    let mut network = config.network.clone();
    match (&mut network, &inferred.network) {
        (Network::Kl(kl), Network::Kl(known)) => {
            // What the shapes of one half do not say about the other.
            if !has("decoder.") {
                kl.decoder_block_out_channels = None;
                kl.use_post_quant_conv = known.use_post_quant_conv;
            }
            if !has("encoder.") {
                kl.block_out_channels = kl.decoder_channels().to_vec();
                kl.decoder_block_out_channels = None;
                kl.use_quant_conv = known.use_quant_conv;
            }
        }
        (Network::Wan(wan), Network::Wan(known)) => {
            if !has("encoder.") {
                wan.base_dim = known.base_dim;
            }
            if !has("decoder.") {
                wan.decoder_base_dim = known.decoder_base_dim;
            }
        }
        (Network::Tiny(tiny), Network::Tiny(known)) => {
            if !has("encoder.") {
                tiny.encoder = known.encoder.clone();
            }
            if !has("decoder.") {
                tiny.decoder = known.decoder.clone();
            }
        }
        _ => return false,
    }
    network == inferred.network && config.latent_channels == inferred.latent_channels
}

/// Says what a file is that is not in a format of weights.
fn explain(path: &Path, error: CheckpointError) -> CheckpointError {
    let mut start = Vec::new();
    let read = File::open(path).and_then(|file| file.take(512).read_to_end(&mut start));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match (error, read) {
        (error @ CheckpointError::Weights { .. }, Ok(_)) => match foreign::format_of(&start, &name) {
            Some(kind) => CheckpointError::Layout(format!("{} is {kind}", path.display())),
            None => error,
        },
        (error, _) => error,
    }
}

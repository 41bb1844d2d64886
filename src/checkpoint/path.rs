//! A checkpoint in a local folder or file.

use std::path::Path;

use super::{Checkpoint, CheckpointError, Origin, Variant};

/// The weights of repositories from before safetensors. Used if there is no other file.
const PICKLE: &str = "diffusion_pytorch_model.bin";

/// Opens a pipeline's folder (which contains `vae/`), a VAE's own folder, or a `.safetensors` file beside its
/// `config.json`.
pub fn open(path: &Path, variant: Variant) -> Result<Checkpoint, CheckpointError> {
    let origin = Origin { model: path.display().to_string(), revision: None, note: None };
    if !path.exists() {
        return Err(CheckpointError::Layout(format!(
            "`{}` is not a file or folder, not a hub id such as `owner/name`, and neither `sd2` nor `tiny`; \
             check the name",
            path.display()
        )));
    }
    if path.is_dir() { open_folder(path, variant, origin) } else { open_file(path, origin) }
}

fn open_file(path: &Path, origin: Origin) -> Result<Checkpoint, CheckpointError> {
    if path.extension().is_none_or(|e| e != "safetensors") {
        return Err(CheckpointError::Layout(format!(
            "{} is not a .safetensors file; name one with --model, or the folder that contains it",
            path.display()
        )));
    }
    std::fs::File::open(path).map_err(|reason| CheckpointError::Read { path: path.into(), reason })?;
    let config = path.with_file_name("config.json");
    if !config.exists() {
        return Err(CheckpointError::Layout(format!(
            "there is no config.json beside {}; put the config.json of the same VAE there",
            path.display()
        )));
    }
    Checkpoint::read(config, path.into(), origin)
}

fn open_folder(folder: &Path, variant: Variant, origin: Origin) -> Result<Checkpoint, CheckpointError> {
    let vae = folder.join("vae");
    let vae = if vae.join("config.json").exists() { vae } else { folder.to_path_buf() };
    let config = vae.join("config.json");
    if !config.exists() {
        return Err(CheckpointError::Layout(format!(
            "{} has no config.json, neither directly nor in a subfolder `vae`; \
             name the folder of a VAE in the diffusers layout with --model",
            folder.display()
        )));
    }
    let names = variant.file_names(&config);
    let mut files = names.into_iter().chain([PICKLE]).map(|name| vae.join(name));
    match files.find(|file| file.exists()) {
        Some(weights) => Checkpoint::read(config, weights, origin),
        None => Err(CheckpointError::Layout(format!(
            "{} has no {}; download it into this folder",
            vae.display(),
            names[0]
        ))),
    }
}

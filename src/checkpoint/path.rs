//! A checkpoint in a local folder or file.

use std::path::Path;

use super::{Checkpoint, CheckpointError, Origin, Variant, single_file};

/// The weights of repositories from before safetensors. Used if there is no other file.
const PICKLE: &str = "diffusion_pytorch_model.bin";

/// Opens a pipeline's folder (which contains `vae/`), a VAE's own folder, or one file.
pub fn open(path: &Path, variant: Variant) -> Result<Checkpoint, CheckpointError> {
    let origin = Origin { model: path.display().to_string(), revision: None, note: None };
    if !path.exists() {
        return Err(CheckpointError::Layout(format!(
            "`{}` is not a file or folder, not a hub id such as `owner/name`, and not one of the names that \
             `vae models` lists; check the name",
            path.display()
        )));
    }
    if path.is_dir() { open_folder(path, variant, origin) } else { single_file::open(path, origin) }
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

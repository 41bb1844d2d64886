//! A checkpoint on disk.

use std::path::Path;

use super::{Checkpoint, CheckpointError, Origin, Variant};

/// Opens a pipeline's folder (with `vae/` in it), a VAE's own folder, or a `.safetensors` file beside its `config.json`.
pub fn open(path: &Path, variant: Variant) -> Result<Checkpoint, CheckpointError> {
    let origin = Origin { model: path.display().to_string(), revision: None, note: None };
    if !path.exists() {
        return Err(CheckpointError::Layout(format!(
            "`{}` is no file or folder here, no hub id like `owner/name`, and neither `sd2` nor `tiny`",
            path.display()
        )));
    }
    if path.is_dir() { open_folder(path, variant, origin) } else { open_file(path, origin) }
}

fn open_file(path: &Path, origin: Origin) -> Result<Checkpoint, CheckpointError> {
    if path.extension().is_none_or(|e| e != "safetensors") {
        return Err(CheckpointError::Layout(format!(
            "{} is no .safetensors file: --model takes one, or the folder that holds it",
            path.display()
        )));
    }
    std::fs::File::open(path).map_err(|reason| CheckpointError::Read { path: path.into(), reason })?;
    let config = path.with_file_name("config.json");
    if !config.exists() {
        return Err(CheckpointError::Layout(format!(
            "there is no config.json beside {}: put the one of the same VAE there",
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
            "{} has no config.json, neither at its top nor in a folder `vae`",
            folder.display()
        )));
    }
    let names = variant.file_names();
    match names.iter().map(|name| vae.join(name)).find(|file| file.exists()) {
        Some(weights) => Checkpoint::read(config, weights, origin),
        None if vae.join("diffusion_pytorch_model.bin").exists() => Err(CheckpointError::Layout(format!(
            "{} has its weights only as a pickle (.bin), which can run code and is not opened; \
             convert it to safetensors",
            vae.display()
        ))),
        None => Err(CheckpointError::Layout(format!("{} has no {}", vae.display(), names[0]))),
    }
}

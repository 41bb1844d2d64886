//! The model that is part of the program, so that there is something to see without a download.
//!
//! It is an AutoencoderKL as any other, read by the same code from the same two files, but small, and trained on drawn
//! pictures by `examples/train_tiny`. Its latents have the shape of Stable Diffusion's and nothing else in common.

use super::{Checkpoint, CheckpointError, Origin, Weights, parse_config};

/// Its name, on the command line and in latents files.
pub const NAME: &str = "tiny";

const CONFIG: &str = include_str!("../../assets/tiny/config.json");
static WEIGHTS: &[u8] = include_bytes!("../../assets/tiny/diffusion_pytorch_model.safetensors");

/// Opens the model.
pub fn open() -> Result<Checkpoint, CheckpointError> {
    let origin = Origin {
        model: NAME.into(),
        revision: None,
        note: Some("latents of the model built into vae; these are not Stable Diffusion latents"),
    };
    let config = parse_config(CONFIG, "assets/tiny/config.json".as_ref())?;
    Ok(Checkpoint {
        config,
        weights: Weights::built_in(WEIGHTS, "the built-in model")?,
        origin,
        folder: None,
        warning: None,
    })
}

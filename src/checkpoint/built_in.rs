//! The model that is part of the program, for a first try without a download.
//!
//! It is a small AutoencoderKL, trained on drawn pictures by `examples/train_tiny`, and is read by the same code as any
//! other. Its latents have the shape of Stable Diffusion's latents, but another meaning.

use super::{Checkpoint, CheckpointError, Origin, Recognition, VaeTensors, Weights, parse_config};

/// The model's name, on the command line and in latents files.
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
        tensors: VaeTensors::of(Weights::built_in(WEIGHTS, "the built-in model")?),
        origin,
        folder: None,
        config_text: Some(CONFIG.into()),
        has_own_config: false,
        recognition: Recognition::default(),
        warning: None,
    })
}

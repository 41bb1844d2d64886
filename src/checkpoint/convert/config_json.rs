//! The text of a `config.json` for diffusers.

use serde_json::{Map, Value, json};

use crate::checkpoint::evidence::Evidence;
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::model::{Config, Kl, Network, Scaling, Tiny, Wan};

/// The `config.json` of a checkpoint. It has all keys of the one that came with the checkpoint, if there was one.
///
/// # Errors
/// If diffusers has no such model, or the scaling is unknown: diffusers would take that of Stable Diffusion for it.
pub fn config_json(checkpoint: &Checkpoint) -> Result<String, CheckpointError> {
    let config = checkpoint.config();
    let of_large_vae = Scaling::new(1.0, 0.0); // that of TAESD's latents is not in its config
    let scaling = config.scaling.as_ref().or(config.latents_are_scaled().then_some(&of_large_vae));
    let Some(scaling) = scaling else {
        return Err(CheckpointError::Layout(format!(
            "{}, or write one file with `-o NAME.safetensors`; config.json must state the factor",
            checkpoint.recognition().refusal(&checkpoint.origin().model, config)
        )));
    };
    let mut json = checkpoint
        .config_text
        .as_deref()
        .map_or_else(Map::new, |text| serde_json::from_str(text).unwrap_or_default());
    match &config.network {
        Network::Kl(kl) => add_kl(&mut json, config, kl, scaling, checkpoint)?,
        Network::Wan(wan) => {
            check_plain(scaling, checkpoint)?;
            add_wan(&mut json, config, wan, scaling);
        }
        Network::Tiny(_) if matches!(checkpoint.recognition().evidence, Some(Evidence::Options(_))) => {
            return Err(CheckpointError::Layout(format!(
                "the config of {} cannot state a family or a scaling factor; omit --family and --scaling-factor here, and give \
                 them when the model is used",
                checkpoint.origin().model
            )));
        }
        Network::Tiny(tiny) => add_tiny(&mut json, config, tiny),
    }
    Ok(format!("{:#}\n", Value::Object(json)))
}

fn add_kl(
    json: &mut Map<String, Value>,
    config: &Config,
    kl: &Kl,
    scaling: &Scaling,
    checkpoint: &Checkpoint,
) -> Result<(), CheckpointError> {
    if kl.inner_channels.is_some() {
        return Err(CheckpointError::Layout(format!(
            "{} has other channels inside than its latents, which no config.json can state; write one file with \
             `-o NAME.safetensors`",
            checkpoint.origin().model
        )));
    }
    let levels = kl.block_out_channels.len();
    let block_types = |attention: &str, plain: &str| -> Vec<String> {
        (0..levels).map(|i| if kl.has_attention(i) { attention } else { plain }.to_string()).collect()
    };
    let down = block_types("AttnDownEncoderBlock2D", "DownEncoderBlock2D");
    let mut up = block_types("AttnUpDecoderBlock2D", "UpDecoderBlock2D");
    up.reverse();
    let mut set = |key: &str, value: Value| _ = json.insert(key.into(), value);
    set("in_channels", 3.into());
    set("out_channels", 3.into());
    set("act_fn", "silu".into());
    set("block_out_channels", json!(kl.block_out_channels));
    set("down_block_types", json!(down));
    set("up_block_types", json!(up));
    set("layers_per_block", kl.layers_per_block.into());
    set("latent_channels", config.latent_channels.into());
    set("norm_num_groups", kl.norm_num_groups.into());
    set("use_quant_conv", kl.use_quant_conv.into());
    set("use_post_quant_conv", kl.use_post_quant_conv.into());
    set("mid_block_add_attention", kl.mid_block_add_attention.into());
    if scaling.patch > 1 {
        // The statistics are tensors.
        check_plain(scaling, checkpoint)?;
        set("_class_name", "AutoencoderKLFlux2".into());
        if kl.decoder_block_out_channels.is_some() {
            set("decoder_block_out_channels", json!(kl.decoder_channels()));
        }
        return Ok(());
    }
    if kl.decoder_block_out_channels.is_some() {
        return Err(CheckpointError::Layout(format!(
            "{} has other channels in its decoder than in its encoder, which the config.json of an AutoencoderKL cannot \
             state; write one file with `-o NAME.safetensors`",
            checkpoint.origin().model
        )));
    }
    set("_class_name", "AutoencoderKL".into());
    set("scaling_factor", scaling.factor.into());
    if config.force_upcast {
        set("force_upcast", true.into());
    }
    let statistics = scaling.statistics.as_ref();
    for (key, value) in [
        ("shift_factor", Some(json!(scaling.shift)).filter(|_| scaling.shift != 0.0)),
        ("latents_mean", statistics.map(|statistics| json!(statistics.mean))),
        ("latents_std", statistics.map(|statistics| json!(statistics.std))),
    ] {
        match value {
            Some(value) => _ = json.insert(key.into(), value),
            None => _ = json.remove(key),
        }
    }
    Ok(())
}

/// Fails if there is a factor or a shift beside the statistics, for which the config of the class has no keys.
fn check_plain(scaling: &Scaling, checkpoint: &Checkpoint) -> Result<(), CheckpointError> {
    match (scaling.factor, scaling.shift) {
        (1.0, 0.0) => Ok(()),
        _ => Err(CheckpointError::Layout(format!(
            "the config of {} cannot state another scaling factor or shift; omit --scaling-factor and --shift-factor here, and              give them when the model is used",
            checkpoint.origin().model
        ))),
    }
}

fn add_wan(json: &mut Map<String, Value>, config: &Config, wan: &Wan, scaling: &Scaling) {
    let mut set = |key: &str, value: Value| _ = json.entry(key).or_insert(value);
    // Qwen-Image's class is the same network with fewer options.
    set("_class_name", "AutoencoderKLWan".into());
    if wan.decoder_base_dim != wan.base_dim {
        set("decoder_base_dim", wan.decoder_base_dim.into());
    }
    set("base_dim", wan.base_dim.into());
    set("z_dim", config.latent_channels.into());
    set("dim_mult", json!(wan.dim_mult));
    set("num_res_blocks", wan.num_res_blocks.into());
    if let Some(statistics) = &scaling.statistics {
        json.insert("latents_mean".into(), json!(statistics.mean));
        json.insert("latents_std".into(), json!(statistics.std));
    }
}

fn add_tiny(json: &mut Map<String, Value>, config: &Config, tiny: &Tiny) {
    let mut set = |key: &str, value: Value| _ = json.entry(key).or_insert(value);
    set("_class_name", "AutoencoderTiny".into());
    set("latent_channels", config.latent_channels.into());
    for (half, stages) in [("encoder", &tiny.encoder), ("decoder", &tiny.decoder)] {
        set(&format!("{half}_block_out_channels"), json!(vec![stages.channels; stages.blocks.len()]));
        set(&format!("num_{half}_blocks"), json!(stages.blocks));
    }
}

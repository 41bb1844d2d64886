//! The config of an `AutoencoderTiny`: the TAESD family.
//!
//! Missing keys have diffusers' defaults (`__init__` in `diffusers/models/autoencoders/autoencoder_tiny.py`).

use serde::{Deserialize, Serialize};

use crate::kernels::MAX_CHANNELS;
use crate::model::RGB;

use super::{Config, ConfigError, MAX_LATENT_CHANNELS, Network, check_range, refuse};

/// The architecture of an `AutoencoderTiny`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Tiny {
    /// The encoder, from the picture's resolution down to the latents'.
    pub encoder: Stages,
    /// The decoder, from the latents' resolution up to the picture's.
    pub decoder: Stages,
}

/// One half: at each resolution some residual blocks, all with the same number of channels.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Stages {
    /// Channels between the first and the last convolution.
    pub channels: usize,
    /// Residual blocks at each resolution.
    pub blocks: Vec<usize>,
}

/// A `config.json` as it is stored.
#[derive(Deserialize)]
#[serde(default)]
struct Json {
    in_channels: usize,
    out_channels: usize,
    encoder_block_out_channels: Vec<usize>,
    decoder_block_out_channels: Vec<usize>,
    act_fn: String,
    upsample_fn: String,
    latent_channels: usize,
    upsampling_scaling_factor: usize,
    num_encoder_blocks: Vec<usize>,
    num_decoder_blocks: Vec<usize>,
    scaling_factor: f64,
    shift_factor: f64,
}

impl Default for Json {
    fn default() -> Self {
        Self {
            in_channels: RGB,
            out_channels: RGB,
            encoder_block_out_channels: vec![64; 4],
            decoder_block_out_channels: vec![64; 4],
            act_fn: "relu".into(),
            upsample_fn: "nearest".into(),
            latent_channels: 4,
            upsampling_scaling_factor: 2,
            num_encoder_blocks: vec![1, 3, 3, 3],
            num_decoder_blocks: vec![3, 3, 3, 1],
            scaling_factor: 1.0,
            shift_factor: 0.0,
        }
    }
}

impl Tiny {
    /// Fails if the sizes are invalid or too large.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let names = ["num_encoder_blocks", "num_decoder_blocks"];
        for (name, Stages { channels, blocks }) in names.into_iter().zip([&self.encoder, &self.decoder]) {
            check_range("block_out_channels", *channels, MAX_CHANNELS)?;
            if blocks.is_empty() || blocks.len() > 8 {
                return refuse(format!("`{name}` has {} entries; 1 to 8 are supported", blocks.len()));
            }
            if let Some(many) = blocks.iter().find(|&&count| count > 16) {
                return refuse(format!("`{name}` contains {many}; 0 to 16 are supported"));
            }
        }
        let [encoder, decoder] = [&self.encoder, &self.decoder].map(|stages| stages.blocks.len());
        if encoder != decoder {
            return refuse(format!(
                "the encoder has {encoder} resolutions and the decoder {decoder}, which is not supported"
            ));
        }
        Ok(())
    }
}

/// Reads the config of an `AutoencoderTiny`.
///
/// The scaling is unknown afterwards: the latents are already scaled, as those of another VAE, which the config does not name.
pub(super) fn from_json(text: &str) -> Result<Config, ConfigError> {
    let json: Json = serde_json::from_str(text).map_err(ConfigError::Json)?;
    check_range("latent_channels", json.latent_channels, MAX_LATENT_CHANNELS)?;
    for (key, found, supported) in [
        ("in_channels", json.in_channels, RGB),
        ("out_channels", json.out_channels, RGB),
        ("upsampling_scaling_factor", json.upsampling_scaling_factor, 2),
    ] {
        if found != supported {
            return refuse(format!("`{key}` is {found}; only {supported} is supported"));
        }
    }
    for (key, found, supported) in
        [("act_fn", &json.act_fn, "relu"), ("upsample_fn", &json.upsample_fn, "nearest")]
    {
        if found != supported {
            return refuse(format!("`{key}` is `{found}`; only {supported} is supported"));
        }
    }
    if json.scaling_factor != 1.0 || json.shift_factor != 0.0 {
        return refuse(format!(
            "`scaling_factor` is {} and `shift_factor` {}; only 1 and 0 are supported",
            json.scaling_factor, json.shift_factor
        ));
    }
    let stages = |half: &str, channels: &[usize], blocks: &[usize]| {
        if channels.len() != blocks.len() {
            return refuse(format!(
                "`{half}_block_out_channels` has {} entries, but `num_{half}_blocks` {}",
                channels.len(),
                blocks.len()
            ));
        }
        match channels {
            [first, rest @ ..] if rest.iter().all(|c| c == first) => {
                Ok(Stages { channels: *first, blocks: blocks.to_vec() })
            }
            _ => refuse(format!("`{half}_block_out_channels` must have the same number everywhere")),
        }
    };
    let tiny = Tiny {
        encoder: stages("encoder", &json.encoder_block_out_channels, &json.num_encoder_blocks)?,
        decoder: stages("decoder", &json.decoder_block_out_channels, &json.num_decoder_blocks)?,
    };
    tiny.check()?;
    let (network, latent_channels) = (Network::Tiny(tiny), json.latent_channels);
    Ok(Config { network, latent_channels, scaling: None, force_upcast: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(rest: &str) -> Result<Config, ConfigError> {
        Config::from_json(&format!(r#"{{"_class_name": "AutoencoderTiny"{rest}}}"#))
    }

    #[test]
    fn missing_keys_have_the_values_of_taesd() {
        let config = config("").expect("a valid config");
        assert_eq!((config.latent_channels, config.downscale(), config.multiple()), (4, 8, 8));
        assert!(config.scaling.is_none() && config.latents_are_scaled() && config.draws_mean());
        let stages = |blocks: [usize; 4]| Stages { channels: 64, blocks: blocks.to_vec() };
        let tiny = Tiny { encoder: stages([1, 3, 3, 3]), decoder: stages([3, 3, 3, 1]) };
        assert_eq!(config.network, Network::Tiny(tiny));
    }

    #[test]
    fn what_the_network_cannot_do_is_refused() {
        for wrong in [
            r#", "in_channels": 4"#,
            r#", "latent_channels": 0"#,
            r#", "latent_channels": 1000000000"#,
            r#", "act_fn": "silu""#,
            r#", "upsample_fn": "bilinear""#,
            r#", "upsampling_scaling_factor": 3"#,
            r#", "scaling_factor": 0.18215"#,
            r#", "num_encoder_blocks": []"#,
            r#", "num_encoder_blocks": [1, 3, 3]"#,
            r#", "num_encoder_blocks": [1, 3, 3, 1000000]"#,
            r#", "encoder_block_out_channels": [64, 64, 64, 32]"#,
            r#", "encoder_block_out_channels": [0, 0, 0, 0]"#,
            r#", "decoder_block_out_channels": [64, 64], "num_decoder_blocks": [1, 1]"#,
            r#", "num_decoder_blocks": "many""#,
        ] {
            assert!(config(wrong).is_err(), "{wrong}");
        }
    }
}

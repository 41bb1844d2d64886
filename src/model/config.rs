//! `config.json` of an `AutoencoderKL`: the architecture of a checkpoint.
//!
//! Missing keys have diffusers' defaults (`AutoencoderKL.__init__` in
//! `diffusers/models/autoencoders/autoencoder_kl.py`), except for `force_upcast`.

use serde::Deserialize;

use crate::kernels::MAX_CHANNELS;

/// The architecture and the scaling of one VAE.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Channels of the picture.
    pub in_channels: usize,
    /// Channels of the decoded picture.
    pub out_channels: usize,
    /// Channels at each resolution, from the picture's down to the latents'.
    pub block_out_channels: Vec<usize>,
    /// Residual blocks at each resolution of the encoder; the decoder has one more.
    pub layers_per_block: usize,
    /// Channels of the latents.
    pub latent_channels: usize,
    /// Groups of every group norm.
    pub norm_num_groups: usize,
    /// Factor of the latents that makes their variance about 1.
    pub scaling_factor: f64,
    /// Subtracted from the latents before scaling; `None` for SD2.
    pub shift_factor: Option<f64>,
    /// Whether a 1×1 convolution follows the encoder.
    pub use_quant_conv: bool,
    /// Whether a 1×1 convolution precedes the decoder.
    pub use_post_quant_conv: bool,
    /// Whether the mid blocks of encoder and decoder have an attention layer.
    pub mid_block_add_attention: bool,
    /// Whether the model is meant to be computed in f32, because its activations are too large for f16. A missing key counts as
    /// `false`: diffusers' default is `true`, but only its SDXL pipelines use it, whose checkpoints have the key.
    pub force_upcast: bool,
    act_fn: String,
    down_block_types: Vec<String>,
    up_block_types: Vec<String>,
    #[serde(rename = "_class_name")]
    class_name: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            in_channels: 3,
            out_channels: 3,
            block_out_channels: vec![64],
            layers_per_block: 1,
            latent_channels: 4,
            norm_num_groups: 32,
            scaling_factor: 0.18215,
            shift_factor: None,
            use_quant_conv: true,
            use_post_quant_conv: true,
            mid_block_add_attention: true,
            force_upcast: false,
            act_fn: "silu".into(),
            down_block_types: Vec::new(),
            up_block_types: Vec::new(),
            class_name: None,
        }
    }
}

/// Why a `config.json` does not describe a VAE that this crate supports.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not JSON, or a key of the wrong type.
    #[error("not a valid config: {0}")]
    Json(serde_json::Error),
    /// The config describes another kind of model.
    #[error(
        "it describes a `{0}`, not an AutoencoderKL; \
         point --model at the VAE's own folder (`vae` in a pipeline)"
    )]
    OtherModel(String),
    /// An AutoencoderKL with a part that SD's VAE family does not have, or with invalid sizes.
    #[error("{0}")]
    Unsupported(String),
}

impl Config {
    /// Reads and checks the text of a `config.json`.
    pub fn from_json(json: &str) -> Result<Self, ConfigError> {
        let config: Self = serde_json::from_str(json).map_err(ConfigError::Json)?;
        match config.class_name.as_deref() {
            Some("AutoencoderKL") => config.check().map(|()| config),
            Some(other) => Err(ConfigError::OtherModel(other.to_string())),
            None => Err(ConfigError::OtherModel("model without a `_class_name`".into())),
        }
    }

    /// Picture pixels per latent pixel along a side: 8 for SD2.
    pub fn downscale(&self) -> usize {
        1 << (self.block_out_channels.len() - 1)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let refuse = |message: String| Err(ConfigError::Unsupported(message));
        let channels = &self.block_out_channels;
        if channels.is_empty() || channels.len() > 8 {
            return refuse(format!(
                "`block_out_channels` has {} entries; 1 to 8 are supported",
                channels.len()
            ));
        }
        if self.norm_num_groups == 0 {
            return refuse("`norm_num_groups` is 0".into());
        }
        let groups = self.norm_num_groups;
        for &c in channels {
            if c == 0 || c > MAX_CHANNELS {
                return refuse(format!("`block_out_channels` has {c}; 1 to {MAX_CHANNELS} are supported"));
            }
            if !c.is_multiple_of(groups) {
                return refuse(format!(
                    "`block_out_channels` contains {c}, which is not divisible by `norm_num_groups` ({groups})"
                ));
            }
        }
        for (key, value, most) in
            [("latent_channels", self.latent_channels, 256), ("layers_per_block", self.layers_per_block, 16)]
        {
            if value == 0 || value > most {
                return refuse(format!("`{key}` is {value}; 1 to {most} are supported"));
            }
        }
        if (self.in_channels, self.out_channels) != (3, 3) {
            let (c_in, c_out) = (self.in_channels, self.out_channels);
            return refuse(format!(
                "`in_channels` is {c_in} and `out_channels` {c_out}; only 3 is supported"
            ));
        }
        if !(self.scaling_factor.is_finite() && self.scaling_factor > 0.0) {
            return refuse(format!(
                "`scaling_factor` is {}; it must be a positive number",
                self.scaling_factor
            ));
        }
        if self.act_fn != "silu" && self.act_fn != "swish" {
            return refuse(format!("`act_fn` is `{}`; only silu is supported", self.act_fn));
        }
        for types in [&self.down_block_types, &self.up_block_types] {
            if !types.is_empty() && types.len() != channels.len() {
                return refuse(format!(
                    "{} block types for {} entries of `block_out_channels`",
                    types.len(),
                    channels.len()
                ));
            }
        }
        let unknown = |types: &[String], known: &str| types.iter().find(|t| *t != known).cloned();
        if let Some(other) = unknown(&self.down_block_types, "DownEncoderBlock2D")
            .or_else(|| unknown(&self.up_block_types, "UpDecoderBlock2D"))
        {
            return refuse(format!("block type `{other}` is not supported"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_channels_than_a_device_can_normalize_are_refused() {
        let config = |channels: usize| {
            Config::from_json(&format!(
                r#"{{"_class_name": "AutoencoderKL", "block_out_channels": [64, {channels}]}}"#
            ))
        };
        assert!(config(4096).is_ok_and(|config| !config.force_upcast));
        assert!(config(4128).is_err_and(|error| error.to_string().contains("1 to 4096")));
    }
}

//! The config of an `AutoencoderKLWan` (Wan 2.1) or an `AutoencoderKLQwenImage`.
//!
//! Missing keys have diffusers' defaults (`__init__` in `diffusers/models/autoencoders/autoencoder_kl_wan.py` and
//! `autoencoder_kl_qwenimage.py`). What concerns time alone has no effect on a picture.

use serde::{Deserialize, Serialize};

use crate::kernels::MAX_CHANNELS;
use crate::model::{RGB, Scaling};

use super::kl::statistics;
use super::{Config, ConfigError, MAX_LATENT_CHANNELS, Network, check_range, refuse};

/// The architecture of the VAE of Wan 2.1 and Qwen-Image.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Wan {
    /// Channels of the encoder's first convolution.
    pub base_dim: usize,
    /// The same of the decoder's last one.
    pub decoder_base_dim: usize,
    /// Channels at each resolution, from the picture's down to the latents', as multiples of these.
    pub dim_mult: Vec<usize>,
    /// Residual blocks at each resolution of the encoder; the decoder has one more.
    pub num_res_blocks: usize,
}

/// Of the latents of Wan 2.1, which Qwen-Image uses, too.
const MEAN: [f64; 16] = [
    -0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508, 0.4134, -0.0715, 0.5517, -0.3632,
    -0.1922, -0.9497, 0.2503, -0.2921,
];
const STD: [f64; 16] = [
    2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743, 3.2687, 2.1526, 2.8652, 1.5579, 1.6382,
    1.1253, 2.8251, 1.916,
];

impl Wan {
    /// Channels of the encoder at each resolution, from the picture's down to the latents'.
    pub fn encoder_channels(&self) -> Vec<usize> {
        self.dim_mult.iter().map(|multiple| self.base_dim * multiple).collect()
    }

    /// The same of the decoder.
    pub fn decoder_channels(&self) -> Vec<usize> {
        self.dim_mult.iter().map(|multiple| self.decoder_base_dim * multiple).collect()
    }

    /// How diffusion models expect the latents, for 16 channels: each with its own mean and standard deviation.
    pub fn usual_scaling() -> Scaling {
        let statistics = crate::model::ChannelStatistics { mean: MEAN.to_vec(), std: STD.to_vec() };
        Scaling { statistics: Some(statistics), ..Scaling::new(1.0, 0.0) }
    }

    /// Fails if the sizes are invalid or too large.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        check_range("num_res_blocks", self.num_res_blocks, 16)?;
        if self.dim_mult.is_empty() || self.dim_mult.len() > 8 {
            return refuse(format!("`dim_mult` has {} entries; 1 to 8 are supported", self.dim_mult.len()));
        }
        for (key, base) in [("base_dim", self.base_dim), ("decoder_base_dim", self.decoder_base_dim)] {
            check_range(key, base, MAX_CHANNELS)?;
            for &multiple in &self.dim_mult {
                check_range("dim_mult", multiple, MAX_CHANNELS)?;
                check_range(&format!("{key}` times `dim_mult"), base * multiple, MAX_CHANNELS)?;
            }
        }
        // Each upsampling of the decoder halves the channels.
        match self.decoder_channels()[1..].iter().find(|channels| !channels.is_multiple_of(2)) {
            Some(odd) => refuse(format!("the decoder has {odd} channels at a resolution; it must be even")),
            None => Ok(()),
        }
    }
}

/// A `config.json` as it is stored.
#[derive(Deserialize)]
#[serde(default)]
struct Json {
    base_dim: usize,
    decoder_base_dim: Option<usize>,
    z_dim: usize,
    dim_mult: Vec<usize>,
    num_res_blocks: usize,
    attn_scales: Vec<f64>,
    latents_mean: Option<Vec<f64>>,
    latents_std: Option<Vec<f64>>,
    is_residual: bool,
    patch_size: Option<usize>,
    in_channels: usize,
    out_channels: usize,
    input_channels: usize,
}

impl Default for Json {
    fn default() -> Self {
        Self {
            base_dim: 96,
            decoder_base_dim: None,
            z_dim: 16,
            dim_mult: vec![1, 2, 4, 4],
            num_res_blocks: 2,
            attn_scales: Vec::new(),
            latents_mean: Some(MEAN.to_vec()),
            latents_std: Some(STD.to_vec()),
            is_residual: false,
            patch_size: None,
            in_channels: RGB,
            out_channels: RGB,
            input_channels: RGB,
        }
    }
}

/// Reads the config of an `AutoencoderKLWan` or an `AutoencoderKLQwenImage`.
pub(super) fn from_json(text: &str) -> Result<Config, ConfigError> {
    let json: Json = serde_json::from_str(text).map_err(ConfigError::Json)?;
    check_range("z_dim", json.z_dim, MAX_LATENT_CHANNELS)?;
    if json.is_residual || json.patch_size.is_some() {
        return refuse("it is the VAE of Wan 2.2, another network; only that of Wan 2.1 is supported".into());
    }
    for (key, channels) in [
        ("in_channels", json.in_channels),
        ("out_channels", json.out_channels),
        ("input_channels", json.input_channels),
    ] {
        if channels != RGB {
            return refuse(format!("`{key}` is {channels}; only {RGB} is supported"));
        }
    }
    if !json.attn_scales.is_empty() {
        return refuse("`attn_scales` is not empty; attention inside the levels is not supported".into());
    }
    let wan = Wan {
        base_dim: json.base_dim,
        decoder_base_dim: json.decoder_base_dim.unwrap_or(json.base_dim),
        dim_mult: json.dim_mult,
        num_res_blocks: json.num_res_blocks,
    };
    wan.check()?;
    let statistics = statistics(json.latents_mean, json.latents_std, json.z_dim)?;
    let scaling = Scaling { statistics, ..Scaling::new(1.0, 0.0) };
    let network = Network::Wan(wan);
    Ok(Config { network, latent_channels: json.z_dim, scaling: Some(scaling), force_upcast: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(rest: &str) -> Result<Config, ConfigError> {
        Config::from_json(&format!(r#"{{"_class_name": "AutoencoderKLQwenImage"{rest}}}"#))
    }

    #[test]
    fn missing_keys_have_the_values_of_qwen_image() {
        let config = config("").expect("a valid config");
        assert_eq!((config.latent_channels, config.downscale(), config.multiple()), (16, 8, 8));
        assert_eq!(config.scaling, Some(Wan::usual_scaling()));
        assert!(!config.latents_are_scaled() && !config.draws_mean());
        let Network::Wan(wan) = config.network else { panic!("another network") };
        assert_eq!(wan.encoder_channels(), [96, 192, 384, 384]);
        assert_eq!(wan.decoder_channels(), [96, 192, 384, 384]);
    }

    #[test]
    fn what_the_network_cannot_do_is_refused() {
        for wrong in [
            r#", "input_channels": 4"#,
            r#", "z_dim": 4"#, // the default statistics have 16 channels
            r#", "z_dim": 0"#,
            r#", "base_dim": 0"#,
            r#", "base_dim": 1025"#,
            r#", "base_dim": 18446744073709551615"#,
            r#", "dim_mult": []"#,
            r#", "dim_mult": [1, 18446744073709551615]"#,
            r#", "dim_mult": [1, 1, 1, 1, 1, 1, 1, 1, 1]"#,
            r#", "base_dim": 3, "dim_mult": [1, 3]"#,
            r#", "num_res_blocks": 17"#,
            r#", "attn_scales": [1.0]"#,
            r#", "is_residual": true"#,
            r#", "patch_size": 2"#,
            r#", "latents_std": null"#,
        ] {
            assert!(config(wrong).is_err(), "{wrong}");
        }
        assert!(config(r#", "base_dim": 3, "dim_mult": [1, 2]"#).is_ok());
    }
}

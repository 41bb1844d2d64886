//! The config of an `AutoencoderKL` or an `AutoencoderKLFlux2`.
//!
//! Missing keys have diffusers' defaults (`__init__` in `diffusers/models/autoencoders/autoencoder_kl.py` and
//! `autoencoder_kl_flux2.py`), except for `force_upcast`.

use serde::{Deserialize, Serialize};

use crate::kernels::MAX_CHANNELS;
use crate::model::Scaling;
use crate::model::scaling::ChannelStatistics;

use super::{Config, ConfigError, MAX_LATENT_CHANNELS, Network, check_range, refuse};

/// The architecture of an `AutoencoderKL`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Kl {
    /// Channels at each resolution, from the picture's down to the latents'.
    pub block_out_channels: Vec<usize>,
    /// The same for a decoder whose channels differ, such as FLUX.2's small one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decoder_block_out_channels: Option<Vec<usize>>,
    /// Residual blocks at each resolution of the encoder; the decoder has one more.
    pub layers_per_block: usize,
    /// Groups of every group norm.
    pub norm_num_groups: usize,
    /// Channels between encoder and `quant_conv`, and between `post_quant_conv` and decoder, if they are not those of z. No
    /// model of diffusers has this; VA-VAE and others with CompVis' code have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inner_channels: Option<usize>,
    /// Whether a 1×1 convolution follows the encoder.
    pub use_quant_conv: bool,
    /// Whether a 1×1 convolution precedes the decoder.
    pub use_post_quant_conv: bool,
    /// Whether the mid blocks of encoder and decoder have an attention layer.
    pub mid_block_add_attention: bool,
    /// Whether an attention layer follows each residual block of the encoder and decoder at each resolution, from the picture's
    /// down to the latents'. Empty if nowhere, as in Stable Diffusion.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attention_levels: Vec<bool>,
}

impl Kl {
    /// Channels of the decoder at each resolution, from the picture's down to the latents'.
    pub fn decoder_channels(&self) -> &[usize] {
        self.decoder_block_out_channels.as_ref().unwrap_or(&self.block_out_channels)
    }

    /// Whether there is attention at a level, counted from the picture's resolution.
    pub fn has_attention(&self, level: usize) -> bool {
        self.attention_levels.get(level).copied().unwrap_or(false)
    }

    /// Channels of the encoder's output and of the decoder's input, for `latent_channels` channels of z. The encoder's has twice as many.
    pub fn inner_channels(&self, latent_channels: usize) -> usize {
        self.inner_channels.unwrap_or(latent_channels)
    }

    /// Fails if the sizes are invalid or too large.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        check_range("norm_num_groups", self.norm_num_groups, MAX_CHANNELS)?;
        check_range("layers_per_block", self.layers_per_block, 16)?;
        check_range("latent channels", self.inner_channels.unwrap_or(1), MAX_LATENT_CHANNELS)?;
        check_channels("block_out_channels", &self.block_out_channels, self.norm_num_groups)?;
        check_channels("decoder_block_out_channels", self.decoder_channels(), self.norm_num_groups)?;
        if self.decoder_channels().len() != self.block_out_channels.len() {
            return refuse(format!(
                "`decoder_block_out_channels` has {} entries, but `block_out_channels` {}",
                self.decoder_channels().len(),
                self.block_out_channels.len()
            ));
        }
        Ok(())
    }
}

/// A `config.json` as it is stored.
#[derive(Deserialize)]
#[serde(default)]
struct Json {
    in_channels: usize,
    out_channels: usize,
    block_out_channels: Option<Vec<usize>>,
    decoder_block_out_channels: Option<Vec<usize>>,
    layers_per_block: Option<usize>,
    latent_channels: Option<usize>,
    norm_num_groups: usize,
    scaling_factor: f64,
    shift_factor: Option<f64>,
    latents_mean: Option<Vec<f64>>,
    latents_std: Option<Vec<f64>>,
    use_quant_conv: bool,
    use_post_quant_conv: bool,
    mid_block_add_attention: bool,
    force_upcast: bool,
    act_fn: String,
    down_block_types: Vec<String>,
    up_block_types: Vec<String>,
    batch_norm_eps: f64,
    patch_size: [usize; 2],
}

impl Default for Json {
    fn default() -> Self {
        Self {
            in_channels: 3,
            out_channels: 3,
            block_out_channels: None,
            decoder_block_out_channels: None,
            layers_per_block: None,
            latent_channels: None,
            norm_num_groups: 32,
            scaling_factor: 0.18215,
            shift_factor: None,
            latents_mean: None,
            latents_std: None,
            use_quant_conv: true,
            use_post_quant_conv: true,
            mid_block_add_attention: true,
            force_upcast: false,
            act_fn: "silu".into(),
            down_block_types: Vec::new(),
            up_block_types: Vec::new(),
            batch_norm_eps: Scaling::FLUX2_EPS,
            patch_size: [2, 2],
        }
    }
}

/// Reads the config of an `AutoencoderKLFlux2` or an `AutoencoderKL`.
pub(super) fn from_json(text: &str, flux2: bool) -> Result<Config, ConfigError> {
    let json: Json = serde_json::from_str(text).map_err(ConfigError::Json)?;
    if (json.in_channels, json.out_channels) != (3, 3) {
        return refuse(format!(
            "`in_channels` is {} and `out_channels` {}; only 3 is supported",
            json.in_channels, json.out_channels
        ));
    }
    if json.act_fn != "silu" && json.act_fn != "swish" {
        return refuse(format!("`act_fn` is `{}`; only silu is supported", json.act_fn));
    }
    let (channels, layers, latent_channels) =
        if flux2 { (vec![128, 256, 512, 512], 2, 32) } else { (vec![64], 1, 4) };
    let latent_channels = json.latent_channels.unwrap_or(latent_channels);
    check_range("latent_channels", latent_channels, MAX_LATENT_CHANNELS)?;
    let mut kl = Kl {
        block_out_channels: json.block_out_channels.unwrap_or(channels),
        decoder_block_out_channels: json.decoder_block_out_channels.filter(|_| flux2),
        layers_per_block: json.layers_per_block.unwrap_or(layers),
        norm_num_groups: json.norm_num_groups,
        inner_channels: None,
        use_quant_conv: json.use_quant_conv,
        use_post_quant_conv: json.use_post_quant_conv,
        mid_block_add_attention: json.mid_block_add_attention,
        attention_levels: Vec::new(),
    };
    kl.check()?;
    kl.attention_levels = attention_levels(&json.down_block_types, &json.up_block_types, &kl)?;
    let scaling = match flux2 {
        true if json.patch_size != [2, 2] || json.batch_norm_eps != Scaling::FLUX2_EPS => {
            let ([height, width], eps) = (json.patch_size, json.batch_norm_eps);
            return refuse(format!(
                "`patch_size` is [{height}, {width}] and `batch_norm_eps` {eps}; only [2, 2] and {} are supported",
                Scaling::FLUX2_EPS
            ));
        }
        true => None,
        false => {
            let statistics = statistics(json.latents_mean, json.latents_std, latent_channels)?;
            let shift = json.shift_factor.unwrap_or(0.0);
            Some(check_scaling(Scaling { patch: 1, factor: json.scaling_factor, shift, statistics })?)
        }
    };
    Ok(Config { network: Network::Kl(kl), latent_channels, scaling, force_upcast: json.force_upcast })
}

/// Fails if the numbers of a scaling are not usable.
fn check_scaling(scaling: Scaling) -> Result<Scaling, ConfigError> {
    let Scaling { factor, shift, .. } = scaling;
    if !(factor.is_finite() && factor > 0.0) {
        return refuse(format!("`scaling_factor` is {factor}; it must be a positive number"));
    }
    match shift.is_finite() {
        true => Ok(scaling),
        false => refuse(format!("`shift_factor` is {shift}; it must be a number")),
    }
}

/// `latents_mean` and `latents_std`, of which there are both or none.
pub(super) fn statistics(
    mean: Option<Vec<f64>>,
    std: Option<Vec<f64>>,
    channels: usize,
) -> Result<Option<ChannelStatistics>, ConfigError> {
    let (mean, std) = match (mean, std) {
        (None, None) => return Ok(None),
        (Some(mean), Some(std)) => (mean, std),
        _ => return refuse("only one of `latents_mean` and `latents_std` is given".into()),
    };
    if mean.len() != channels || std.len() != channels {
        return refuse(format!(
            "`latents_mean` has {} values and `latents_std` {}, but there are {channels} latent channels",
            mean.len(),
            std.len()
        ));
    }
    let is_usable = |std: &f64| std.is_finite() && *std > 0.0;
    if !(std.iter().all(is_usable) && mean.iter().all(|mean| mean.is_finite())) {
        return refuse("`latents_std` must have positive numbers, and `latents_mean` finite ones".into());
    }
    Ok(Some(ChannelStatistics { mean, std }))
}

fn check_channels(key: &str, channels: &[usize], groups: usize) -> Result<(), ConfigError> {
    if channels.is_empty() || channels.len() > 8 {
        return refuse(format!("`{key}` has {} entries; 1 to 8 are supported", channels.len()));
    }
    for &c in channels {
        check_range(key, c, MAX_CHANNELS)?;
        if !c.is_multiple_of(groups) {
            return refuse(format!(
                "`{key}` contains {c}, which is not divisible by `norm_num_groups` ({groups})"
            ));
        }
    }
    Ok(())
}

/// The levels with attention, from the names of the block types. The decoder's run from the latents up.
fn attention_levels(down: &[String], up: &[String], kl: &Kl) -> Result<Vec<bool>, ConfigError> {
    let levels = kl.block_out_channels.len();
    let read = |types: &[String], plain: &str, attention: &str| {
        if !types.is_empty() && types.len() != levels {
            return refuse(format!(
                "{} block types for {levels} entries of `block_out_channels`",
                types.len()
            ));
        }
        if let Some(other) = types.iter().find(|t| *t != plain && *t != attention) {
            return refuse(format!("block type `{other}` is not supported"));
        }
        Ok(types.iter().map(|t| t == attention).collect::<Vec<bool>>())
    };
    let down = read(down, "DownEncoderBlock2D", "AttnDownEncoderBlock2D")?;
    let mut up = read(up, "UpDecoderBlock2D", "AttnUpDecoderBlock2D")?;
    up.reverse();
    let levels = |levels: Vec<bool>| if levels.contains(&true) { levels } else { Vec::new() };
    let (down, up) = (levels(down), levels(up));
    match down == up {
        true => Ok(down),
        false => {
            refuse("encoder and decoder have attention at different levels, which is not supported".into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(rest: &str) -> Result<Config, ConfigError> {
        Config::from_json(&format!(r#"{{"_class_name": "AutoencoderKL", {rest}}}"#))
    }

    #[test]
    fn more_channels_than_a_device_can_normalize_are_refused() {
        let config = |channels: usize| config(&format!(r#""block_out_channels": [64, {channels}]"#));
        assert!(config(4096).is_ok_and(|config| !config.force_upcast));
        assert!(config(4128).is_err_and(|error| error.to_string().contains("1 to 4096")));
    }

    #[test]
    fn statistics_of_the_latents_must_fit_the_channels() {
        let playground = r#""scaling_factor": 0.5, "latents_mean": [-1.6574, 1.886, -1.383, 2.5155],
            "latents_std": [8.4927, 5.9022, 6.5498, 5.2299]"#;
        let scaling = config(playground).expect("a valid config").scaling.expect("a scaling");
        assert_eq!(scaling.statistics.expect("statistics").std[3], 5.2299);
        for wrong in [
            r#""latents_mean": [0, 0, 0, 0]"#,
            r#""latents_std": [1, 1, 1, 1]"#,
            r#""latents_mean": [0, 0, 0], "latents_std": [1, 1, 1, 1]"#,
            r#""latents_mean": [0, 0, 0, 0], "latents_std": [1, 1, 0, 1]"#,
            r#""latents_mean": [0, 0, 0, 0], "latents_std": [1, 1, -1, 1]"#,
            r#""latents_mean": 0, "latents_std": 1"#,
        ] {
            assert!(config(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_digest_of_the_architecture_covers_every_key_that_matters() {
        let digest = |rest: &str| config(rest).expect("a valid config").architecture_sha256();
        let default = r#""block_out_channels": [32, 64]"#;
        let mut digests = vec![digest(default)];
        // Results state it, so a change would make all of them again.
        assert_eq!(digests[0], "bdd7c5d195e0a8bcf77489954b9222afba89c9298f8dd7cee449f434ca9a202f");
        for (key, value) in [
            ("norm_num_groups", "16"),
            ("layers_per_block", "2"),
            ("latent_channels", "8"),
            ("use_quant_conv", "false"),
            ("use_post_quant_conv", "false"),
            ("mid_block_add_attention", "false"),
            ("force_upcast", "true"),
            (
                "up_block_types",
                r#"["UpDecoderBlock2D", "AttnUpDecoderBlock2D"], "down_block_types": ["AttnDownEncoderBlock2D", "DownEncoderBlock2D"]"#,
            ),
        ] {
            digests.push(digest(&format!(r#"{default}, "{key}": {value}"#)));
        }
        digests.push(digest(r#""block_out_channels": [32, 32]"#));
        for (i, digest) in digests.iter().enumerate() {
            assert!(!digests[..i].contains(digest), "{i}");
        }
        for same in [r#""sample_size": 512"#, r#""scaling_factor": 0.5"#, r#""norm_num_groups": 32"#] {
            assert_eq!(digest(&format!("{default}, {same}")), digests[0], "{same}");
        }
    }

    #[test]
    fn attention_follows_the_block_types() {
        let types = |down: &str, up: &str| {
            config(&format!(
                r#""block_out_channels": [32, 64], "down_block_types": [{down}], "up_block_types": [{up}]"#
            ))
        };
        let (down, attn_down) = (r#""DownEncoderBlock2D""#, r#""AttnDownEncoderBlock2D""#);
        let (up, attn_up) = (r#""UpDecoderBlock2D""#, r#""AttnUpDecoderBlock2D""#);
        let levels = |config: Config| config.kl().expect("an AutoencoderKL").attention_levels.clone();
        let deepest = types(&format!("{down}, {attn_down}"), &format!("{attn_up}, {up}"));
        assert_eq!(levels(deepest.expect("valid")), [false, true]);
        assert!(levels(types(&format!("{down}, {down}"), "").expect("valid")).is_empty());
        assert!(types(&format!("{down}, {attn_down}"), &format!("{up}, {attn_up}")).is_err());
        assert!(types(&format!("{down}, {attn_down}"), &format!("{up}, {up}")).is_err());
    }
}

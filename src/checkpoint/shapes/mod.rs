//! The config of a VAE from the names and shapes of its tensors, for files without a `config.json`.
//!
//! | file | network |
//! | --- | --- |
//! | `kl` | AutoencoderKL |
//! | `wan` | AutoencoderKLWan and AutoencoderKLQwenImage |
//! | `tiny` | AutoencoderTiny |
//!
//! Of an AutoencoderKL:
//!
//! | from | follows |
//! | --- | --- |
//! | the number of `down_blocks` and `up_blocks` | levels |
//! | `conv1` of each level | channels, of the encoder and of the decoder |
//! | the number of `resnets` in a level | layers |
//! | `conv_out` of the encoder, `conv_in` of the decoder, `quant_conv`, `post_quant_conv` | channels of the latents |
//! | which tensors exist | 1×1 convolutions at the latents, attention in the mid blocks and in levels |
//!
//! The shapes do not state the number of groups of a norm, which is 32 in every known model, nor the scaling of the latents.

mod kl;
mod tiny;
mod wan;

use std::collections::BTreeMap;

use crate::model::Config;

use super::foreign;

/// The shapes of the tensors, by their names in diffusers.
pub type Shapes<'a> = BTreeMap<String, &'a [usize]>;

/// Groups of every group norm in every known model.
const GROUPS: usize = 32;

/// Infers the config. A file may hold the encoder alone or the decoder alone. What the shapes do not state, such as the groups of
/// the norms, is taken from `declared`, or is as in every known model.
///
/// # Errors
/// Why these are not the tensors of a supported VAE, in words that follow the name of the file.
pub fn config_of(shapes: &Shapes, declared: Option<&Config>) -> Result<Config, String> {
    let has = |name: &str| shapes.contains_key(name);
    let has_layers = |half: &str| shapes.keys().any(|name| name.starts_with(half));
    if has("encoder.mid_block.resnets.0.norm1.gamma") || has("decoder.mid_block.resnets.0.norm1.gamma") {
        return wan::config_of(shapes);
    }
    if has_layers("encoder.layers.") || has_layers("decoder.layers.") {
        return tiny::config_of(shapes);
    }
    kl::config_of(shapes, declared.and_then(Config::kl).map_or(GROUPS, |kl| kl.norm_num_groups))
}

/// How many of the tensors with the names 0, 1 and so on exist, up to the first that does not.
fn count(shapes: &Shapes, name: impl Fn(usize) -> String) -> usize {
    (0..).take_while(|&i| shapes.contains_key(&name(i))).count()
}

/// The shape of a convolution's weights: `[out, in, height, width]`.
fn conv(shapes: &Shapes, name: &str) -> Result<[usize; 4], String> {
    match **shapes.get(name).ok_or_else(|| missing(name))? {
        [out, c_in, height, width] => Ok([out, c_in, height, width]),
        [_, _, _, _, _] => Err(format!("is {}", foreign::VIDEO)),
        ref other => {
            Err(format!("has a tensor `{name}` of shape {other:?}, which is not that of a convolution"))
        }
    }
}

fn missing(name: &str) -> String {
    format!("has no tensor `{name}`")
}

//! The names of a VAE's tensors. This crate uses those of diffusers; most files have those of the models' authors.
//!
//! The tables in this file are the whole mapping, in both directions. Each row is the beginning of a name in the file, and
//! the same in diffusers. What follows it (`conv1.weight`) is renamed by a second table of layers, or stays as it is.
//!
//! | in a row | what |
//! | --- | --- |
//! | `{i}`, `{j}` | a number that is the same on both sides |
//! | `{-i}` | the level `i`, counted from the other end: `levels - 1 - i` |
//! | `{i-1}` | the number before `i` |

use super::Contents;

/// A name in the file, and the same in diffusers.
type Row = (&'static str, &'static str);

/// AutoencoderKL in LDM, the code of Stable Diffusion's authors, which ComfyUI and others keep to. LDM counts the decoder's
/// levels from the finest, diffusers from the coarsest. Attention inside levels (`attn`) is in kl-f16, kl-f32 and VA-VAE.
const LDM: &[Row] = &[
    ("encoder.conv_in", "encoder.conv_in"),
    ("encoder.down.{i}.block.{j}", "encoder.down_blocks.{i}.resnets.{j}"),
    ("encoder.down.{i}.attn.{j}", "encoder.down_blocks.{i}.attentions.{j}"),
    ("encoder.down.{i}.downsample.conv", "encoder.down_blocks.{i}.downsamplers.0.conv"),
    ("encoder.mid.block_1", "encoder.mid_block.resnets.0"),
    ("encoder.mid.attn_1", "encoder.mid_block.attentions.0"),
    ("encoder.mid.block_2", "encoder.mid_block.resnets.1"),
    ("encoder.norm_out", "encoder.conv_norm_out"),
    ("encoder.conv_out", "encoder.conv_out"),
    ("quant_conv", "quant_conv"),
    ("post_quant_conv", "post_quant_conv"),
    ("decoder.conv_in", "decoder.conv_in"),
    ("decoder.mid.block_1", "decoder.mid_block.resnets.0"),
    ("decoder.mid.attn_1", "decoder.mid_block.attentions.0"),
    ("decoder.mid.block_2", "decoder.mid_block.resnets.1"),
    ("decoder.up.{i}.block.{j}", "decoder.up_blocks.{-i}.resnets.{j}"),
    ("decoder.up.{i}.attn.{j}", "decoder.up_blocks.{-i}.attentions.{j}"),
    ("decoder.up.{i}.upsample.conv", "decoder.up_blocks.{-i}.upsamplers.0.conv"),
    ("decoder.norm_out", "decoder.conv_norm_out"),
    ("decoder.conv_out", "decoder.conv_out"),
    ("bn", "bn"),
];

/// FLUX.2 has LDM's names, except for these. They come before the rows of [`LDM`].
const FLUX2: &[Row] = &[("encoder.quant_conv", "quant_conv"), ("decoder.post_quant_conv", "post_quant_conv")];

/// The layers of a residual block and of an attention in LDM. The others have the same names: norm1, conv1, norm2, conv2.
const LDM_LAYERS: &[Row] = &[
    ("nin_shortcut", "conv_shortcut"),
    ("norm", "group_norm"),
    ("q", "to_q"),
    ("k", "to_k"),
    ("v", "to_v"),
    ("proj_out", "to_out.0"),
];

/// Every class in diffusers.
const DIFFUSERS: &[Row] = &[
    ("encoder.down_blocks.{i}.attentions.{j}", "encoder.down_blocks.{i}.attentions.{j}"),
    ("encoder.mid_block.attentions.{j}", "encoder.mid_block.attentions.{j}"),
    ("encoder", "encoder"),
    ("quant_conv", "quant_conv"),
    ("post_quant_conv", "post_quant_conv"),
    ("decoder.mid_block.attentions.{j}", "decoder.mid_block.attentions.{j}"),
    ("decoder.up_blocks.{i}.attentions.{j}", "decoder.up_blocks.{i}.attentions.{j}"),
    ("decoder", "decoder"),
    ("bn", "bn"),
];

/// The layers of an attention in older versions of diffusers.
const OLDER_LAYERS: &[Row] =
    &[("query", "to_q"), ("key", "to_k"), ("value", "to_v"), ("proj_attn", "to_out.0")];

/// Wan 2.1's VAE, which is also that of Qwen-Image, as its authors name it. Its encoder is one list of residual blocks and
/// downsamplings in diffusers, too. Its decoder has three residual blocks and an upsampling at each of four levels.
const WAN: &[Row] = &[
    ("encoder.conv1", "encoder.conv_in"),
    ("encoder.downsamples.{i}", "encoder.down_blocks.{i}"),
    ("encoder.middle.0", "encoder.mid_block.resnets.0"),
    ("encoder.middle.1", "encoder.mid_block.attentions.0"),
    ("encoder.middle.2", "encoder.mid_block.resnets.1"),
    ("encoder.head.0", "encoder.norm_out"),
    ("encoder.head.2", "encoder.conv_out"),
    ("conv1", "quant_conv"),
    ("conv2", "post_quant_conv"),
    ("decoder.conv1", "decoder.conv_in"),
    ("decoder.middle.0", "decoder.mid_block.resnets.0"),
    ("decoder.middle.1", "decoder.mid_block.attentions.0"),
    ("decoder.middle.2", "decoder.mid_block.resnets.1"),
    ("decoder.upsamples.0", "decoder.up_blocks.0.resnets.0"),
    ("decoder.upsamples.1", "decoder.up_blocks.0.resnets.1"),
    ("decoder.upsamples.2", "decoder.up_blocks.0.resnets.2"),
    ("decoder.upsamples.3", "decoder.up_blocks.0.upsamplers.0"),
    ("decoder.upsamples.4", "decoder.up_blocks.1.resnets.0"),
    ("decoder.upsamples.5", "decoder.up_blocks.1.resnets.1"),
    ("decoder.upsamples.6", "decoder.up_blocks.1.resnets.2"),
    ("decoder.upsamples.7", "decoder.up_blocks.1.upsamplers.0"),
    ("decoder.upsamples.8", "decoder.up_blocks.2.resnets.0"),
    ("decoder.upsamples.9", "decoder.up_blocks.2.resnets.1"),
    ("decoder.upsamples.10", "decoder.up_blocks.2.resnets.2"),
    ("decoder.upsamples.11", "decoder.up_blocks.2.upsamplers.0"),
    ("decoder.upsamples.12", "decoder.up_blocks.3.resnets.0"),
    ("decoder.upsamples.13", "decoder.up_blocks.3.resnets.1"),
    ("decoder.upsamples.14", "decoder.up_blocks.3.resnets.2"),
    ("decoder.head.0", "decoder.norm_out"),
    ("decoder.head.2", "decoder.conv_out"),
];

/// The layers of a residual block in Wan. Those of attentions and samplings have the same names.
const WAN_LAYERS: &[Row] = &[
    ("residual.0", "norm1"),
    ("residual.2", "conv1"),
    ("residual.3", "norm2"),
    ("residual.6", "conv2"),
    ("shortcut", "conv_shortcut"),
];

/// `taesd_encoder.safetensors` and the like: the encoder of a TAESD alone.
const TINY_ENCODER: &[Row] = &[("{i}", "encoder.layers.{i}")];

/// `taesd_decoder.safetensors` and the like. Its layer 0, which limits the latents, has no place in diffusers' list.
const TINY_DECODER: &[Row] = &[("{i}", "decoder.layers.{i-1}")];

/// Both halves of a TAESD in one file, as ComfyUI names them.
const TINY: &[Row] =
    &[("taesd_encoder.{i}", "encoder.layers.{i}"), ("taesd_decoder.{i}", "decoder.layers.{i-1}")];

/// What stands before all names of the VAE, the first that fits: in a whole checkpoint (LDM's, diffusers' for single files),
/// and in what training programs save.
const PREFIXES: [&str; 9] = [
    "first_stage_model.",
    "vae.",
    "",
    "model.",
    "model.first_stage_model.",
    "model.vae.",
    "module.",
    "autoencoder.",
    "vae_model.",
];

/// Whose names a file has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    /// Those of diffusers, of any version.
    Diffusers,
    /// LDM's: Stable Diffusion, SDXL, SD3, FLUX.1.
    Ldm,
    /// FLUX.2's authors'.
    Flux2,
    /// Wan 2.1's authors', for Qwen-Image too.
    Wan,
    /// Those of ComfyUI for both halves of a TAESD.
    Tiny,
    /// TAESD's authors', for the encoder alone.
    TinyEncoder,
    /// TAESD's authors', for the decoder alone.
    TinyDecoder,
}

/// One tensor of each naming's encoder and decoder, by which it is recognized. The first that fits is taken.
const SIGNS: &[(Naming, &[&str])] = &[
    (Naming::Flux2, &["encoder.quant_conv.weight", "decoder.post_quant_conv.weight"]),
    (Naming::Ldm, &["encoder.down.0.block.0.conv1.weight", "decoder.up.0.block.0.conv1.weight"]),
    (
        Naming::Diffusers,
        &[
            "encoder.down_blocks.0.resnets.0.conv1.weight", // AutoencoderKL
            "decoder.up_blocks.0.resnets.0.conv1.weight",   // the same, and Wan
            "encoder.mid_block.resnets.0.norm1.gamma",      // Wan
            "encoder.layers.1.conv.0.weight",               // AutoencoderTiny
            "decoder.layers.2.conv.0.weight",
        ],
    ),
    (Naming::Wan, &["encoder.middle.0.residual.0.gamma", "decoder.middle.0.residual.0.gamma"]),
    (Naming::Tiny, &["taesd_encoder.1.conv.0.weight", "taesd_decoder.3.conv.0.weight"]),
    (Naming::TinyEncoder, &["1.conv.0.weight"]),
    (Naming::TinyDecoder, &["3.conv.0.weight"]),
];

impl Naming {
    /// The tables of beginnings and of layers.
    fn tables(self) -> (&'static [&'static [Row]], &'static [Row]) {
        match self {
            Self::Diffusers => (&[DIFFUSERS], OLDER_LAYERS),
            Self::Ldm => (&[LDM], LDM_LAYERS),
            Self::Flux2 => (&[FLUX2, LDM], LDM_LAYERS),
            Self::Wan => (&[WAN], WAN_LAYERS),
            Self::Tiny => (&[TINY], &[]),
            Self::TinyEncoder => (&[TINY_ENCODER], &[]),
            Self::TinyDecoder => (&[TINY_DECODER], &[]),
        }
    }

    /// The name in diffusers of the tensor that is called `name` in a file of a model with this number of levels. `None` if it
    /// is not a tensor of a VAE.
    pub fn to_diffusers(self, name: &str, levels: usize) -> Option<String> {
        let (rows, layers) = self.tables();
        let layer = |rest: &str| layers.iter().find_map(|&(from, to)| rename(from, to, rest, 0));
        rows.iter().copied().flatten().find_map(|&(from, to)| {
            let (numbers, rest) = capture(from, name, levels)?;
            Some(format!("{}.{}", numbers.fill(to, levels)?, layer(rest).unwrap_or_else(|| rest.into())))
        })
    }

    /// The inverse of [`Naming::to_diffusers`]. Of the diffusers versions, the current one.
    pub fn of_diffusers(self, name: &str, levels: usize) -> Option<String> {
        let (rows, layers) = self.tables();
        let layers = if self == Self::Diffusers { &[] } else { layers };
        let layer = |rest: &str| layers.iter().find_map(|&(to, from)| rename(from, to, rest, 0));
        rows.iter().copied().flatten().find_map(|&(to, from)| {
            let (numbers, rest) = capture(from, name, levels)?;
            Some(format!("{}.{}", numbers.fill(to, levels)?, layer(rest).unwrap_or_else(|| rest.into())))
        })
    }

    /// The shape that files with these names give to a tensor, by its name in diffusers. The projections of an attention are
    /// linear layers in diffusers, and convolutions of 1×1 in LDM.
    pub fn shape(self, name: &str, shape: &[usize]) -> Vec<usize> {
        let is_projection = PROJECTIONS.iter().any(|end| name.ends_with(end));
        if !is_projection || shape.len() < 2 || without_ones(shape).len() > 2 {
            return shape.to_vec();
        }
        match self {
            Self::Ldm | Self::Flux2 => vec![shape[0], shape[1], 1, 1],
            _ => vec![shape[0], shape[1]],
        }
    }
}

/// The ends of the names of an attention's projections.
const PROJECTIONS: [&str; 4] = [".to_q.weight", ".to_k.weight", ".to_v.weight", ".to_out.0.weight"];

/// A shape without the ones at its end.
pub(super) fn without_ones(shape: &[usize]) -> &[usize] {
    let end = shape.iter().rposition(|&side| side != 1).map_or(0, |last| last + 1);
    &shape[..end]
}

/// The numbers `i` and `j` of a row.
#[derive(Debug, Default, Clone, Copy)]
struct Numbers {
    i: usize,
    j: usize,
}

impl Numbers {
    /// Writes the numbers into a row.
    fn fill(self, row: &str, levels: usize) -> Option<String> {
        let part = |part: &str| {
            Some(match part {
                "{i}" => self.i.to_string(),
                "{j}" => self.j.to_string(),
                "{-i}" => (levels.checked_sub(1)?.checked_sub(self.i)?).to_string(),
                "{i-1}" => self.i.checked_sub(1)?.to_string(),
                other => other.to_string(),
            })
        };
        let parts: Option<Vec<String>> = row.split('.').map(part).collect();
        Some(parts?.join("."))
    }
}

/// Checks whether `name` begins with the parts of `row`. Returns its numbers and what follows, at least one part.
fn capture<'a>(row: &str, name: &'a str, levels: usize) -> Option<(Numbers, &'a str)> {
    let (mut numbers, mut rest) = (Numbers::default(), name);
    for expected in row.split('.') {
        let (part, after) = rest.split_once('.')?;
        match expected {
            "{i}" => numbers.i = number(part)?,
            "{j}" => numbers.j = number(part)?,
            "{-i}" => numbers.i = levels.checked_sub(1)?.checked_sub(number(part)?)?,
            "{i-1}" => numbers.i = number(part)?.checked_add(1)?,
            literal if literal == part => {}
            _ => return None,
        }
        rest = after;
    }
    Some((numbers, rest))
}

/// A number in a name, without leading zeros or a sign.
fn number(part: &str) -> Option<usize> {
    part.parse().ok().filter(|number: &usize| number.to_string() == part)
}

/// Replaces `from` by `to` at the beginning of `name`.
fn rename(from: &str, to: &str, name: &str, levels: usize) -> Option<String> {
    let (_, rest) = capture(from, name, levels)?;
    Some(format!("{to}.{rest}"))
}

/// How a file names the tensors of its VAE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Names {
    /// What stands before each name.
    pub prefix: &'static str,
    /// What follows it.
    pub naming: Naming,
    /// The number of the decoder's levels, from whose other end LDM counts.
    pub levels: usize,
}

impl Names {
    /// Those of diffusers' own files.
    pub const DIFFUSERS: Self = Self { prefix: "", naming: Naming::Diffusers, levels: 0 };

    /// Recognizes the names of the VAE in a file, which may hold other models too. `None` if there is no VAE in it.
    pub fn of(contents: &Contents) -> Option<Self> {
        let has = |prefix: &str, name: &str| contents.get(&format!("{prefix}{name}")).is_some();
        let of_prefix = |prefix: &'static str| {
            let fits = |signs: &[&str]| signs.iter().any(|sign| has(prefix, sign));
            let &(naming, _) = SIGNS.iter().find(|(_, signs)| fits(signs))?;
            let up = |i: &usize| has(prefix, &format!("decoder.up.{i}.block.0.conv1.weight"));
            Some(Self { prefix, naming, levels: (0..).take_while(up).count() })
        };
        PREFIXES.into_iter().find_map(of_prefix)
    }

    /// The name in diffusers of a tensor in the file. `None` if it is not a tensor of the VAE.
    pub fn to_diffusers(&self, stored: &str) -> Option<String> {
        self.naming.to_diffusers(stored.strip_prefix(self.prefix)?, self.levels)
    }

    /// The name in the file of a tensor of the VAE; the inverse of [`Names::to_diffusers`].
    pub fn of_diffusers(&self, name: &str) -> Option<String> {
        Some(format!("{}{}", self.prefix, self.naming.of_diffusers(name, self.levels)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_no_tensors_of_a_vae_have_no_counterpart() {
        for name in [
            "",
            "encoder",
            "encoder.conv_in",
            "encoder.down.0.block",
            "encoder.down.-1.block.0.conv1.weight",
            "encoder.down.00.block.0.conv1.weight",
            "encoder.down.+1.block.0.conv1.weight",
            "encoder.down.99999999999999999999.block.0.conv1.weight",
            "decoder.up.4.block.0.conv1.weight",
            "loss.logvar",
            "model_ema.decay",
        ] {
            assert_eq!(Naming::Ldm.to_diffusers(name, 4), None, "{name}");
        }
        assert_eq!(Naming::Ldm.to_diffusers("decoder.up.0.block.0.conv1.weight", 0), None);
        assert_eq!(Naming::TinyDecoder.to_diffusers("0.weight", 0), None);
        assert_eq!(Naming::TinyDecoder.of_diffusers("decoder.layers.18446744073709551615.weight", 0), None);
    }

    #[test]
    fn the_older_names_of_an_attention_become_the_current_ones() {
        for at in ["encoder.mid_block.attentions.0", "decoder.up_blocks.1.attentions.2"] {
            for (older, current) in OLDER_LAYERS {
                let (older, current) = (format!("{at}.{older}.weight"), format!("{at}.{current}.weight"));
                assert_eq!(Naming::Diffusers.to_diffusers(&older, 0), Some(current.clone()));
                assert_eq!(Naming::Diffusers.to_diffusers(&current, 0), Some(current.clone()));
                assert_eq!(Naming::Diffusers.of_diffusers(&current, 0), Some(current));
            }
        }
    }
}

//! AutoencoderKL and AutoencoderKLFlux2.

use crate::model::{Config, Kl, Network};

use super::{Shapes, conv, count, missing};

/// What the shapes say about one half of an AutoencoderKL, from the picture's level to the latents'.
#[derive(Debug)]
struct Half {
    channels: Vec<usize>,
    /// Residual blocks in each level.
    layers: usize,
    attention_levels: Vec<bool>,
    mid_attention: bool,
}

/// Infers the config of an AutoencoderKL or an AutoencoderKLFlux2, whose norms have this many groups.
pub fn config_of(shapes: &Shapes, groups: usize) -> Result<Config, String> {
    let encoder = Half::of(shapes, "encoder", "down_blocks", "downsamplers")?;
    let decoder = Half::of(shapes, "decoder", "up_blocks", "upsamplers")?.map(Half::reversed);
    let (first, layers_per_block) = match (&encoder, &decoder) {
        (Some(encoder), _) => (encoder, encoder.layers),
        (None, Some(decoder)) => (decoder, decoder.layers.saturating_sub(1)),
        (None, None) => return Err("has neither an encoder nor a decoder".into()),
    };
    if let (Some(encoder), Some(decoder)) = (&encoder, &decoder) {
        encoder.check_with(decoder)?;
    }
    let latents = Latents::of(shapes, encoder.is_some(), decoder.is_some())?;
    let kl = Kl {
        block_out_channels: first.channels.clone(),
        decoder_block_out_channels: decoder
            .as_ref()
            .map(|half| half.channels.clone())
            .filter(|c| *c != first.channels),
        layers_per_block,
        norm_num_groups: groups,
        inner_channels: Some(latents.inner_channels).filter(|&inner| inner != latents.channels),
        use_quant_conv: latents.quant_conv,
        use_post_quant_conv: latents.post_quant_conv,
        mid_block_add_attention: first.mid_attention,
        attention_levels: match first.attention_levels.contains(&true) {
            true => first.attention_levels.clone(),
            false => Vec::new(),
        },
    };
    if kl.block_out_channels.iter().chain(kl.decoder_channels()).any(|c| !c.is_multiple_of(groups)) {
        return Err(format!(
            "has layers of {:?} channels, which {groups} does not divide, and the number of groups of its norms is not in the \
             file; put the config.json of the same VAE beside it",
            kl.block_out_channels
        ));
    }
    kl.check().map_err(|e| format!("has sizes that are not supported: {e}"))?;
    Ok(Config {
        network: Network::Kl(kl),
        latent_channels: latents.channels,
        scaling: None,
        force_upcast: false,
    })
}

impl Half {
    /// Reads the levels in the order of the names. `None` if the file does not have this half.
    fn of(shapes: &Shapes, half: &str, blocks: &str, samplers: &str) -> Result<Option<Self>, String> {
        if !shapes.keys().any(|name| name.strip_prefix(half).is_some_and(|rest| rest.starts_with('.'))) {
            return Ok(None);
        }
        let has = |name: String| shapes.contains_key(&name);
        let block = |i: usize| format!("{half}.{blocks}.{i}");
        let resnets = |i: usize| count(shapes, |j| format!("{}.resnets.{j}.conv1.weight", block(i)));
        let levels = (0..).take_while(|&i| resnets(i) > 0).count();
        if levels == 0 {
            return Err(missing(&format!("{}.resnets.0.conv1.weight", block(0))));
        }
        let mut channels = Vec::new();
        for i in 0..levels {
            let [out, ..] = conv(shapes, &format!("{}.resnets.0.conv1.weight", block(i)))?;
            channels.push(out);
            if resnets(i) != resnets(0) {
                return Err(format!(
                    "has {} residual blocks in `{}` and {} in `{}`; VAEs with as many in each are supported",
                    resnets(0),
                    block(0),
                    resnets(i),
                    block(i)
                ));
            }
            let is_last = i + 1 == levels;
            match has(format!("{}.{samplers}.0.conv.weight", block(i))) {
                false if !is_last => return Err(missing(&format!("{}.{samplers}.0.conv.weight", block(i)))),
                true if is_last => {
                    return Err(format!("has `{samplers}` in its last level; such a VAE is not supported"));
                }
                _ => {}
            }
        }
        let has_attention = |block: &str| has(format!("{block}.attentions.0.to_q.weight"));
        Ok(Some(Self {
            channels,
            layers: resnets(0),
            attention_levels: (0..levels).map(|i| has_attention(&block(i))).collect(),
            mid_attention: has_attention(&format!("{half}.mid_block")),
        }))
    }

    /// diffusers lists the decoder's levels from the latents to the picture.
    fn reversed(mut self) -> Self {
        self.channels.reverse();
        self.attention_levels.reverse();
        self
    }

    /// Fails if an encoder and a decoder are not those of one AutoencoderKL.
    fn check_with(&self, decoder: &Self) -> Result<(), String> {
        let differ = |what: &str, encoder: String, decoder: String| {
            Err(format!(
                "has {encoder} {what} in its encoder and {decoder} in its decoder, which do not belong together"
            ))
        };
        let count = |value: usize| value.to_string();
        if self.channels.len() != decoder.channels.len() {
            return differ("levels", count(self.channels.len()), count(decoder.channels.len()));
        }
        if self.layers + 1 != decoder.layers {
            return differ("residual blocks in each level", count(self.layers), count(decoder.layers));
        }
        if self.attention_levels != decoder.attention_levels || self.mid_attention != decoder.mid_attention {
            return Err(
                "has attention in other levels of its encoder than of its decoder, which is not supported"
                    .into(),
            );
        }
        Ok(())
    }
}

/// What the shapes say about the latents.
struct Latents {
    /// Channels of z.
    channels: usize,
    /// Channels of the decoder's input; the encoder's output has twice as many.
    inner_channels: usize,
    quant_conv: bool,
    post_quant_conv: bool,
}

impl Latents {
    fn of(shapes: &Shapes, encoder: bool, decoder: bool) -> Result<Self, String> {
        let pictures = |channels: usize| match channels {
            3 => Ok(()),
            n => Err(format!("is a VAE for pictures with {n} channels; pictures with 3 are supported")),
        };
        let (mut outputs, mut inputs) = (None, None);
        if encoder {
            let [_, channels, ..] = conv(shapes, "encoder.conv_in.weight")?;
            pictures(channels)?;
            let [channels, ..] = conv(shapes, "encoder.conv_out.weight")?;
            outputs = Some(channels);
        }
        if decoder {
            let [channels, ..] = conv(shapes, "decoder.conv_out.weight")?;
            pictures(channels)?;
            let [_, channels, ..] = conv(shapes, "decoder.conv_in.weight")?;
            inputs = Some(channels);
        }
        let inner_channels = match (outputs, inputs) {
            (Some(outputs), Some(inputs)) if outputs != 2 * inputs => {
                return Err(format!(
                    "has an encoder with {outputs} output channels for a decoder with {inputs}; an AutoencoderKL's has twice as \
                     many, for mean and variance"
                ));
            }
            (_, Some(inputs)) => inputs,
            (Some(outputs), None) => outputs / 2,
            (None, None) => 0,
        };
        let optional = |name: &str| match shapes.contains_key(name) {
            true => conv(shapes, name).map(Some),
            false => Ok(None),
        };
        let quant_conv = optional("quant_conv.weight")?;
        let post_quant_conv = optional("post_quant_conv.weight")?;
        let channels = match (post_quant_conv, quant_conv) {
            (Some([_, channels, ..]), _) => channels,
            (None, Some([moments, ..])) => moments / 2,
            (None, None) => inner_channels,
        };
        Ok(Self {
            channels,
            inner_channels,
            // A half alone does not say whether the other one has its convolution.
            quant_conv: if encoder { quant_conv.is_some() } else { post_quant_conv.is_some() },
            post_quant_conv: if decoder { post_quant_conv.is_some() } else { quant_conv.is_some() },
        })
    }
}

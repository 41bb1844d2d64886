//! AutoencoderTiny: two lists of layers. Those without tensors, ReLU and upsampling, have numbers, too.

use crate::model::{Config, Network, Stages, Tiny};

use super::{Shapes, conv, missing};

/// Layers of the largest list that is read.
const MOST_LAYERS: usize = 256;

/// Infers the config. A half that is not in the file counts as the mirror image of the other.
pub fn config_of(shapes: &Shapes) -> Result<Config, String> {
    let encoder = Half::of(shapes, "encoder")?;
    let decoder = Half::of(shapes, "decoder")?;
    let latents = [encoder.as_ref().map(|half| half.last), decoder.as_ref().map(|half| half.first)];
    let pictures = [encoder.as_ref().map(|half| half.first), decoder.as_ref().map(|half| half.last)];
    if let Some(other) = pictures.into_iter().flatten().find(|&channels| channels != 3) {
        return Err(format!("is a VAE for pictures with {other} channels; pictures with 3 are supported"));
    }
    let latent_channels = match latents {
        [Some(encoder), Some(decoder)] if encoder != decoder => {
            return Err(format!("has an encoder of {encoder} latent channels and a decoder of {decoder}"));
        }
        [encoder, decoder] => encoder.or(decoder).unwrap_or_default(),
    };
    let mirrored = |half: &Half| {
        let Stages { channels, blocks } = &half.stages;
        Stages { channels: *channels, blocks: blocks.iter().rev().copied().collect() }
    };
    let (encoder, decoder) = match (encoder, decoder) {
        (Some(encoder), Some(decoder)) => (encoder.stages, decoder.stages),
        (Some(encoder), None) => (encoder.stages.clone(), mirrored(&encoder)),
        (None, Some(decoder)) => (mirrored(&decoder), decoder.stages),
        (None, None) => return Err("has neither an encoder nor a decoder".into()),
    };
    let tiny = Tiny { encoder, decoder };
    tiny.check().map_err(|e| format!("has sizes that are not supported: {e}"))?;
    Ok(Config { network: Network::Tiny(tiny), latent_channels, scaling: None, force_upcast: false })
}

/// What the shapes say about one half.
struct Half {
    /// Input channels of the first convolution.
    first: usize,
    /// Output channels of the last one.
    last: usize,
    stages: Stages,
}

impl Half {
    /// Each convolution before the last one begins a stage, whose blocks follow it.
    fn of(shapes: &Shapes, half: &str) -> Result<Option<Self>, String> {
        if !shapes.keys().any(|name| name.starts_with(&format!("{half}.layers."))) {
            return Ok(None);
        }
        let (mut convolutions, mut blocks) = (Vec::new(), Vec::new());
        for i in 0..MOST_LAYERS {
            let layer = format!("{half}.layers.{i}");
            if shapes.contains_key(&format!("{layer}.conv.0.weight")) {
                *blocks.last_mut().ok_or_else(|| missing(&format!("{half}.layers.0.weight")))? += 1;
            } else if shapes.contains_key(&format!("{layer}.weight")) {
                convolutions.push(conv(shapes, &format!("{layer}.weight"))?);
                blocks.push(0);
            }
        }
        match (convolutions.as_slice(), blocks.as_slice()) {
            ([[channels, first, ..], .., [last, ..]], [blocks @ .., 0]) => Ok(Some(Self {
                first: *first,
                last: *last,
                stages: Stages { channels: *channels, blocks: blocks.to_vec() },
            })),
            _ => Err(format!("has no last convolution in its {half}, or no first one")),
        }
    }
}

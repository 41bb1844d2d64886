//! AutoencoderKLWan of Wan 2.1 and AutoencoderKLQwenImage. The scaling is that of these models, since there are no others.

use crate::model::{Config, Network, Wan};

use super::{Shapes, count, foreign, missing};

/// Channels of the latents of Wan 2.1 and Qwen-Image.
const LATENT_CHANNELS: usize = 16;

/// Infers the config. A half that is not in the file counts as having the channels of the other.
pub fn config_of(shapes: &Shapes) -> Result<Config, String> {
    let half = |name: &str| shapes.contains_key(&format!("{name}.conv_in.weight"));
    let encoder = half("encoder").then(|| Encoder::of(shapes)).transpose()?;
    let decoder = half("decoder").then(|| Decoder::of(shapes)).transpose()?;
    let (channels, layers, latent_channels) = match (&encoder, &decoder) {
        (Some(encoder), _) => (&encoder.channels, encoder.layers, encoder.latent_channels),
        (None, Some(decoder)) => {
            (&decoder.channels, decoder.layers.saturating_sub(1), decoder.latent_channels)
        }
        (None, None) => return Err(missing("encoder.conv_in.weight")),
    };
    let base_dim = encoder.as_ref().map_or(channels[0], |encoder| encoder.base_dim);
    let multiples = |channels: &[usize], base: usize| -> Option<Vec<usize>> {
        channels.iter().map(|c| (base > 0 && c.is_multiple_of(base)).then(|| c / base)).collect()
    };
    let dim_mult = multiples(channels, base_dim)
        .ok_or_else(|| format!("has layers of {channels:?} channels, which {base_dim} does not divide"))?;
    let decoder_base_dim = decoder.as_ref().map_or(base_dim, |half| half.channels[0] / dim_mult[0].max(1));
    if let (Some(encoder), Some(decoder)) = (&encoder, &decoder)
        && (encoder.layers + 1 != decoder.layers
            || encoder.latent_channels != decoder.latent_channels
            || multiples(&decoder.channels, decoder_base_dim) != Some(dim_mult.clone()))
    {
        return Err("has an encoder and a decoder that do not belong together".into());
    }
    if latent_channels != LATENT_CHANNELS {
        return Err(format!(
            "has {latent_channels} latent channels; Wan 2.1 and Qwen-Image have {LATENT_CHANNELS}"
        ));
    }
    let wan = Wan { base_dim, decoder_base_dim, dim_mult, num_res_blocks: layers };
    wan.check().map_err(|e| format!("has sizes that are not supported: {e}"))?;
    let scaling = Some(Wan::usual_scaling());
    Ok(Config { network: Network::Wan(wan), latent_channels, scaling, force_upcast: false })
}

/// What the shapes say about the encoder.
struct Encoder {
    base_dim: usize,
    channels: Vec<usize>,
    /// Residual blocks in each level.
    layers: usize,
    latent_channels: usize,
}

impl Encoder {
    /// Its `down_blocks` are one list: the residual blocks of a level, then a downsampling, and so on.
    fn of(shapes: &Shapes) -> Result<Self, String> {
        let [base_dim, pictures] = conv(shapes, "encoder.conv_in.weight")?;
        check_pictures(pictures)?;
        let resnet = |i: usize| format!("encoder.down_blocks.{i}.conv1.weight");
        let layers = count(shapes, resnet);
        let is_resample =
            |i: usize| shapes.contains_key(&format!("encoder.down_blocks.{i}.resample.1.weight"));
        let (mut channels, mut i) = (Vec::new(), 0);
        while shapes.contains_key(&resnet(i)) {
            channels.push(conv(shapes, &resnet(i))?[0]);
            i += layers;
            if !is_resample(i) {
                break;
            }
            i += 1;
        }
        if channels.is_empty() {
            return Err(missing(&resnet(0)));
        }
        if shapes.contains_key(&resnet(i)) || is_resample(i + 1) {
            return Err("has not as many residual blocks in each level, which is not supported".into());
        }
        let [moments, _] = conv(shapes, "encoder.conv_out.weight")?;
        Ok(Self { base_dim, channels, layers, latent_channels: moments / 2 })
    }
}

/// What the shapes say about the decoder.
struct Decoder {
    /// From the picture's level to the latents'.
    channels: Vec<usize>,
    layers: usize,
    latent_channels: usize,
}

impl Decoder {
    fn of(shapes: &Shapes) -> Result<Self, String> {
        let resnet = |i: usize, j: usize| format!("decoder.up_blocks.{i}.resnets.{j}.conv1.weight");
        let levels = count(shapes, |i| resnet(i, 0));
        let channels: Result<Vec<usize>, String> =
            (0..levels).rev().map(|i| Ok(conv(shapes, &resnet(i, 0))?[0])).collect();
        let channels = channels?;
        if channels.is_empty() {
            return Err(missing(&resnet(0, 0)));
        }
        let [_, latent_channels] = conv(shapes, "decoder.conv_in.weight")?;
        check_pictures(conv(shapes, "decoder.conv_out.weight")?[0])?;
        Ok(Self { channels, layers: count(shapes, |j| resnet(0, j)), latent_channels })
    }
}

/// Output and input channels of a convolution over time, height and width.
fn conv(shapes: &Shapes, name: &str) -> Result<[usize; 2], String> {
    match **shapes.get(name).ok_or_else(|| missing(name))? {
        [out, c_in, _, _, _] => Ok([out, c_in]),
        ref other => Err(format!("has a tensor `{name}` of shape {other:?}, which has not five dimensions")),
    }
}

/// Wan 2.2 has patches of 2×2 pixels as channels.
fn check_pictures(channels: usize) -> Result<(), String> {
    match channels {
        3 => Ok(()),
        12 => Err(format!("is Wan 2.2's VAE, {}", foreign::VIDEO)),
        n => Err(format!("is a VAE for pictures with {n} channels; pictures with 3 are supported")),
    }
}

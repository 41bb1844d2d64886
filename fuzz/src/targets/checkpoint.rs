//! Checkpoints: `config.json`, `model_index.json` and the weights file, up to the model and its results.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use candle_core::{Device, Tensor};
use serde_json::{Map, Value, json};

use vae::checkpoint::{Checkpoint, Hub, Source, Variant};
use vae::device::Cpu;
use vae::model::{
    Config, DecodeLatents, EncodePictures, Network, Parameter, Parameters, Tensors, latent_decoder,
    picture_encoder,
};

use super::fnv1a;

/// Larger models are not built.
const MOST_CHANNELS: usize = 64;

/// Of so many inputs, one computes with its model. It takes longer than everything else.
const COMPUTED: u64 = 8;

/// Opens the checkpoint that `data` describes, builds its model if it is small, and computes with it.
pub fn run(data: &[u8]) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    if write(data, folder.path()).is_none() {
        return;
    }
    let hub = Hub { offline: true, cache: folder.path().join("hub"), progress: None, ..Hub::from_env() };
    let source = Source::Path(folder.path().join("vae"));
    let Ok(checkpoint) = Checkpoint::open(&source, None, Variant::Full, &hub) else { return };
    let contents = checkpoint.tensors().contents();
    let modules = checkpoint.modules();
    assert_eq!(modules.parameters, contents.parameters());
    assert_eq!(modules.rows().is_empty(), modules.to_string().is_empty());
    checkpoint.pipeline(&hub);
    let config = checkpoint.config();
    if !is_small(config) {
        return;
    }
    let cpu = Cpu::new().expect("a level");
    let Ok(encoder) = picture_encoder(&cpu, config, checkpoint.parameters()) else { return };
    let Ok(decoder) = latent_decoder(&cpu, config, checkpoint.parameters()) else { return };
    if fnv1a(data).is_multiple_of(COMPUTED) {
        compute(&*encoder, &*decoder, config);
    }
}

/// Encodes and decodes a small picture. The weights may be any numbers, so the results may not be finite.
fn compute(encoder: &dyn EncodePictures, decoder: &dyn DecodeLatents, config: &Config) {
    let side = config.downscale();
    let (height, width) = (side, 2 * side);
    let pixels = (0..3 * height * width).map(|i| (i % 17) as f32 / 8.0 - 1.0).collect();
    let picture = Tensor::from_vec(pixels, (1, 3, height, width), &Device::Cpu).expect("pixels");
    let Ok(posterior) = encoder.encode(&picture) else { return };
    assert_eq!(posterior.mean().dims(), [1, config.latent_channels, 1, 2]);
    let Ok(latents) = config.scale(posterior.mean()).and_then(|scaled| config.unscale(&scaled)) else {
        return;
    };
    let Ok(decoded) = decoder.decode(&latents) else { return };
    assert_eq!(decoded.dims(), [1, 3, height, width]);
}

fn is_small(config: &Config) -> bool {
    let (channels, layers) = match &config.network {
        Network::Kl(kl) => {
            ([kl.block_out_channels.as_slice(), kl.decoder_channels()].concat(), kl.layers_per_block)
        }
        Network::Wan(wan) => ([wan.encoder_channels(), wan.decoder_channels()].concat(), wan.num_res_blocks),
        Network::Tiny(tiny) => {
            let halves = [&tiny.encoder, &tiny.decoder];
            let layers = halves.iter().flat_map(|half| &half.blocks).copied().max();
            let channels = halves.map(|half| vec![half.channels; half.blocks.len()]).concat();
            (channels, layers.unwrap_or(0))
        }
    };
    let channels = channels.into_iter().fold(0usize, usize::saturating_add);
    channels <= 2 * MOST_CHANNELS && layers <= 2 && config.latent_channels <= 16
}

/// Writes `vae/config.json`, the weights beside it, and `model_index.json` into `folder`. `None` if that would take long.
///
/// After the first byte of `data` comes the JSON for both, up to a byte 0. The rest is the weights file if the first byte is
/// 0. Otherwise, the weights are those that the config needs, with the changes that the rest describes.
pub fn write(data: &[u8], folder: &Path) -> Option<()> {
    let (&kind, rest) = data.split_first()?;
    let end = rest.iter().position(|&byte| byte == 0).unwrap_or(rest.len());
    let (text, rest) = (&rest[..end], rest.get(end + 1..).unwrap_or_default());
    let weights = match kind {
        0 => rest.to_vec(),
        _ => changed(&std::str::from_utf8(text).ok().and_then(|text| Config::from_json(text).ok())?, rest)?,
    };
    let vae = folder.join("vae");
    fs::create_dir(&vae).expect("a folder");
    fs::write(vae.join("config.json"), text).expect("a config");
    fs::write(folder.join("model_index.json"), text).expect("an index");
    fs::write(vae.join("diffusion_pytorch_model.safetensors"), weights).expect("weights");
    Some(())
}

/// One tensor of a weights file.
#[derive(Clone)]
struct Entry {
    name: String,
    dtype: &'static str,
    shape: Vec<u64>,
    offsets: [u64; 2],
}

/// Types and their bytes per value.
const DTYPES: [(&str, u64); 12] = [
    ("F32", 4),
    ("F16", 2),
    ("BF16", 2),
    ("F64", 8),
    ("U8", 1),
    ("I8", 1),
    ("I64", 8),
    ("U32", 4),
    ("BOOL", 1),
    ("F8_E4M3", 1),
    ("F8_E8M0", 1),
    ("F4", 1),
];

/// Returns a weights file for `config` with changes. A change is four bytes: the tensor, what to change, and a number.
fn changed(config: &Config, changes: &[u8]) -> Option<Vec<u8>> {
    let tensors = if is_small(config) { tensors(config) } else { Vec::new() };
    let mut entries: Vec<Entry> = tensors
        .into_iter()
        .map(|(name, shape)| Entry { name, dtype: "F32", shape, offsets: [0, 0] })
        .collect();
    let (changes, _) = changes.as_chunks::<4>();
    let number = |change: &[u8; 4]| u16::from_le_bytes([change[2], change[3]]);
    for change in changes {
        let Some(i) = usize::from(change[0]).checked_rem(entries.len()) else { break };
        change_layout(&mut entries, i, change[1], number(change));
    }
    let mut len = 0;
    for entry in &mut entries {
        let (_, size) = DTYPES.iter().find(|(name, _)| *name == entry.dtype)?;
        let bytes = entry.shape.iter().try_fold(*size, |n, side| n.checked_mul(*side))?;
        entry.offsets = [len, len.checked_add(bytes).filter(|&end| end <= 1 << 20)?];
        len = entry.offsets[1];
    }
    // Small numbers of every type: a byte 0x3c or 0xbc is the upper one of a float.
    let mut data: Vec<u8> =
        (0..len).map(|i| if i % 2 == 0 { i as u8 } else { 0x3c | (i as u8 & 0x80) }).collect();
    let mut cut = 0;
    for change in changes {
        let Some(i) = usize::from(change[0]).checked_rem(entries.len()) else { break };
        cut += change_bytes(&mut entries, &mut data, i, change[1], number(change));
    }
    let listed =
        |e: &Entry| (e.name.clone(), json!({"dtype": e.dtype, "shape": e.shape, "data_offsets": e.offsets}));
    let header = Value::Object(entries.iter().map(listed).collect::<Map<_, _>>()).to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.bytes());
    file.extend(data);
    file.truncate(file.len().saturating_sub(cut));
    Some(file)
}

/// Changes that the offsets and the length of the file follow.
fn change_layout(entries: &mut Vec<Entry>, i: usize, what: u8, number: u16) {
    let entry = &mut entries[i];
    match what % 16 {
        0 => entry.dtype = DTYPES[usize::from(number) % DTYPES.len()].0,
        1 => {
            let side = usize::from(number >> 8).checked_rem(entry.shape.len());
            side.inspect(|&side| entry.shape[side] = u64::from(number & 0xff));
        }
        2 => _ = entry.shape.pop(),
        3 => entry.shape.push(1),
        4 => _ = entries.remove(i),
        5 => {
            for (new, old) in
                [("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")]
            {
                entry.name = entry.name.replace(new, old);
            }
        }
        6 => entry.name.push(char::from_u32(number.into()).unwrap_or('.')),
        7 => entries.iter_mut().for_each(|entry| entry.dtype = DTYPES[usize::from(number) % 4].0),
        _ => {}
    }
}

/// Changes that make the header wrong, or that are in the data. Returns how many bytes the end of the file loses.
fn change_bytes(entries: &mut [Entry], data: &mut [u8], i: usize, what: u8, number: u16) -> usize {
    let other = usize::from(number) % entries.len();
    let swapped = entries[other].offsets;
    let entry = &mut entries[i];
    let [start, end] = entry.offsets;
    match what % 16 {
        8 => entry.dtype = DTYPES[usize::from(number) % DTYPES.len()].0,
        9 => {
            let side = usize::from(number >> 8).checked_rem(entry.shape.len());
            side.inspect(|&side| entry.shape[side] = 1u64.checked_shl(u32::from(number & 0x3f)).unwrap_or(0));
        }
        10 => entry.offsets[0] = start.wrapping_add_signed(i64::from(number as i16)),
        11 => entry.offsets[1] = end.wrapping_add_signed(i64::from(number as i16)),
        12 => entry.offsets = swapped,
        13 => entry.shape.reverse(),
        14 => {
            // The end of the tensor's data: NaN, an infinity, or anything else.
            let at = (end as usize).min(data.len());
            data[at.saturating_sub(2)..at]
                .iter_mut()
                .zip(number.to_le_bytes())
                .for_each(|(to, byte)| *to = byte);
        }
        15 => return usize::from(number),
        _ => {}
    }
    0
}

/// The names and shapes of the tensors that the model asks for.
fn tensors(config: &Config) -> Vec<NameAndShape> {
    let asked = Asked::default();
    let cpu = Cpu::new().expect("a level");
    let parameters = || Parameters::new(asked.clone());
    if picture_encoder(&cpu, config, parameters()).and(latent_decoder(&cpu, config, parameters())).is_err() {
        return Vec::new();
    }
    let mut tensors = std::mem::take(&mut *asked.0.lock().expect("no panics"));
    tensors.sort();
    tensors.dedup();
    tensors
}

/// Has every tensor, and remembers those that were asked for.
#[derive(Clone, Default)]
struct Asked(Arc<Mutex<Vec<NameAndShape>>>);

type NameAndShape = (String, Vec<u64>);

impl Tensors for Asked {
    fn get(&self, name: &str, shape: &[usize]) -> candle_core::Result<Parameter> {
        let sides = shape.iter().map(|&side| side as u64).collect();
        self.0.lock().expect("no panics").push((name.to_string(), sides));
        Ok(Parameter::owned(vec![0.0; shape.iter().product()]))
    }

    /// Of the attention's tensors, only those with the current names exist.
    fn contains(&self, name: &str) -> bool {
        !["query", "key", "value", "proj_attn"].iter().any(|old| name.contains(&format!(".{old}.")))
    }
}

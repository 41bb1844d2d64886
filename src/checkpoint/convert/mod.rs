//! Writing the VAE of a checkpoint into a new file: under other names, in another number format, or taken out of a whole
//! checkpoint.
//!
//! | file | what |
//! | --- | --- |
//! | `config_json` | the text of a `config.json` |
//! | `numbers` | number formats, rounded to the nearest value |
//!
//! Tensors are read and written one after the other, so that a conversion needs little memory.

mod config_json;
mod numbers;

use std::collections::BTreeMap;
use std::io::{self, Write};

use safetensors::Dtype;
use serde_json::{Map, Value, json};

use crate::model::Network;

use super::evidence::Evidence;
use super::names::Naming;
use super::single_file::CONFIG_KEY;
use super::{Checkpoint, CheckpointError};

pub use config_json::config_json;

/// Whose names the tensors get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Those of diffusers.
    Diffusers,
    /// Those of the model's authors: LDM's, and for other networks Wan's or TAESD's.
    Ldm,
}

/// Why a conversion failed.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// The checkpoint cannot be read, or does not have what the new file needs.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A tensor cannot be read.
    #[error("{0}")]
    Tensor(String),
    /// A value is too large for the number format.
    #[error(
        "tensor `{name}` has the value {value:e}, which is too large for {dtype:?}; use another --dtype, such as bf16"
    )]
    TooLarge {
        /// The tensor, as the checkpoint names it.
        name: String,
        /// The value.
        value: f64,
        /// The format.
        dtype: Dtype,
    },
    /// The new file cannot be written.
    #[error(transparent)]
    Write(#[from] io::Error),
}

/// A safetensors file that is to be written.
#[derive(Debug)]
pub struct Conversion<'a> {
    checkpoint: &'a Checkpoint,
    /// In the order of the file.
    tensors: Vec<Converted>,
    metadata: BTreeMap<String, String>,
    left_out: usize,
}

/// One tensor.
#[derive(Debug)]
struct Converted {
    stored: String,
    from: Dtype,
    name: String,
    to: Dtype,
    shape: Vec<usize>,
}

impl Converted {
    fn bytes(&self) -> u64 {
        self.shape.iter().product::<usize>() as u64 * self.to.bitsize() as u64 / 8
    }
}

impl<'a> Conversion<'a> {
    /// Plans a conversion. Floating-point numbers are rounded to `dtype`, one of F32, F16 and BF16, or keep their format and
    /// their bytes.
    ///
    /// # Errors
    /// If a tensor has a format that cannot be converted, such as F8.
    pub fn new(
        checkpoint: &'a Checkpoint,
        layout: Layout,
        dtype: Option<Dtype>,
    ) -> Result<Self, ConvertError> {
        let vae = checkpoint.tensors();
        let (naming, levels) = naming(checkpoint, layout);
        let (mut tensors, mut left_out) = (Vec::new(), vae.weights().contents().tensors.len());
        for (name, entry) in vae.stored() {
            let Some(new) = naming.of_diffusers(name, levels) else { continue };
            let unreadable = || {
                ConvertError::Tensor(format!(
                    "{}: tensor `{}` has the type {}, which cannot be converted; convert weights in F16, BF16, F32 or F64",
                    vae.weights().name().display(),
                    entry.name,
                    entry.dtype
                ))
            };
            let from = serde_json::from_value(entry.dtype.as_str().into()).map_err(|_| unreadable())?;
            let to = match from {
                Dtype::F16 | Dtype::BF16 | Dtype::F32 | Dtype::F64 => dtype.unwrap_or(from),
                Dtype::I64 => from, // the batches that a batch norm has seen
                _ => return Err(unreadable()),
            };
            let shape = naming.shape(name, &entry.shape);
            tensors.push(Converted { stored: entry.name.clone(), from, name: new, to, shape });
            left_out -= 1;
        }
        // As the safetensors library orders them, so that all values are aligned.
        tensors.sort_by(|a, b| b.to.cmp(&a.to).then_with(|| a.name.cmp(&b.name)));
        Ok(Self { checkpoint, tensors, metadata: metadata(checkpoint)?, left_out })
    }

    /// The number of tensors.
    pub fn tensors(&self) -> usize {
        self.tensors.len()
    }

    /// The number of tensors of the checkpoint that are not in the new file, such as those of the diffusion model around it.
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    /// The number of bytes of the values.
    pub fn bytes(&self) -> u64 {
        self.tensors.iter().map(Converted::bytes).sum()
    }

    /// Writes the file. With `has_config`, a `config.json` states the config, otherwise it is a part of the metadata.
    ///
    /// # Errors
    /// Those of the checkpoint and of `to`. Also if a value is too large for the number format. What has been written then is
    /// not complete.
    pub fn write(&self, has_config: bool, to: &mut dyn Write) -> Result<(), ConvertError> {
        let header = self.header(has_config);
        to.write_all(&(header.len() as u64).to_le_bytes())?;
        to.write_all(&header)?;
        for tensor in &self.tensors {
            let bytes = self.checkpoint.weights().raw(&tensor.stored);
            let bytes = bytes.map_err(|e| ConvertError::Tensor(e.to_string()))?;
            if tensor.from == tensor.to {
                to.write_all(&bytes)?;
                continue;
            }
            let mut converted = Vec::new();
            for chunk in bytes.chunks(1 << 20) {
                converted.clear();
                numbers::convert(chunk, tensor.from, tensor.to, &mut converted).map_err(|value| {
                    ConvertError::TooLarge { name: tensor.stored.clone(), value, dtype: tensor.to }
                })?;
                to.write_all(&converted)?;
            }
        }
        Ok(())
    }

    fn header(&self, has_config: bool) -> Vec<u8> {
        let (mut entries, mut metadata, mut start) = (Map::new(), self.metadata.clone(), 0);
        if has_config {
            metadata.remove(CONFIG_KEY);
        }
        for tensor in &self.tensors {
            let end = start + tensor.bytes();
            let entry = json!({"dtype": tensor.to, "shape": tensor.shape, "data_offsets": [start, end]});
            entries.insert(tensor.name.clone(), entry);
            start = end;
        }
        entries.insert("__metadata__".into(), json!(metadata));
        let mut header = Value::Object(entries).to_string().into_bytes();
        header.resize(header.len().next_multiple_of(8), b' '); // the values are aligned
        header
    }
}

/// The names of a layout, and the decoder's levels.
fn naming(checkpoint: &Checkpoint, layout: Layout) -> (Naming, usize) {
    let config = checkpoint.config();
    match (layout, &config.network) {
        (Layout::Diffusers, _) => (Naming::Diffusers, 0),
        (Layout::Ldm, Network::Kl(kl)) => {
            let flux2 = checkpoint.tensors().stored().contains_key("bn.running_mean");
            (if flux2 { Naming::Flux2 } else { Naming::Ldm }, kl.block_out_channels.len())
        }
        (Layout::Ldm, Network::Wan(_)) => (Naming::Wan, 0),
        (Layout::Ldm, Network::Tiny(_)) => (Naming::Tiny, 0),
    }
}

/// The metadata of the new file. What describes the whole file of the checkpoint, such as its hash, is left out.
fn metadata(checkpoint: &Checkpoint) -> Result<BTreeMap<String, String>, CheckpointError> {
    let tensors = checkpoint.tensors();
    let mut metadata = tensors.contents().metadata;
    let is_of_model = |key: &str| !tensors.is_part() || key.starts_with("modelspec.");
    metadata.retain(|key, _| is_of_model(key) && !key.contains("hash") && key != "modelspec.thumbnail");
    metadata.insert("format".into(), "pt".into());
    match config_json(checkpoint) {
        Ok(text) => _ = metadata.insert(CONFIG_KEY.into(), text),
        // What the options say must not be lost.
        Err(e) if matches!(checkpoint.recognition().evidence, Some(Evidence::Options(_))) => return Err(e),
        Err(_) => _ = metadata.remove(CONFIG_KEY),
    }
    Ok(metadata)
}

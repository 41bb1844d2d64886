//! The tensors of the VAE in a weights file, by their names in diffusers, whatever the file calls them and whatever else is
//! in it.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use candle_core::{Error, Result};
use sha2::{Digest, Sha256};

use crate::model::{Parameter, Tensors};

use super::contents::Entry;
use super::names::{Names, Naming, without_ones};
use super::weights::hex;
use super::{CheckpointError, Contents, Weights};

/// The tensors of one VAE. Cheap to clone.
#[derive(Debug, Clone)]
pub struct VaeTensors {
    weights: Weights,
    names: Names,
    /// By the names in diffusers; the entries have those in the file.
    stored: Arc<BTreeMap<String, Entry>>,
    /// Whether the names are known to be a VAE's.
    is_recognized: bool,
    /// Bytes of the tensors in the file that are not the VAE's.
    other_bytes: u64,
    /// The digest of the VAE alone.
    sha256: Arc<OnceLock<String>>,
}

impl VaeTensors {
    /// Finds the VAE in a file. If nothing in it is known, all of its names count as those of diffusers.
    pub(super) fn of(weights: Weights) -> Self {
        let contents = weights.contents();
        let known = Names::of(&contents);
        let names = known.unwrap_or(Names::DIFFUSERS);
        let (mut stored, mut other_bytes) = (BTreeMap::new(), 0u64);
        for entry in contents.tensors {
            match names.to_diffusers(&entry.name) {
                Some(name) => _ = stored.entry(name).or_insert(entry),
                None => other_bytes = other_bytes.saturating_add(entry.bytes()),
            }
        }
        let (stored, is_recognized) = (Arc::new(stored), known.is_some());
        Self { weights, names, stored, is_recognized, other_bytes, sha256: Arc::default() }
    }

    /// The whole file.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// Whether the file has tensors by which a VAE is recognized.
    pub(super) fn is_recognized(&self) -> bool {
        self.is_recognized
    }

    /// How the file names the tensors.
    pub fn names(&self) -> Names {
        self.names
    }

    /// The tensors by their names in diffusers. The entries have the names in the file.
    pub fn stored(&self) -> &BTreeMap<String, Entry> {
        &self.stored
    }

    /// The VAE's tensors under their names and with their shapes in diffusers, and the metadata of the file.
    pub fn contents(&self) -> Contents {
        let renamed = |(name, entry): (&String, &Entry)| Entry {
            name: name.clone(),
            dtype: entry.dtype.clone(),
            shape: Naming::Diffusers.shape(name, &entry.shape),
        };
        Contents {
            tensors: self.stored.iter().map(renamed).collect(),
            metadata: self.weights.contents().metadata,
        }
    }

    /// Bytes of the VAE's tensors.
    pub fn bytes(&self) -> u64 {
        self.stored.values().map(Entry::bytes).fold(0, u64::saturating_add)
    }

    /// Whether most of the file is something else, such as the diffusion model of a whole checkpoint.
    pub fn is_part(&self) -> bool {
        self.other_bytes > self.bytes()
    }

    /// The SHA-256 of the weights file, in lower-case hexadecimal digits. If most of the file is not the VAE, that of the
    /// VAE's tensors alone: of each in the order of the names, the name in diffusers, type, shape and values.
    ///
    /// # Errors
    /// [`CheckpointError::Read`] if the file cannot be read or its length has changed.
    pub fn sha256(&self) -> std::result::Result<&str, CheckpointError> {
        if !self.is_part() {
            return self.weights.sha256();
        }
        if let Some(digest) = self.sha256.get() {
            return Ok(digest);
        }
        let mut sha256 = Sha256::new();
        for (name, Entry { dtype, shape, name: stored, .. }) in &*self.stored {
            sha256.update(format!("{name} {dtype} {shape:?}\n"));
            sha256.update(self.weights.raw(stored).map_err(|e| CheckpointError::Layout(e.to_string()))?);
        }
        Ok(self.sha256.get_or_init(|| hex(&sha256.finalize())))
    }

    /// The error of a tensor that the file does not have, by its name in the file.
    fn missing(&self, name: &str) -> Error {
        let file = self.weights.name().display();
        let has = |half: &str| self.stored.keys().any(|name| name.starts_with(half));
        match name.split('.').next() {
            Some("encoder" | "quant_conv") if !has("encoder.") => {
                return Error::Msg(format!("{file} has no encoder, only a decoder"));
            }
            Some("decoder" | "post_quant_conv") if !has("decoder.") => {
                return Error::Msg(format!("{file} has no decoder, only an encoder"));
            }
            _ => {}
        }
        let name = self.names.of_diffusers(name).unwrap_or_else(|| name.into());
        Error::Msg(format!("{file} has no tensor `{name}`"))
    }
}

impl Tensors for VaeTensors {
    /// A shape may have more or fewer ones at its end than asked for: a linear layer in diffusers is a convolution of 1×1 in
    /// LDM.
    fn get(&self, name: &str, shape: &[usize]) -> Result<Parameter> {
        let entry = self.stored.get(name).ok_or_else(|| self.missing(name))?;
        let is_same = without_ones(&entry.shape) == without_ones(shape);
        self.weights.get(&entry.name, if is_same { &entry.shape } else { shape })
    }

    fn contains(&self, name: &str) -> bool {
        self.stored.contains_key(name)
    }
}

//! Latents as safetensors files: one tensor `latents [n, c, h, w]`, and metadata that Python can read too.
//!
//! | key | value |
//! | --- | --- |
//! | `format_version` | `1` |
//! | `software` | `vae` and its version |
//! | `model`, `model_revision`, `model_sha256` | the VAE: hub id or path, commit, digest of the weights file |
//! | `scaling_factor`, `shift_factor` | numbers |
//! | `latents_mean`, `latents_std` | a number for each channel, as a JSON list; absent for most models |
//! | `patch_size` | `2` if squares of 2 × 2 pixels of z are channels, as for FLUX.2; else absent |
//! | `scaled` | `true` if `latents = (patches(z) − shift − mean) · factor / std`, `false` if they are z |
//! | `posterior` | `sample` or `mean` |
//! | `seed` | the seed of the sample |
//! | `precision` | of the encoder on a CUDA device: `f16`, `bf16` or `f32`; absent if the CPU computed |
//! | `original_size`, `encoded_size` | `WIDTHxHEIGHT` of the picture file, and of the preprocessed picture |
//! | `note` | a human-readable note |
//!
//! `vae encode` adds the input and the other settings that the values depend on (see the README). They are in
//! [`Provenance::other`].

use std::collections::{BTreeMap, HashMap};

use candle_core::{DType, Device, Tensor};
use safetensors::tensor::TensorInfo;

use crate::model::{ChannelStatistics, Scaling};
use crate::picture::MAX_PIXELS;
use crate::picture::description::{SOFTWARE, is_vae};

use super::{Draw, Header, Latents, LatentsError, Provenance};

/// The version of the metadata that this program writes and reads.
pub const FORMAT_VERSION: &str = "1";

/// The most pictures in a file. More are refused by the header, before memory is taken for them.
pub const MAX_BATCH: usize = 65_536;

/// The name of the tensor.
const NAME: &str = "latents";

impl Latents {
    /// Returns the bytes of a safetensors file with the values in `dtype`: f32, or f16 for half the size.
    pub fn to_safetensors(&self, dtype: DType) -> Result<Vec<u8>, LatentsError> {
        let tensor = self.tensor.to_device(&Device::Cpu)?.to_dtype(dtype)?;
        safetensors::serialize([(NAME, &tensor)], Some(self.provenance.to_metadata()))
            .map(sort_header)
            .map_err(|e| LatentsError::Format(e.to_string()))
    }

    /// Reads the bytes of a safetensors file: one of ours, or one of another program with a tensor `[n, c, h, w]` or
    /// `[c, h, w]` that is called `latents` or is the only one of three or four dimensions.
    pub fn from_safetensors(bytes: &[u8]) -> Result<Self, LatentsError> {
        let (_, latents) = Self::peek(bytes)?;
        Self::new(latents.tensor, latents.provenance)
    }

    /// Reads the same for inspection: returns the name of the tensor too, and accepts NaN and infinite values.
    pub fn peek(bytes: &[u8]) -> Result<(String, Self), LatentsError> {
        let header = Header::read(bytes, bytes.len() as u64)?;
        let range = header.values()?;
        let whole = || LatentsError::CutOff { ours: header.metadata().is_some() };
        let values = bytes.get(range.start as usize..range.end as usize).filter(|_| header.is_complete());
        header.latents(values.ok_or_else(whole)?)
    }
}

/// Whether metadata is that of this program. Files of its first versions do not name the software. Other programs use
/// the key `format_version`, too.
pub(super) fn is_ours(metadata: &HashMap<String, String>) -> bool {
    let older = || ["format_version", "model_sha256", "scaled"].iter().all(|&key| metadata.contains_key(key));
    metadata.get("software").is_some_and(|software| is_vae(software)) || older()
}

/// Sorts the keys of the header, whose order is random otherwise, so that equal latents give equal bytes.
fn sort_header(mut file: Vec<u8>) -> Vec<u8> {
    let (length, rest) = file.split_at_mut(size_of::<u64>());
    let length = length.iter().rev().fold(0, |n, &byte| (n << 8) | usize::from(byte));
    let header = &mut rest[..length];
    // Maps of serde_json are sorted. The header must keep its length: a longer text would not be used.
    let sorted = serde_json::from_slice::<serde_json::Value>(header).map(|value| value.to_string());
    if let Ok(sorted) = sorted
        && sorted.len() <= length
    {
        header.fill(b' ');
        header[..sorted.len()].copy_from_slice(sorted.as_bytes());
    }
    file
}

/// Returns the name of the tensor that is read as latents, of the names and shapes of all: the one called `latents`, or
/// else the only one with three or four dimensions.
///
/// # Errors
/// [`LatentsError::Tensor`] if there is none or more than one.
pub fn find_latents<'a>(tensors: &[(&'a str, &[usize])]) -> Result<&'a str, LatentsError> {
    let mut candidates =
        tensors.iter().filter(|(_, shape)| matches!(shape.len(), 3 | 4)).map(|(name, _)| *name);
    if let Some(found) = candidates.clone().find(|name| *name == NAME) {
        return Ok(found);
    }
    match (candidates.next(), candidates.next()) {
        (Some(found), None) => Ok(found),
        (None, _) => Err(LatentsError::Tensor(format!("none of its {} tensors is [n,c,h,w]", tensors.len()))),
        _ => Err(LatentsError::Tensor(format!("none of its {} tensors is called `{NAME}`", tensors.len()))),
    }
}

/// Returns a shape as `[n, c, h, w]`; n is 1 if it has three dimensions.
///
/// # Errors
/// [`LatentsError::Tensor`] if it has no values, more than [`MAX_BATCH`] pictures, or pictures of more than [`MAX_PIXELS`].
pub(super) fn check_shape(shape: &[usize]) -> Result<[usize; 4], LatentsError> {
    let refused = |why: String| Err(LatentsError::Tensor(format!("the tensor of shape {shape:?} {why}")));
    let [n, c, h, w] = match shape[..] {
        [c, h, w] => [1, c, h, w],
        [n, c, h, w] => [n, c, h, w],
        _ => return refused("is not [n,c,h,w]".into()),
    };
    match (h as u64).checked_mul(w as u64) {
        _ if shape.contains(&0) => refused("is empty".into()),
        Some(..=MAX_PIXELS) if n > MAX_BATCH => refused(format!("has more than {MAX_BATCH} pictures")),
        Some(..=MAX_PIXELS) => Ok([n, c, h, w]),
        _ => refused(format!("has more than {MAX_PIXELS} pixels")),
    }
}

/// Converts the stored values of a tensor to f32 `[n, c, h, w]`.
pub(super) fn read_tensor(info: &TensorInfo, values: &[u8]) -> Result<Tensor, LatentsError> {
    let shape = check_shape(&info.shape)?;
    let dtype = DType::try_from(info.dtype).ok().filter(|d| d.is_float());
    let dtype =
        dtype.ok_or_else(|| LatentsError::Tensor(format!("type {:?} is not supported", info.dtype)))?;
    Ok(Tensor::from_raw_buffer(values, dtype, &shape, &Device::Cpu)?.to_dtype(DType::F32)?)
}

impl Provenance {
    fn to_metadata(&self) -> HashMap<String, String> {
        let size = |(width, height): (usize, usize)| format!("{width}x{height}");
        let (posterior, seed) = match self.draw {
            Some(Draw::Mean) => (Some("mean"), None),
            Some(Draw::Sample { seed }) => (Some("sample"), Some(seed.to_string())),
            None => (None, None),
        };
        let scaling = self.scaling.as_ref();
        let statistics = scaling.and_then(|scaling| scaling.statistics.as_ref());
        let list = |numbers: &[f64]| serde_json::Value::from(numbers).to_string();
        let known = [
            ("format_version", Some(FORMAT_VERSION.to_string())),
            ("software", Some(SOFTWARE.to_string())),
            ("model", self.model.clone()),
            ("model_revision", self.model_revision.clone()),
            ("model_sha256", self.model_sha256.clone()),
            ("scaling_factor", scaling.map(|s| s.factor.to_string())),
            ("shift_factor", scaling.map(|s| s.shift.to_string())),
            ("latents_mean", statistics.map(|s| list(&s.mean))),
            ("latents_std", statistics.map(|s| list(&s.std))),
            ("patch_size", scaling.filter(|s| s.patch != 1).map(|s| s.patch.to_string())),
            ("scaled", self.scaled.map(|scaled| scaled.to_string())),
            ("posterior", posterior.map(str::to_string)),
            ("seed", seed),
            ("precision", self.precision.clone()),
            ("original_size", self.original_size.map(size)),
            ("encoded_size", self.encoded_size.map(size)),
            ("note", self.note.clone()),
        ];
        let known = known.into_iter().filter_map(|(key, value)| Some((key.to_string(), value?)));
        self.other.clone().into_iter().chain(known).collect()
    }

    pub(super) fn from_metadata(metadata: &HashMap<String, String>) -> Result<Self, LatentsError> {
        let text = |key: &str| metadata.get(key).cloned();
        if text("format_version").as_deref() != Some(FORMAT_VERSION) {
            return Err(LatentsError::Version(text("format_version").unwrap_or_default()));
        }
        let scaled = parse(metadata, "scaled", |v| v.parse().ok())?;
        let seed = parse(metadata, "seed", |v| v.parse().ok())?;
        let draw = parse(metadata, "posterior", |v| match v {
            "mean" => Some(Draw::Mean),
            "sample" => seed.map(|seed| Draw::Sample { seed }),
            _ => None,
        })?;
        Ok(Self {
            model: text("model"),
            model_revision: text("model_revision"),
            model_sha256: text("model_sha256"),
            scaling: parse_scaling(metadata)?,
            scaled,
            draw,
            precision: text("precision"),
            original_size: parse(metadata, "original_size", parse_size)?,
            encoded_size: parse(metadata, "encoded_size", parse_size)?,
            note: text("note"),
            other: other(metadata),
        })
    }
}

/// The keys of the fields of a [`Provenance`], and those that state the format.
const KEYS: [&str; 17] = [
    "format_version",
    "software",
    "model",
    "model_revision",
    "model_sha256",
    "scaling_factor",
    "shift_factor",
    "latents_mean",
    "latents_std",
    "patch_size",
    "scaled",
    "posterior",
    "seed",
    "precision",
    "original_size",
    "encoded_size",
    "note",
];

fn other(metadata: &HashMap<String, String>) -> BTreeMap<String, String> {
    let other = metadata.iter().filter(|(key, _)| !KEYS.contains(&key.as_str()));
    other.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Parses the value of a key, if the key exists.
fn parse<T>(
    metadata: &HashMap<String, String>,
    key: &'static str,
    parser: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, LatentsError> {
    let Some(value) = metadata.get(key) else { return Ok(None) };
    parser(value).map(Some).ok_or_else(|| LatentsError::Metadata { key, value: value.clone() })
}

/// Parses the scaling of the VAE.
fn parse_scaling(metadata: &HashMap<String, String>) -> Result<Option<Scaling>, LatentsError> {
    let factor = parse(metadata, "scaling_factor", |v| v.parse().ok().filter(|f: &f64| f.is_normal()))?;
    let shift = parse(metadata, "shift_factor", |v| v.parse().ok().filter(|f: &f64| f.is_finite()))?;
    let patch = parse(metadata, "patch_size", |v| v.parse().ok().filter(|p| (1..=2).contains(p)))?;
    let numbers = |key, is_usable: fn(&f64) -> bool| {
        parse(metadata, key, |v| {
            let numbers: Vec<f64> = serde_json::from_str(v).ok()?;
            numbers.iter().all(is_usable).then_some(numbers)
        })
    };
    let mean = numbers("latents_mean", |mean| mean.is_finite())?;
    let std = numbers("latents_std", |std| std.is_normal() && *std > 0.0)?;
    let statistics = match (mean, std) {
        (Some(mean), Some(std)) if mean.len() == std.len() => Some(ChannelStatistics { mean, std }),
        (None, None) => None,
        _ => {
            let value = metadata.get("latents_std").cloned().unwrap_or_default();
            return Err(LatentsError::Metadata { key: "latents_std", value });
        }
    };
    Ok(factor.map(|factor| Scaling {
        patch: patch.unwrap_or(1),
        factor,
        shift: shift.unwrap_or(0.0),
        statistics,
    }))
}

/// Parses `WIDTHxHEIGHT`, up to [`MAX_PIXELS`].
fn parse_size(text: &str) -> Option<(usize, usize)> {
    let side = |s: &str| s.parse::<u16>().ok().filter(|&s| s > 0).map(usize::from);
    let (width, height) = text.split_once('x')?;
    let (width, height) = (side(width)?, side(height)?);
    ((width * height) as u64 <= MAX_PIXELS).then_some((width, height))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latents() -> Latents {
        let provenance = Provenance {
            model: Some("owner/name".into()),
            model_revision: None,
            model_sha256: Some("ab".into()),
            scaling: Some(Scaling::new(0.18215, 0.0)),
            scaled: Some(true),
            draw: Some(Draw::Sample { seed: u64::MAX }),
            precision: Some("bf16".into()),
            original_size: Some((516, 484)),
            encoded_size: Some((512, 480)),
            note: Some("a note".into()),
            other: [("multiple".to_string(), "32".to_string())].into(),
        };
        let tensor = Tensor::arange(0f32, 48., &Device::Cpu).and_then(|t| t.reshape((2, 4, 2, 3)));
        Latents { tensor: tensor.expect("48 values"), provenance }
    }

    #[test]
    fn reading_a_file_returns_what_was_written() {
        let mut written = latents();
        let statistics = ChannelStatistics { mean: vec![-1.6574, 0.0, 1e-7], std: vec![8.4927, 1.0, 0.5] };
        written.provenance.scaling =
            Some(Scaling { patch: 2, statistics: Some(statistics), ..Scaling::new(0.5, 0.1) });
        for dtype in [DType::F32, DType::F16] {
            let read =
                Latents::from_safetensors(&written.to_safetensors(dtype).expect("writes")).expect("reads");
            assert_eq!(read.provenance, written.provenance);
            assert_eq!(read.tensor.dims(), [2, 4, 2, 3]);
            let values = |l: &Latents| l.tensor.flatten_all().and_then(|t| t.to_vec1::<f32>()).expect("f32");
            assert_eq!(values(&read), values(&written));
        }
    }

    #[test]
    fn equal_latents_give_equal_bytes() {
        let bytes = || latents().to_safetensors(DType::F32).expect("writes");
        assert!((0..8).all(|_| bytes() == bytes()));
    }

    #[test]
    fn only_our_own_metadata_is_interpreted() {
        let written = latents();
        let read = |metadata: HashMap<String, String>| {
            let file = safetensors::serialize([(NAME, &written.tensor)], Some(metadata)).expect("serializes");
            Latents::from_safetensors(&file)
        };
        let text = |pairs: &[(&str, &str)]| -> HashMap<String, String> {
            pairs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
        };
        // The cache of musubi-tuner, and a file whose metadata would be invalid in ours.
        for other in [
            text(&[("architecture", "hunyuan_video"), ("format_version", "1.0.1"), ("width", "512")]),
            text(&[("scaled", "a little"), ("original_size", "huge"), ("software", "other 1")]),
        ] {
            assert_eq!(read(other).expect("latents").provenance, Provenance::default());
        }
        // A file of the first version, which does not name the software.
        let mut first = written.provenance.to_metadata();
        first.remove("software");
        assert_eq!(read(first.clone()).expect("latents").provenance, written.provenance);
        first.insert("format_version".into(), "2".into());
        assert!(matches!(read(first), Err(LatentsError::Version(version)) if version == "2"));
    }

    #[test]
    fn every_key_of_a_provenance_is_known() {
        let mut provenance = latents().provenance;
        provenance.scaling = Some(Scaling::flux2(&[0.5], &[2.0]));
        let written = Provenance { model_revision: Some("main".into()), ..provenance }.to_metadata();
        let unknown: Vec<_> = written.keys().filter(|key| !KEYS.contains(&key.as_str())).collect();
        assert_eq!(unknown, ["multiple"]);
        assert_eq!(written.len(), KEYS.len() + 1);
    }

    #[test]
    fn invalid_metadata_is_refused() {
        for (key, value) in [
            ("format_version", "2"),
            ("latents_mean", "[0]"),
            ("latents_std", "[1]"),
            ("latents_std", "1"),
            ("patch_size", "3"),
            ("scaling_factor", "0"),
            ("scaling_factor", "NaN"),
            ("scaled", "yes"),
            ("seed", "-1"),
            ("posterior", "mode"),
            ("original_size", "0x5"),
            ("encoded_size", "99999x5"),
            ("original_size", "65535x65535"),
        ] {
            let mut metadata = latents().provenance.to_metadata();
            metadata.insert(key.into(), value.into());
            assert!(Provenance::from_metadata(&metadata).is_err(), "{key}: {value}");
        }
    }
}

//! A small checkpoint on disk: SD2's layout (1/8 of the sides, 4 latent channels), few channels, formula weights.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use candle_core::{DType, Device, Result, Shape, Tensor};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};

use vae::device::Cpu;
use vae::model::{Config, latent_decoder, picture_encoder};

use super::formula::Formula;

pub const CONFIG: &str = r#"{
  "_class_name": "AutoencoderKL",
  "act_fn": "silu",
  "block_out_channels": [8, 8, 8, 8],
  "down_block_types": ["DownEncoderBlock2D", "DownEncoderBlock2D", "DownEncoderBlock2D", "DownEncoderBlock2D"],
  "up_block_types": ["UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D"],
  "in_channels": 3,
  "out_channels": 3,
  "latent_channels": 4,
  "layers_per_block": 1,
  "norm_num_groups": 4,
  "sample_size": 512
}"#;

/// Returns the names and values of all tensors that the model reads.
pub fn tensors() -> HashMap<String, Tensor> {
    tensors_of(CONFIG)
}

/// Returns the same for another config.
pub fn tensors_of(config: &str) -> HashMap<String, Tensor> {
    let recorder: &'static Recorder = Box::leak(Box::default());
    let config = Config::from_json(config).expect("a valid config");
    let builder = VarBuilder::from_backend(Box::new(recorder), DType::F32, Device::Cpu);
    let cpu = Cpu::new().expect("a level of this machine");
    picture_encoder(&cpu, &config, builder.clone()).expect("the formula has every tensor");
    latent_decoder(&cpu, &config, builder).expect("the formula has every tensor");
    recorder.0.lock().expect("no other thread").clone()
}

/// Writes `config.json` and the weights, in f32, into `folder`.
pub fn write(folder: &Path) {
    write_with(folder, CONFIG, &tensors());
}

pub fn write_with(folder: &Path, config: &str, tensors: &HashMap<String, Tensor>) {
    std::fs::create_dir_all(folder).expect("a folder");
    std::fs::write(folder.join("config.json"), config).expect("a config");
    let file = folder.join("diffusion_pytorch_model.safetensors");
    candle_core::safetensors::save(tensors, file).expect("weights");
}

/// A temporary folder for one test, which may have the model in `model/`.
pub struct Folder(tempfile::TempDir);

impl Folder {
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    pub fn with_model() -> Self {
        let folder = Self::new();
        write(&folder.path("model"));
        folder
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Returns the names of all files in the folder except the model and the cache.
    pub fn files(&self) -> HashSet<String> {
        let entries = std::fs::read_dir(self.0.path()).expect("the folder exists");
        let names = entries.map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned());
        names.filter(|name| name != "model" && name != "cache").collect()
    }
}

/// Returns the tensors of the formula and records them.
#[derive(Default)]
struct Recorder(Mutex<HashMap<String, Tensor>>);

impl SimpleBackend for &'static Recorder {
    fn get(&self, shape: Shape, name: &str, init: Init, dtype: DType, device: &Device) -> Result<Tensor> {
        let tensor = Formula.get(shape, name, init, dtype, device)?;
        self.0.lock().expect("no other thread").insert(name.to_string(), tensor.clone());
        Ok(tensor)
    }

    fn get_unchecked(&self, name: &str, dtype: DType, device: &Device) -> Result<Tensor> {
        Formula.get_unchecked(name, dtype, device)
    }

    fn contains_tensor(&self, name: &str) -> bool {
        Formula.contains_tensor(name)
    }
}

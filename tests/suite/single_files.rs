//! Checkpoints in single files: the names of the models' authors, configs from shapes, whole checkpoints, other files.
//!
//! Names and shapes are those of `tests/golden/single_files.json`, which diffusers' converters have checked.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use candle_core::{Device, Tensor};
use half::{bf16, f16};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::Value;

use vae::checkpoint::evidence::Evidence;
use vae::checkpoint::names::{Names, Naming};
use vae::checkpoint::{Checkpoint, CheckpointError, Hub, Source, Variant};
use vae::device::Cpu;
use vae::model::{Config, EncodePictures, latent_decoder, picture_encoder};

use crate::support::formula;
use crate::support::golden;
use crate::support::model_folder::{self, Folder};
use crate::support::pickle;
use crate::support::process::{Run, vae, write_png};

/// A model of the golden list.
pub struct Model {
    config: String,
    rows: Vec<Row>,
}

/// One tensor: name and shape in diffusers, and in a file of the model's authors.
#[derive(Clone)]
struct Row {
    name: String,
    shape: Vec<usize>,
    stored: String,
    stored_shape: Vec<usize>,
}

/// All models of the list. Those after the sixth are no AutoencoderKL.
const ALL: [&str; 9] = ["sd", "sd3", "kl-f4", "one-layer", "kl-f16", "flux2", "wan", "taesd", "taef1"];

fn models() -> BTreeMap<String, Model> {
    let text = fs::read_to_string(golden::folder().join("single_files.json")).expect("golden data");
    let json: BTreeMap<String, Value> = serde_json::from_str(&text).expect("JSON");
    let text = |value: &Value| value.as_str().expect("a name").to_string();
    let shape = |value: &Value| serde_json::from_value(value.clone()).expect("a shape");
    let row = |row: &Value| Row {
        name: text(&row[0]),
        shape: shape(&row[1]),
        stored: text(&row[2]),
        stored_shape: shape(&row[3]),
    };
    let model = |json: &Value| Model {
        config: json["config"].to_string(),
        rows: json["tensors"].as_array().expect("a list").iter().map(row).collect(),
    };
    json.iter().map(|(name, json)| (name.clone(), model(json))).collect()
}

pub fn model(name: &str) -> Model {
    models().remove(name).expect("a model of the list")
}

/// The tensors of a file.
pub type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

impl Row {
    /// The values in a number format. Integers have one format only.
    fn values(&self, dtype: Dtype) -> (Dtype, Vec<u8>) {
        let values = match self.name.as_str() {
            "bn.num_batches_tracked" => return (Dtype::I64, 7i64.to_le_bytes().to_vec()),
            "bn.running_var" => formula::weights("bn.weight", &self.shape), // positive
            name => formula::weights(name, &self.shape),
        };
        let bytes = match dtype {
            Dtype::F16 => values.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect(),
            Dtype::BF16 => values.iter().flat_map(|&x| bf16::from_f32(x).to_le_bytes()).collect(),
            _ => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
        };
        (dtype, bytes)
    }
}

impl Model {
    /// The tensors under the names that `name` gives them.
    fn tensors(&self, dtype: Dtype, name: impl Fn(&Row) -> (String, Vec<usize>)) -> Tensors {
        let tensor = |row: &Row| {
            let ((name, shape), (dtype, bytes)) = (name(row), row.values(dtype));
            (name, (dtype, shape, bytes))
        };
        self.rows.iter().map(tensor).collect()
    }

    /// As diffusers stores it.
    fn of_diffusers(&self, dtype: Dtype) -> Tensors {
        self.tensors(dtype, |row| (row.name.clone(), row.shape.clone()))
    }

    /// As its authors store it, with a prefix.
    pub fn of_authors(&self, dtype: Dtype, prefix: &str) -> Tensors {
        self.tensors(dtype, |row| (format!("{prefix}{}", row.stored), row.stored_shape.clone()))
    }

    /// Writes a folder of diffusers.
    fn write_folder(&self, folder: &Path, dtype: Dtype) {
        fs::create_dir_all(folder).expect("a folder");
        fs::write(folder.join("config.json"), &self.config).expect("a config");
        write_safetensors(&folder.join("diffusion_pytorch_model.safetensors"), &self.of_diffusers(dtype));
    }
}

/// Writes the tensors into one file.
type Writer = fn(&Path, &Tensors);

/// The formats that hold the same tensors, by the ends of the names of their files.
const FORMATS: &[(&str, Writer)] =
    &[("safetensors", write_safetensors), ("ckpt", write_zip), ("legacy.ckpt", write_legacy)];

/// PyTorch's zip container.
fn write_zip(path: &Path, tensors: &Tensors) {
    let storages: Vec<(String, &[u8])> =
        tensors.values().enumerate().map(|(i, (_, _, bytes))| (i.to_string(), bytes.as_slice())).collect();
    let storages: Vec<(&str, &[u8])> = storages.iter().map(|(key, bytes)| (key.as_str(), *bytes)).collect();
    fs::write(path, pickle::archive(&state_dict(tensors), &storages)).expect("a file");
}

/// PyTorch's older container.
fn write_legacy(path: &Path, tensors: &Tensors) {
    let keys: Vec<String> = (0..tensors.len()).map(|i| i.to_string()).collect();
    let storages: Vec<(&str, i64, &[u8])> = keys
        .iter()
        .zip(tensors.values())
        .map(|(key, (_, shape, bytes))| {
            (key.as_str(), shape.iter().product::<usize>() as i64, bytes.as_slice())
        })
        .collect();
    fs::write(path, pickle::legacy(&state_dict(tensors), &storages)).expect("a file");
}

/// The pickle of `{"state_dict": …}`, with one storage for each tensor.
fn state_dict(tensors: &Tensors) -> Vec<u8> {
    let tensor = |(i, (dtype, shape, _)): (usize, &(Dtype, Vec<usize>, Vec<u8>))| {
        let kind = match dtype {
            Dtype::F16 => "Half",
            Dtype::BF16 => "BFloat16",
            Dtype::I64 => "Long",
            Dtype::U8 => "Byte",
            _ => "Float",
        };
        let sides: Vec<i64> = shape.iter().map(|&side| side as i64).collect();
        let strides: Vec<i64> = (0..sides.len()).map(|axis| sides[axis + 1..].iter().product()).collect();
        let storage = pickle::storage(kind, &i.to_string(), sides.iter().product());
        pickle::tensor(storage, 0, &sides, &strides)
    };
    let values = tensors.values().enumerate().map(tensor);
    let items: Vec<(&str, Vec<u8>)> = tensors.keys().map(String::as_str).zip(values).collect();
    pickle::pickle(&pickle::dict(&[("state_dict", pickle::dict(&items))]))
}

fn write_safetensors(path: &Path, tensors: &Tensors) {
    write_with_metadata(path, tensors, &[]);
}

pub fn write_with_metadata(path: &Path, tensors: &Tensors, metadata: &[(&str, &str)]) {
    let views: Vec<(String, TensorView)> = tensors
        .iter()
        .map(|(name, (dtype, shape, bytes))| {
            (name.clone(), TensorView::new(*dtype, shape.clone(), bytes).expect("values of the shape"))
        })
        .collect();
    let metadata: HashMap<String, String> =
        metadata.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    let metadata = Some(metadata).filter(|metadata| !metadata.is_empty());
    safetensors::serialize_to_file(views, metadata, path).expect("a file");
}

/// The diffusion model, the text encoder and other things in a whole checkpoint.
fn companions() -> Tensors {
    let tensor = |name: &str, shape: &[usize]| {
        let bytes = vec![0x3c; shape.iter().product::<usize>() * 2];
        (name.to_string(), (Dtype::F16, shape.to_vec(), bytes))
    };
    [
        tensor("model.diffusion_model.input_blocks.0.0.weight", &[320, 4, 3, 3]),
        tensor("model.diffusion_model.input_blocks.2.1.transformer_blocks.0.attn2.to_k.weight", &[320, 1024]),
        tensor("cond_stage_model.model.transformer.resblocks.0.mlp.c_fc.weight", &[64, 64]),
        tensor("alphas_cumprod", &[1000]),
        tensor("model_ema.decay", &[1]),
        tensor("first_stage_model.loss.logvar", &[]),
        tensor("first_stage_model.loss.discriminator.main.0.weight", &[64, 3, 4, 4]),
    ]
    .into()
}

fn open(path: &Path) -> Result<Checkpoint, CheckpointError> {
    let hub = Hub { offline: true, ..Hub::from_env() };
    Checkpoint::open(&Source::Path(path.into()), None, Variant::Full, &hub)
}

/// What the encoder and the decoder of a checkpoint compute for a small picture.
fn results(checkpoint: &Checkpoint) -> (Vec<f32>, Vec<f32>) {
    let cpu = Cpu::new().expect("a level");
    let config = checkpoint.config();
    let encoder = picture_encoder(&cpu, config, checkpoint.parameters()).expect("an encoder");
    let decoder = latent_decoder(&cpu, config, checkpoint.parameters()).expect("a decoder");
    let latents = encode_with(checkpoint, &*encoder);
    let decoded = decoder.decode(&latents).expect("a picture");
    (golden::values(&latents), golden::values(&decoded))
}

fn encode_with(checkpoint: &Checkpoint, encoder: &dyn EncodePictures) -> Tensor {
    let side = checkpoint.config().downscale();
    let (height, width) = (2 * side, 3 * side);
    let pixels = (0..3 * height * width).map(|i| ((i * 37) % 101) as f32 / 50.0 - 1.0).collect();
    let picture = Tensor::from_vec(pixels, (1, 3, height, width), &Device::Cpu).expect("pixels");
    encoder.encode(&picture).expect("latents").mean().clone()
}

#[test]
fn every_name_is_mapped_to_that_of_diffusers_and_back() {
    for (kind, model) in models() {
        let naming = match kind.as_str() {
            "flux2" => Naming::Flux2,
            "wan" => Naming::Wan,
            "taesd" | "taef1" => Naming::Tiny,
            _ => Naming::Ldm,
        };
        let is_level = |row: &&Row| {
            row.stored.starts_with("decoder.up.") && row.stored.ends_with(".block.0.conv1.weight")
        };
        let levels = model.rows.iter().filter(is_level).count();
        for Row { name, stored, .. } in &model.rows {
            assert_eq!(naming.to_diffusers(stored, levels).as_ref(), Some(name), "{kind}: {stored}");
            assert_eq!(naming.of_diffusers(name, levels).as_ref(), Some(stored), "{kind}: {name}");
            assert_eq!(Naming::Diffusers.to_diffusers(name, levels).as_ref(), Some(name), "{kind}");
            assert_eq!(Naming::Diffusers.of_diffusers(name, levels).as_ref(), Some(name), "{kind}");
            if let Some((half, lone)) = stored.strip_prefix("taesd_").and_then(|rest| rest.split_once('.')) {
                let naming = if half == "encoder" { Naming::TinyEncoder } else { Naming::TinyDecoder };
                assert_eq!(naming.to_diffusers(lone, 0).as_ref(), Some(name), "{kind}: {lone}");
                assert_eq!(naming.of_diffusers(name, 0).as_deref(), Some(lone), "{kind}: {name}");
            }
        }
    }
}

#[test]
fn the_config_follows_from_the_shapes() {
    let folder = Folder::new();
    let path = folder.path("a.safetensors");
    for kind in ALL {
        let model = model(kind);
        let wanted = Config::from_json(&model.config).expect("a config");
        for tensors in [model.of_authors(Dtype::BF16, ""), model.of_diffusers(Dtype::BF16)] {
            write_safetensors(&path, &tensors);
            let checkpoint = open(&path).expect("a model");
            assert_eq!(checkpoint.config().network, wanted.network, "{kind}");
            assert_eq!(checkpoint.config().latent_channels, wanted.latent_channels, "{kind}");
            assert_eq!(checkpoint.config().scaling.is_some(), matches!(kind, "flux2" | "wan"), "{kind}");
            assert_eq!(checkpoint.tensors().contents().tensors.len(), model.rows.len());
        }
    }
}

#[test]
fn a_file_gives_the_same_results_as_the_folder_of_diffusers() {
    let folder = Folder::new();
    for kind in ALL {
        let model = model(kind);
        model.write_folder(&folder.path(kind), Dtype::F32);
        let wanted = results(&open(&folder.path(kind)).expect("a folder"));
        for &(extension, write) in FORMATS {
            let path = folder.path(&format!("{kind}.{extension}"));
            for tensors in [model.of_authors(Dtype::F32, ""), model.of_diffusers(Dtype::F32)] {
                write(&path, &tensors);
                assert!(results(&open(&path).expect("a model")) == wanted, "{kind}, {extension}");
            }
        }
    }
}

#[test]
fn a_vae_is_found_under_prefixes_and_in_whole_checkpoints_in_any_precision() {
    let folder = Folder::new();
    let model = model("sd");
    for dtype in [Dtype::F32, Dtype::F16, Dtype::BF16] {
        model.write_folder(&folder.path("sd"), dtype);
        let diffusers = open(&folder.path("sd")).expect("a folder");
        let wanted = results(&diffusers);
        for &(extension, write) in FORMATS {
            let path = folder.path(&format!("a.{extension}"));
            for prefix in ["first_stage_model.", "vae.", "", "model.", "module."] {
                let alone = model.of_authors(dtype, prefix);
                let mut whole = companions();
                whole.extend(alone.clone());
                for tensors in [alone, whole] {
                    write(&path, &tensors);
                    let checkpoint = open(&path).expect("a model");
                    assert!(results(&checkpoint) == wanted, "{dtype:?} {prefix} {extension}");
                    let contents = checkpoint.tensors().contents();
                    assert_eq!(contents.parameters(), diffusers.tensors().contents().parameters());
                    assert_eq!(checkpoint.modules(), diffusers.modules());
                }
            }
        }
    }
}

#[test]
fn attentions_are_read_under_old_names_and_with_any_number_of_ones_in_their_shapes() {
    let folder = Folder::new();
    let model = model("kl-f16");
    model.write_folder(&folder.path("m"), Dtype::F32);
    let wanted = results(&open(&folder.path("m")).expect("a folder"));
    let path = folder.path("a.safetensors");
    let linear = |row: &Row| row.shape.len() == 2;
    for ones in 0..3 {
        let stored = |row: &Row| {
            let mut shape = row.shape.clone();
            shape.extend(vec![1; if linear(row) { ones } else { 0 }]);
            (row.stored.clone(), shape)
        };
        write_safetensors(&path, &model.tensors(Dtype::F32, stored));
        assert!(results(&open(&path).expect("a model")) == wanted, "{ones}");
    }
    let older = |row: &Row| {
        let names = [("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")];
        (names.iter().fold(row.name.clone(), |name, (new, old)| name.replace(new, old)), row.shape.clone())
    };
    write_safetensors(&path, &model.tensors(Dtype::F32, older));
    assert!(results(&open(&path).expect("a model")) == wanted);
}

/// CompVis' `embed_dim` may differ from `z_channels`. No model of diffusers has this.
#[test]
fn latents_may_have_other_channels_than_the_decoder() {
    let folder = Folder::new();
    let mut model = model("kl-f16");
    for row in &mut model.rows {
        match row.name.as_str() {
            "quant_conv.weight" => row.stored_shape = vec![8, 32, 1, 1],
            "quant_conv.bias" => row.stored_shape = vec![8],
            "post_quant_conv.weight" => row.stored_shape = vec![16, 4, 1, 1],
            _ => continue,
        }
        row.shape = row.stored_shape.clone();
    }
    let path = folder.path("a.safetensors");
    write_safetensors(&path, &model.of_authors(Dtype::F32, ""));
    let checkpoint = open(&path).expect("a model");
    let config = checkpoint.config();
    assert_eq!(config.latent_channels, 4);
    assert_eq!(config.kl().and_then(|kl| kl.inner_channels), Some(16));
    assert_eq!(results(&checkpoint).0.len(), 4 * 2 * 3);
}

#[test]
fn a_config_beside_the_file_wins_if_it_fits() {
    let folder = Folder::new();
    let model = model("sd3");
    fs::create_dir(folder.path("m")).expect("a folder");
    let path = folder.path("m/vae.safetensors");
    write_safetensors(&path, &model.of_authors(Dtype::F32, ""));
    let opened = |config: &str| {
        fs::write(folder.path("m/config.json"), config).expect("a config");
        open(&path).expect("a model")
    };
    let fitting = opened(&model.config);
    assert_eq!(fitting.config(), &Config::from_json(&model.config).expect("a config"));
    assert_eq!(fitting.warning(), None);
    for (other, why) in [
        (model.config.replace("[32,64,64,64]", "[32,64,64,32]"), "another model"),
        (model.config.replace("\"use_quant_conv\":false", "\"use_quant_conv\":true"), "another model"),
        (r#"{"_class_name": "UNet2DConditionModel"}"#.into(), "UNet2DConditionModel"),
        ("{".into(), "not a valid config"),
    ] {
        let checkpoint = opened(&other);
        assert_eq!(checkpoint.config().network, fitting.config().network);
        assert_eq!(checkpoint.config().scaling, None);
        assert!(checkpoint.warning().is_some_and(|text| text.contains(why)), "{:?}", checkpoint.warning());
    }
    // The groups of the norms are only in the config.
    model_folder::write(&folder.path("g"));
    let small = open(&folder.path("g/diffusion_pytorch_model.safetensors")).expect("a model");
    assert_eq!(small.config().kl().map(|kl| kl.norm_num_groups), Some(4));
    fs::remove_file(folder.path("g/config.json")).expect("a config");
    let refused =
        open(&folder.path("g/diffusion_pytorch_model.safetensors")).map(|_| ()).map_err(|e| e.to_string());
    assert!(refused.as_ref().is_err_and(|text| text.contains("config.json")), "{refused:?}");
}

#[test]
fn each_half_works_alone() {
    let folder = Folder::new();
    let cpu = Cpu::new().expect("a level");
    for kind in ALL {
        let model = model(kind);
        let path = folder.path("half.safetensors");
        for (half, other) in [("encoder", "decoder"), ("decoder", "encoder")] {
            let quant = if half == "encoder" { "quant_conv" } else { "post_quant_conv" };
            let of_half = Model {
                config: model.config.clone(),
                rows: model
                    .rows
                    .iter()
                    .filter(|row| row.name.starts_with(half) || row.name.starts_with(quant))
                    .cloned()
                    .collect(),
            };
            write_safetensors(&path, &of_half.of_authors(Dtype::F32, ""));
            let checkpoint = open(&path).expect("a model");
            let encoder = picture_encoder(&cpu, checkpoint.config(), checkpoint.parameters()).err();
            let decoder = latent_decoder(&cpu, checkpoint.config(), checkpoint.parameters()).err();
            let (own, missing) = if half == "encoder" { (encoder, decoder) } else { (decoder, encoder) };
            assert!(own.is_none(), "{kind}: {own:?}");
            let missing = missing.expect("an error").to_string();
            assert!(missing.contains(&format!("has no {other}, only")), "{kind}: {missing}");
        }
    }
}

/// `taesd_encoder.safetensors` and `taesd_decoder.safetensors`, whose names are numbers.
#[test]
fn the_halves_of_a_taesd_in_files_of_their_own_are_that_model() {
    let folder = Folder::new();
    let cpu = Cpu::new().expect("a level");
    for kind in ["taesd", "taef1"] {
        let model = model(kind);
        write_safetensors(&folder.path("both.safetensors"), &model.of_authors(Dtype::F16, ""));
        let (latents, picture) = results(&open(&folder.path("both.safetensors")).expect("a model"));
        for &(extension, write) in FORMATS {
            let path = |half: &str| folder.path(&format!("{half}.{extension}"));
            for half in ["encoder", "decoder"] {
                let prefix = format!("taesd_{half}.");
                let of_half = |(name, tensor): (String, (Dtype, Vec<usize>, Vec<u8>))| {
                    name.strip_prefix(&prefix).map(|name| (name.to_string(), tensor))
                };
                write(
                    &path(half),
                    &model.of_authors(Dtype::F16, "").into_iter().filter_map(of_half).collect(),
                );
            }
            let encoder = open(&path("encoder")).expect("a model");
            let decoder = open(&path("decoder")).expect("a model");
            assert_eq!(encoder.config(), decoder.config());
            let got = encode_with(
                &encoder,
                &*picture_encoder(&cpu, encoder.config(), encoder.parameters()).expect("an encoder"),
            );
            assert!(golden::values(&got) == latents, "{kind}");
            let decoder = latent_decoder(&cpu, decoder.config(), decoder.parameters()).expect("a decoder");
            assert!(golden::values(&decoder.decode(&got).expect("a picture")) == picture, "{kind}");
        }
    }
}

fn encode(folder: &Folder, model: &str) -> Run {
    write_png(&folder.path("p.png"), 64, 32);
    vae(folder, &format!("encode p.png -o l.safetensors --mean --model {model}"))
}

/// A file of a terabyte, nearly all of it holes: reading it would take many minutes.
#[test]
fn of_a_huge_checkpoint_only_the_vae_is_read() {
    let folder = Folder::new();
    let model = model("sd");
    fs::create_dir(folder.path("m")).expect("a folder");
    fs::write(folder.path("m/config.json"), &model.config).expect("a config");
    let path = folder.path("m/whole.safetensors");
    write_safetensors(&path, &model.of_authors(Dtype::F32, "first_stage_model."));
    encode(&folder, "m/whole.safetensors").code(0);
    let wanted = fs::read(folder.path("l.safetensors")).expect("latents");

    let bytes = fs::read(&path).expect("a file");
    let length = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
    let mut header: serde_json::Map<String, Value> =
        serde_json::from_slice(&bytes[8..8 + length]).expect("JSON");
    let (start, values) = ((bytes.len() - 8 - length) as u64, 1u64 << 39);
    header.insert(
        "model.diffusion_model.input_blocks.0.0.weight".into(),
        serde_json::json!({"dtype": "F16", "shape": [values], "data_offsets": [start, start + 2 * values]}),
    );
    let header = Value::Object(header).to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.bytes());
    file.extend(&bytes[8 + length..]);
    fs::write(&path, &file).expect("a file");
    let opened = fs::File::options().write(true).open(&path).expect("a file");
    if let Err(e) = opened.set_len(file.len() as u64 + 2 * values) {
        println!("skipped: no file of a terabyte on this file system ({e})");
        return;
    }
    let start = Instant::now();
    encode(&folder, "m/whole.safetensors").code(0);
    assert!(start.elapsed() < Duration::from_secs(60));
    let values = |bytes: &[u8]| {
        let latents = vae::latents::Latents::from_safetensors(bytes).expect("latents");
        golden::values(&latents.tensor)
    };
    let got = fs::read(folder.path("l.safetensors")).expect("latents");
    assert_eq!(values(&got), values(&wanted));
}

#[test]
fn other_files_are_called_what_they_are() {
    let folder = Folder::new();
    let path = folder.path("f.safetensors");
    let file = |tensors: &[(&str, &[usize])]| -> Tensors {
        let tensor = |&(name, shape): &(&str, &[usize])| {
            (name.to_string(), (Dtype::F16, shape.to_vec(), vec![0; 2 * shape.iter().product::<usize>()]))
        };
        tensors.iter().map(tensor).collect()
    };
    let refused = |tensors: &Tensors, texts: &[&str]| {
        write_safetensors(&path, tensors);
        encode(&folder, "f.safetensors").code(3).says(&["f.safetensors"]).says(texts);
        assert!(!folder.path("l.safetensors").exists());
    };
    refused(
        &companions().into_iter().filter(|(name, _)| !name.starts_with("first")).collect(),
        &["diffusion model"],
    );
    for (name, word) in [
        ("down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.weight", "diffusion model"),
        ("double_blocks.0.img_attn.qkv.weight", "diffusion model"),
        ("lora_unet_mid_block_attentions_0_proj_in.lora_down.weight", "LoRA"),
        ("lora_te_text_model_encoder_layers_0_mlp_fc1.alpha", "LoRA"),
        ("text_model.encoder.layers.0.mlp.fc1.weight", "text encoder"),
        ("latents", "vae decode"),
        ("something.else", "something.else"),
    ] {
        refused(&file(&[(name, &[4, 4])]), &[word]);
    }
    refused(&file(&[]), &["without any tensors"]);

    let sd = model("sd").of_authors(Dtype::F16, "");
    let with = |names: &[(&str, &[usize])]| {
        let mut tensors = sd.clone();
        tensors.extend(file(names));
        tensors
    };
    refused(&with(&[("decoder.mid.block_1.mix_factor", &[1])]), &["Stable Video Diffusion"]);
    refused(
        &with(&[("decoder.mid.block_1.time_stack.in_layers.2.weight", &[4, 4])]),
        &["Stable Video Diffusion"],
    );
    refused(&with(&[("quantize.embedding.weight", &[8, 4])]), &["VQ"]);
    refused(&with(&[("encoder.conv_in.weight", &[32, 3, 3, 3, 3])]), &["for videos"]);
    refused(&file(&[("decoder.conv_in.conv.weight", &[32, 4, 3, 3, 3])]), &["for videos"]);
    refused(&with(&[("encoder.conv_in.weight", &[32, 1, 3, 3])]), &["1 channels"]);
    refused(&with(&[("encoder.conv_out.weight", &[4, 64, 3, 3])]), &["twice as many"]);
    refused(&with(&[("encoder.conv_out.weight", &[8])]), &["encoder.conv_out.weight", "[8]"]);
    refused(&with(&[("encoder.down.3.downsample.conv.weight", &[64, 64, 3, 3])]), &["last level"]);
    refused(
        &with(&[("encoder.down.4.block.0.conv1.weight", &[64, 64, 3, 3])]),
        &["no tensor `encoder.down.3.downsample.conv.weight`"],
    );
    refused(&with(&[("encoder.down.3.block.2.conv1.weight", &[64, 64, 3, 3])]), &["residual blocks"]);
    refused(&with(&[("encoder.down.0.block.0.conv1.weight", &[40, 32, 3, 3])]), &["40", "config.json"]);

    let without = |prefix: &str| {
        let mut tensors = sd.clone();
        tensors.retain(|name, _| !name.starts_with(prefix));
        tensors
    };
    refused(&without("encoder.conv_in."), &["no tensor `encoder.conv_in.weight`"]);
    refused(&without("encoder.down.1.downsample."), &["`encoder.down.1.downsample.conv.weight`"]);
    refused(&without("decoder.up.2.block.2."), &["residual blocks"]);
}

#[test]
fn files_in_other_formats_are_called_what_they_are() {
    let folder = Folder::new();
    let lfs = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 334643268\n".as_slice();
    for (name, bytes, word) in [
        ("a.safetensors", b"".as_slice(), "empty"),
        ("b.safetensors", lfs, "git lfs pull"),
        ("c.safetensors", b"<!doctype html><html lang=\"en\"><head>", "web page"),
        ("d.safetensors", b"{\"error\": \"Access to model is restricted\"}", "JSON"),
        ("e.gguf", b"GGUF\x03\0\0\0\0\0\0\0\0\0\0\0", "GGUF"),
        ("f.onnx", b"\x08\x08\x12\x07pytorch", "ONNX"),
        ("g.npy", b"\x93NUMPY\x01\0v\0{'descr'", "NumPy"),
        ("h.safetensors", b"\x1f\x8b\x08\0\0\0\0\0\0\0\0\0", "archive"),
    ] {
        fs::write(folder.path(name), bytes).expect("a file");
        encode(&folder, name).code(3).says(&[name, word]);
    }
    encode(&folder, "p.png").code(3).says(&["p.png is a picture"]);
}

#[test]
fn tensors_in_eight_bits_are_refused_by_name() {
    let folder = Folder::new();
    let model = model("sd3");
    fs::create_dir(folder.path("m")).expect("a folder");
    fs::write(folder.path("m/config.json"), &model.config).expect("a config");
    let mut tensors = model.of_authors(Dtype::F16, "vae.");
    let (_, shape, _) = &tensors["vae.encoder.mid.attn_1.q.weight"];
    let values = shape.iter().product();
    let f8 = (Dtype::F8_E4M3, shape.clone(), vec![0; values]);
    tensors.insert("vae.encoder.mid.attn_1.q.weight".into(), f8);
    write_safetensors(&folder.path("m/f8.safetensors"), &tensors);
    encode(&folder, "m/f8.safetensors").code(3).says(&[
        "f8.safetensors",
        "vae.encoder.mid.attn_1.q.weight",
        "F8_E4M3",
    ]);
}

#[test]
fn a_file_that_names_no_missing_tensor_of_its_own_naming_is_not_loaded() {
    let folder = Folder::new();
    let model = model("sd3");
    fs::create_dir(folder.path("m")).expect("a folder");
    fs::write(folder.path("m/config.json"), &model.config).expect("a config");
    let mut tensors = model.of_authors(Dtype::F16, "first_stage_model.");
    tensors.remove("first_stage_model.encoder.down.2.block.1.norm2.bias");
    write_safetensors(&folder.path("m/a.safetensors"), &tensors);
    let missing = "`first_stage_model.encoder.down.2.block.1.norm2.bias`";
    encode(&folder, "m/a.safetensors").code(3).says(&["m/a.safetensors has no tensor", missing]);
}

#[test]
fn names_are_recognized_by_either_half() {
    let of = |names: &[&str]| {
        let entry = |name: &&str| vae::checkpoint::contents::Entry {
            name: name.to_string(),
            dtype: "F32".into(),
            shape: vec![1],
        };
        let mut tensors: Vec<_> = names.iter().map(entry).collect();
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        let contents = vae::checkpoint::Contents { tensors, metadata: BTreeMap::new() };
        Names::of(&contents).map(|names| (names.prefix, names.naming, names.levels))
    };
    assert_eq!(of(&["1.conv.0.weight"]), Some(("", Naming::TinyEncoder, 0)));
    assert_eq!(of(&["3.conv.0.weight", "1.weight"]), Some(("", Naming::TinyDecoder, 0)));
    assert_eq!(of(&["taesd_decoder.3.conv.0.weight"]), Some(("", Naming::Tiny, 0)));
    assert_eq!(of(&["vae.decoder.middle.0.residual.0.gamma"]), Some(("vae.", Naming::Wan, 0)));
    let ldm = [
        "first_stage_model.decoder.up.0.block.0.conv1.weight",
        "first_stage_model.decoder.up.1.block.0.conv1.weight",
    ];
    assert_eq!(of(&ldm), Some(("first_stage_model.", Naming::Ldm, 2)));
    assert_eq!(of(&["encoder.layers.0.self_attn.q_proj.weight"]), None);
    assert_eq!(of(&["conv_in.weight", "down_blocks.0.resnets.0.conv1.weight"]), None);
}

/// Reads the tensors and the metadata of a file.
fn read(path: &Path) -> (Tensors, BTreeMap<String, String>) {
    let bytes = fs::read(path).expect("a file");
    let (_, header) = SafeTensors::read_metadata(&bytes).expect("a header");
    let file = SafeTensors::deserialize(&bytes).expect("a valid file");
    let tensor = |(name, view): (String, TensorView)| {
        (name, (view.dtype(), view.shape().to_vec(), view.data().to_vec()))
    };
    let metadata = header.metadata().clone().unwrap_or_default().into_iter().collect();
    (file.tensors().into_iter().map(tensor).collect(), metadata)
}

#[test]
fn converting_there_and_back_gives_the_same_tensors() {
    let folder = Folder::new();
    for kind in ALL {
        let model = model(kind);
        let dtypes = [Dtype::F32, Dtype::F16, Dtype::BF16];
        for &dtype in if kind == "sd3" { &dtypes[..] } else { &dtypes[..1] } {
            let _ = fs::remove_dir_all(folder.path("there"));
            let _ = fs::remove_dir_all(folder.path("back"));
            model.write_folder(&folder.path("there"), dtype);
            vae(&folder, "convert-model there -o a.safetensors --layout ldm").code(0);
            let (stored, metadata) = read(&folder.path("a.safetensors"));
            assert!(stored == model.of_authors(dtype, ""), "{kind}");
            assert_eq!(metadata["format"], "pt");
            vae(&folder, "convert-model a.safetensors -o back").code(0);
            let (stored, _) = read(&folder.path("back/diffusion_pytorch_model.safetensors"));
            assert!(stored == model.of_diffusers(dtype), "{kind}");
            let config = fs::read_to_string(folder.path("back/config.json")).expect("a config");
            let (there, back) = (Config::from_json(&model.config), Config::from_json(&config));
            assert_eq!(back.expect("a config"), there.expect("a config"));
            let json: Value = serde_json::from_str(&config).expect("JSON");
            let original: Value = serde_json::from_str(&model.config).expect("JSON");
            for (key, value) in original.as_object().expect("an object") {
                assert_eq!(&json[key], value, "{kind}: {key}");
            }
        }
    }
}

#[test]
fn a_vae_is_taken_out_of_a_whole_checkpoint() {
    let folder = Folder::new();
    let model = model("sd3");
    let mut whole = companions();
    whole.extend(model.of_authors(Dtype::F16, "first_stage_model."));
    let metadata = [
        ("modelspec.architecture", "stable-diffusion-v3-medium"),
        ("modelspec.hash_sha256", "0123"),
        ("modelspec.thumbnail", "data:image/png;base64,"),
        ("prompt", "{}"),
    ];
    // A large diffusion model, so that the metadata are about that.
    let large = (
        "model.diffusion_model.x_embedder.proj.weight".to_string(),
        (Dtype::U8, vec![1 << 24], vec![0; 1 << 24]),
    );
    whole.insert(large.0, large.1);
    write_with_metadata(&folder.path("whole.safetensors"), &whole, &metadata);
    let run = vae(&folder, "convert-model whole.safetensors -o vae.safetensors --layout ldm --json").code(0);
    let json = &run.json()[0];
    assert_eq!(json["tensors"], model.rows.len());
    assert_eq!(json["left_out"], companions().len() + 1);
    let (tensors, kept) = read(&folder.path("vae.safetensors"));
    assert!(tensors == model.of_authors(Dtype::F16, ""));
    let kept: Vec<(&str, &str)> = kept.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(kept[..2], [("format", "pt"), ("modelspec.architecture", "stable-diffusion-v3-medium")]);
    assert_eq!(
        kept[2..].iter().map(|(key, _)| *key).collect::<Vec<_>>(),
        ["vae.config"],
        "the scaling is known"
    );
    assert!(
        results(&open(&folder.path("vae.safetensors")).expect("a model"))
            == results(&open(&folder.path("whole.safetensors")).expect("a model"))
    );
    // diffusers would take a config without a scaling factor for that of Stable Diffusion 1.
    write_safetensors(&folder.path("unknown.safetensors"), &whole);
    vae(&folder, "convert-model unknown.safetensors -o new")
        .code(3)
        .says(&["scaling factor", "unknown.safetensors"]);
    assert!(!folder.path("new").exists());
    let factor = |line: &str| {
        vae(&folder, line).code(0);
        let config = fs::read_to_string(folder.path("new/config.json")).expect("a config");
        fs::remove_dir_all(folder.path("new")).expect("a folder");
        Config::from_json(&config).expect("a config").scaling.expect("a scaling").factor
    };
    assert_eq!(factor("convert-model whole.safetensors -o new"), 1.5305);
    assert_eq!(factor("convert-model unknown.safetensors -o new --family flux1"), 0.3611);
}

#[test]
fn options_that_no_config_can_state_are_not_dropped() {
    let folder = Folder::new();
    for name in ["flux2", "wan", "taesd"] {
        write_safetensors(&folder.path("a.safetensors"), &model(name).of_authors(Dtype::F32, ""));
        for output in ["new", "new.safetensors"] {
            let line = format!("convert-model a.safetensors -o {output} --scaling-factor 0.5");
            vae(&folder, &line).code(3).says(&["cannot state", "--scaling-factor"]);
            assert!(!folder.path(output).exists(), "{line}");
        }
    }
}

#[test]
fn half_a_model_does_not_become_a_folder() {
    let folder = Folder::new();
    let mut tensors = model("sd3").of_diffusers(Dtype::F32);
    tensors.retain(|name, _| name.starts_with("decoder."));
    write_safetensors(&folder.path("half.safetensors"), &tensors);
    vae(&folder, "convert-model half.safetensors -o new --family sd3").code(3).says(&["only one half"]);
    vae(&folder, "convert-model half.safetensors -o new.safetensors --family sd3").code(0);
    assert!(!folder.path("new").exists());
}

/// The config of a TAESD does not state a scaling.
#[test]
fn a_taesd_becomes_a_folder_of_diffusers() {
    let folder = Folder::new();
    let model = model("taesd");
    write_safetensors(&folder.path("a.safetensors"), &model.of_authors(Dtype::F32, ""));
    vae(&folder, "convert-model a.safetensors -o new").code(0);
    let (opened, original) = (open(&folder.path("new")), open(&folder.path("a.safetensors")));
    assert!(results(&opened.expect("a model")) == results(&original.expect("a model")));
    assert!(
        read(&folder.path("new/diffusion_pytorch_model.safetensors")).0 == model.of_diffusers(Dtype::F32)
    );
}

#[test]
fn a_converted_file_keeps_the_config() {
    let folder = Folder::new();
    let model = model("sd3");
    model.write_folder(&folder.path("m"), Dtype::F32);
    for layout in ["diffusers", "ldm"] {
        vae(&folder, &format!("convert-model m -o a.safetensors --layout {layout}")).code(0);
        let (opened, original) = (open(&folder.path("a.safetensors")), open(&folder.path("m")));
        let (opened, original) = (opened.expect("a model"), original.expect("a model"));
        assert_eq!(opened.config(), original.config());
        assert_eq!(opened.recognition().evidence, Some(Evidence::Metadata));
    }
    // A config of another model that lies beside it does not count.
    fs::write(folder.path("config.json"), model.config.replace("1.5305", "0.5")).expect("a config");
    let opened = open(&folder.path("a.safetensors")).expect("a model");
    assert_eq!(opened.config().scaling.as_ref().map(|scaling| scaling.factor), Some(1.5305));
    assert!(
        opened.warning().is_some_and(|text| text.contains("has its own config")),
        "{:?}",
        opened.warning()
    );
    // The groups of the norms, too, which the shapes do not state.
    model_folder::write(&folder.path("g"));
    vae(&folder, "convert-model g -o g.safetensors --layout ldm").code(0);
    let (opened, original) = (open(&folder.path("g.safetensors")), open(&folder.path("g")));
    assert!(results(&opened.expect("a model")) == results(&original.expect("a model")));
}

#[test]
fn values_are_rounded_to_the_nearest_and_never_become_infinite() {
    let folder = Folder::new();
    let model = model("one-layer");
    model.write_folder(&folder.path("m"), Dtype::F32);
    for (name, dtype) in [("f16", Dtype::F16), ("bf16", Dtype::BF16), ("f32", Dtype::F32)] {
        vae(&folder, &format!("convert-model m -o a.safetensors --dtype {name}")).code(0);
        assert!(read(&folder.path("a.safetensors")).0 == model.of_diffusers(dtype), "{name}");
    }
    let mut tensors = model.of_diffusers(Dtype::F32);
    let (_, _, bytes) = tensors.get_mut("decoder.conv_in.bias").expect("a tensor");
    bytes[..4].copy_from_slice(&70000f32.to_le_bytes());
    write_safetensors(&folder.path("m/diffusion_pytorch_model.safetensors"), &tensors);
    fs::write(folder.path("kept.safetensors"), "kept").expect("a file");
    vae(&folder, "convert-model m -o kept.safetensors --dtype f16").code(3).says(&[
        "decoder.conv_in.bias",
        "7e4",
        "F16",
        "bf16",
    ]);
    assert_eq!(fs::read(folder.path("kept.safetensors")).expect("a file"), b"kept");
    assert_eq!(folder.files(), ["a.safetensors", "kept.safetensors", "m"].map(String::from).into());
    vae(&folder, "convert-model m -o b.safetensors --dtype bf16").code(0);
}

#[test]
fn only_what_was_named_is_replaced() {
    let folder = Folder::with_model();
    fs::write(folder.path("a.safetensors"), "old").expect("a file");
    vae(&folder, "convert-model model -o a.safetensors").code(0);
    assert_eq!(read(&folder.path("a.safetensors")).0.len(), model_folder::tensors().len());
    vae(&folder, "convert-model model -o model").code(2).says(&["model exists already"]);
    vae(&folder, "convert-model model -o a.safetensors/b").code(1);
    let own = "model/diffusion_pytorch_model.safetensors";
    let before = fs::read(folder.path(own)).expect("a file");
    vae(&folder, &format!("convert-model model --dtype f16 -o {own}")).code(2).says(&["the model itself"]);
    assert_eq!(fs::read(folder.path(own)).expect("a file"), before);
    vae(&folder, "convert-model model -o a.ckpt").code(2).says(&["a.ckpt", ".safetensors"]);
    vae(&folder, "convert-model model -o new --layout ldm").code(2).says(&["--layout"]);
    vae(&folder, "convert-model model").code(2).says(&["--output"]);
    vae(&folder, "convert-model missing.safetensors -o b.safetensors").code(3).says(&["missing.safetensors"]);
    vae(&folder, "convert-model model -o - --json").code(2).says(&["stdout"]);
    let run = vae(&folder, "convert-model model -o -").code(0);
    assert_eq!(run.stdout, fs::read(folder.path("a.safetensors")).expect("a file"));
    vae(&folder, "convert-model model -o no/such/folder/a.safetensors").code(1).says(&["no/such/folder"]);
    vae(&folder, "convert-model model -o no/such/folder").code(0);
    encode(&folder, "no/such/folder").code(0);
}

#[cfg(unix)]
#[test]
fn a_link_to_a_file_is_followed_and_its_permissions_are_kept() {
    use std::os::unix::fs::{PermissionsExt, symlink};

    let folder = Folder::with_model();
    fs::write(folder.path("a.safetensors"), "old").expect("a file");
    fs::set_permissions(folder.path("a.safetensors"), PermissionsExt::from_mode(0o640)).expect("permissions");
    symlink("a.safetensors", folder.path("link.safetensors")).expect("a link");
    vae(&folder, "convert-model model -o link.safetensors").code(0);
    assert!(folder.path("link.safetensors").is_symlink());
    let mode = fs::metadata(folder.path("a.safetensors")).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    assert!(fs::metadata(folder.path("a.safetensors")).is_ok_and(|file| file.len() > 1000));
}

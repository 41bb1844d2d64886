//! Checkpoints on disk: layouts, old spellings, and errors.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Tensor};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::support::model_folder::{self, CONFIG, Folder};
use crate::support::process::{Run, vae, write_png};

const FILE: &str = "diffusion_pytorch_model.safetensors";

fn encode(folder: &Folder, model: &str) -> Run {
    write_png(&folder.path("p.png"), 64, 32);
    vae(folder, &format!("encode p.png -o l.safetensors --mean --model {model}"))
}

fn latents(folder: &Folder) -> Vec<f32> {
    let bytes = std::fs::read(folder.path("l.safetensors")).expect("a file");
    let latents = vae::latents::Latents::from_safetensors(&bytes).expect("latents");
    crate::support::golden::values(&latents.tensor)
}

#[test]
fn a_pipeline_a_folder_and_a_file_are_the_same_model() {
    let folder = Folder::with_model();
    encode(&folder, "model").code(0);
    let wanted = latents(&folder);
    model_folder::write(&folder.path("pipeline/vae"));
    std::fs::write(folder.path("pipeline/config.json"), "{}").expect("a file");
    for model in ["pipeline", "pipeline/vae", "model/", &format!("model/{FILE}"), &format!("./model/{FILE}")]
    {
        encode(&folder, model).code(0);
        assert_eq!(latents(&folder), wanted, "{model}");
    }
}

#[test]
fn old_names_of_the_attention_are_read() {
    let folder = Folder::with_model();
    encode(&folder, "model").code(0);
    let wanted = latents(&folder);
    for four_dimensions in [false, true] {
        let renamed: HashMap<String, Tensor> = model_folder::tensors()
            .into_iter()
            .map(|(name, tensor)| {
                let is_projection = name.contains(".to_");
                let name = [("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")]
                    .iter()
                    .fold(name, |name, (new, old)| name.replace(new, old));
                let two = is_projection && name.ends_with(".weight") && !four_dimensions;
                let tensor = if two { tensor.reshape((8, 8)).expect("8 by 8") } else { tensor };
                (name, tensor)
            })
            .collect();
        model_folder::write_with(&folder.path("old"), CONFIG, &renamed);
        encode(&folder, "old").code(0);
        assert_eq!(latents(&folder), wanted);
    }
}

#[test]
fn the_fp16_file_is_used_if_the_full_one_is_missing() {
    let folder = Folder::with_model();
    encode(&folder, "model").code(0);
    let wanted = latents(&folder);
    let halves: HashMap<String, Tensor> = model_folder::tensors()
        .into_iter()
        .map(|(name, tensor)| (name, tensor.to_dtype(DType::F16).expect("halves")))
        .collect();
    model_folder::write_with(&folder.path("half"), CONFIG, &halves);
    let file = |name: &str| folder.path(&format!("half/{name}"));
    std::fs::rename(file(FILE), file("diffusion_pytorch_model.fp16.safetensors")).expect("renames");
    encode(&folder, "half").code(0);
    let got = latents(&folder);
    let most = got.iter().zip(&wanted).map(|(g, w)| (g - w).abs()).fold(0.0, f32::max);
    assert!(most > 0.0 && most < 1e-2, "{most}");
}

#[test]
fn models_that_cannot_be_loaded_end_with_three() {
    let folder = Folder::with_model();
    std::fs::create_dir(folder.path("empty")).expect("a folder");
    encode(&folder, "empty").code(3).says(&["empty", "config.json"]);
    encode(&folder, "missing.safetensors").code(3).says(&["missing.safetensors", "not a file"]);
    encode(&folder, "no/such/place").code(3).says(&["no/such/place", "hub id"]);
    encode(&folder, "sd9").code(3).says(&["sd9", "vae models"]);
    std::fs::copy(folder.path("model").join(FILE), folder.path("alone.safetensors")).expect("copies");
    encode(&folder, "alone.safetensors").code(3).says(&["config.json", "beside"]);

    let broken = |name: &str, config: &str, weights: Option<&[u8]>| {
        let vae = folder.path(name);
        std::fs::create_dir_all(&vae).expect("a folder");
        std::fs::write(vae.join("config.json"), config).expect("a file");
        if let Some(bytes) = weights {
            std::fs::write(vae.join(FILE), bytes).expect("a file");
        }
        encode(&folder, name).code(3)
    };
    broken("a", CONFIG, None).says(&["a has no diffusion_pytorch_model.safetensors"]);
    broken("b", "{", Some(b"")).says(&["config.json", "not a valid config"]);
    broken("c", r#"{"_class_name":"UNet2DConditionModel"}"#, Some(b""))
        .says(&["UNet2DConditionModel", "--model"]);
    broken("d", r#"{"model_type":"bert"}"#, Some(b"")).says(&["AutoencoderKL"]);
    broken("e", &CONFIG.replace("\"silu\"", "\"relu\""), Some(b"")).says(&["relu"]);
    broken("f", &CONFIG.replace("[8, 8, 8, 8]", "[8, 9, 8, 8]"), Some(b"")).says(&["9", "groups"]);
    broken("g", &CONFIG.replace("[8, 8, 8, 8]", "[8, 8, 8, 99999999999]"), Some(b"")).says(&["99999999999"]);
    broken("h", CONFIG, Some(b"")).says(&[FILE, "safetensors"]);
    broken("i", CONFIG, Some(&[0x41; 999])).says(&[FILE, "download it again"]);
    std::fs::write(folder.path("a/diffusion_pytorch_model.bin"), "pickle").expect("a file");
    encode(&folder, "a").code(3).says(&["diffusion_pytorch_model.bin", "download it again"]);
}

#[test]
fn a_tensor_that_is_missing_or_has_another_shape_or_type_is_named() {
    let folder = Folder::new();
    let mut tensors = model_folder::tensors();
    let name = "encoder.down_blocks.1.resnets.0.conv1.weight";
    let tensor = tensors.remove(name).expect("the tensor");
    model_folder::write_with(&folder.path("m"), CONFIG, &tensors);
    encode(&folder, "m").code(3).says(&["m/", name]);

    tensors.insert(name.into(), tensor.narrow(0, 0, 7).expect("7 of 8"));
    model_folder::write_with(&folder.path("m"), CONFIG, &tensors);
    encode(&folder, "m").code(3).says(&[name, "[7, 8, 3, 3]", "[8, 8, 3, 3]"]);

    tensors.insert(name.into(), tensor.to_dtype(DType::I64).expect("numbers"));
    model_folder::write_with(&folder.path("m"), CONFIG, &tensors);
    encode(&folder, "m").code(3).says(&[name, "I64"]);
    assert!(!folder.path("l.safetensors").exists());
}

/// Values in fewer than 8 bits, complex numbers and the like are refused, whatever other programs can do with them.
#[test]
fn a_tensor_of_an_unsupported_type_is_named() {
    let folder = Folder::with_model();
    let name = "encoder.conv_in.weight";
    for dtype in ["F4", "F6_E2M3", "F6_E3M2", "F8_E8M0", "F8_E4M3", "F8_E5M2", "C64", "BOOL", "U8"] {
        retype(&folder.path("model").join(FILE), &folder.path("m").join(FILE), name, dtype);
        std::fs::copy(folder.path("model/config.json"), folder.path("m/config.json")).expect("copies");
        encode(&folder, "m").code(3).says(&["m/", FILE, name, dtype, "F16, BF16, F32 or F64"]);
        vae(&folder, "inspect --model m").code(0);
    }
}

/// Copies a weights file, with zeros of another type for one tensor.
fn retype(from: &Path, to: &Path, name: &str, dtype: &str) {
    let bytes = std::fs::read(from).expect("a file");
    let file = SafeTensors::deserialize(&bytes).expect("weights");
    let dtype: Dtype = serde_json::from_value(dtype.into()).expect("a type of safetensors");
    let values: usize = file.tensor(name).expect("the tensor").shape().iter().product();
    let zeros = vec![0; values * dtype.bitsize() / 8];
    let tensors = file.tensors().into_iter().map(|(other, view)| match other == name {
        true => (other, TensorView::new(dtype, view.shape().to_vec(), &zeros).expect("a view")),
        false => (other, view),
    });
    std::fs::create_dir_all(to.parent().expect("a folder")).expect("a folder");
    safetensors::serialize_to_file(tensors, None, to).expect("writes");
}

#[test]
fn a_command_reads_only_the_half_that_it_needs() {
    let folder = Folder::new();
    let tensors = model_folder::tensors();
    let encoder =
        tensors.into_iter().filter(|(name, _)| !name.contains("decoder") && !name.contains("post_"));
    model_folder::write_with(&folder.path("m"), CONFIG, &encoder.collect());
    encode(&folder, "m").code(0);
    vae(&folder, "decode l.safetensors -o o.png --model m").code(3).says(&["m/", "no decoder"]);
}

#[test]
fn decoding_with_other_weights_prints_a_warning() {
    let folder = Folder::with_model();
    encode(&folder, "model").code(0);
    let halved = model_folder::tensors().into_iter().map(|(n, t)| (n, (t * 0.5).expect("numbers"))).collect();
    model_folder::write_with(&folder.path("other"), CONFIG, &halved);
    vae(&folder, "decode l.safetensors -o o.png --model other").code(0).says(&["warning", "other weights"]);
    let same = vae(&folder, "decode l.safetensors -o o.png --model model").code(0);
    assert!(!same.stderr.contains("warning"), "{}", same.stderr);
}

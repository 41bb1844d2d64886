//! Checkpoints on disk: layouts, spellings, and what is wrong with the others.

use candle_core::{DType, Tensor};
use std::collections::HashMap;

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
fn old_spellings_of_the_attention_are_read() {
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
fn the_half_precision_file_serves_where_the_full_one_is_missing() {
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
fn models_that_cannot_be_had_end_with_three() {
    let folder = Folder::with_model();
    std::fs::create_dir(folder.path("empty")).expect("a folder");
    encode(&folder, "empty").code(3).says(&["empty", "config.json"]);
    encode(&folder, "missing.safetensors").code(3).says(&["missing.safetensors", "no file"]);
    encode(&folder, "no/such/place").code(3).says(&["no/such/place", "hub id"]);
    encode(&folder, "sd3").code(3).says(&["sd3", "sd2"]);
    std::fs::copy(folder.path("model").join(FILE), folder.path("alone.safetensors")).expect("copies");
    encode(&folder, "alone.safetensors").code(3).says(&["config.json beside"]);
    encode(&folder, "p.png").code(3).says(&["p.png", ".safetensors"]);

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
    broken("i", CONFIG, Some(&[0x41; 999])).says(&[FILE, "fetch it again"]);
    std::fs::write(folder.path("a/diffusion_pytorch_model.bin"), "pickle").expect("a file");
    encode(&folder, "a").code(3).says(&["pickle"]);
}

#[test]
fn a_tensor_that_is_missing_or_of_another_shape_is_named() {
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

#[test]
fn a_command_reads_only_the_half_that_it_needs() {
    let folder = Folder::new();
    let tensors = model_folder::tensors();
    let encoder =
        tensors.into_iter().filter(|(name, _)| !name.contains("decoder") && !name.contains("post_"));
    model_folder::write_with(&folder.path("m"), CONFIG, &encoder.collect());
    encode(&folder, "m").code(0);
    vae(&folder, "decode l.safetensors -o o.png --model m").code(3).says(&["post_quant_conv"]);
}

#[test]
fn other_weights_than_those_that_encoded_are_worth_a_warning() {
    let folder = Folder::with_model();
    encode(&folder, "model").code(0);
    let halved = model_folder::tensors().into_iter().map(|(n, t)| (n, (t * 0.5).expect("numbers"))).collect();
    model_folder::write_with(&folder.path("other"), CONFIG, &halved);
    vae(&folder, "decode l.safetensors -o o.png --model other").code(0).says(&["warning", "other weights"]);
    let same = vae(&folder, "decode l.safetensors -o o.png --model model").code(0);
    assert!(!same.stderr.contains("warning"), "{}", same.stderr);
}

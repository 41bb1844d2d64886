//! The program as a process with models of the TAESD family, whose latents are the scaled ones of another VAE, and of Wan.

use candle_core::{DType, Tensor};
use serde_json::Value;

use vae::latents::{Draw, Latents, Provenance};
use vae::model::Scaling;

use crate::support::golden::values;
use crate::support::model_folder::{Folder, tensors_of, write_with};
use crate::support::process::{folder_with_pictures, read_picture, vae, vae_with_model};

const TINY: &str = r#"{
  "_class_name": "AutoencoderTiny",
  "encoder_block_out_channels": [16, 16, 16, 16],
  "decoder_block_out_channels": [16, 16, 16, 16],
  "num_encoder_blocks": [1, 0, 1, 1],
  "num_decoder_blocks": [1, 1, 0, 1]
}"#;

const WAN: &str = r#"{
  "_class_name": "AutoencoderKLWan",
  "base_dim": 8,
  "z_dim": 4,
  "num_res_blocks": 1,
  "latents_mean": [0.5, -0.25, 0.0, 1.0],
  "latents_std": [2.0, 1.5, 0.5, 1.0]
}"#;

/// A folder with a picture, `model` with the layout of SD2, and `preview`.
fn folder() -> Folder {
    let folder = folder_with_pictures(&["p.png"]);
    write_with(&folder.path("preview"), TINY, &tensors_of(TINY));
    folder
}

fn open(folder: &Folder, name: &str) -> Latents {
    Latents::from_safetensors(&std::fs::read(folder.path(name)).expect("a file")).expect("latents")
}

fn write(folder: &Folder, name: &str, latents: &Latents) {
    let bytes = latents.to_safetensors(DType::F32).expect("latents");
    std::fs::write(folder.path(name), bytes).expect("a file");
}

/// The values of a decoded picture.
fn pixels(folder: &Folder, name: &str) -> Vec<u8> {
    read_picture(folder, name).to_rgb8()
}

#[test]
fn scaled_latents_are_previewed_as_they_are_and_others_are_scaled_first() {
    let folder = folder();
    vae_with_model(&folder, "encode p.png -o scaled.safetensors").code(0);
    let run = vae(&folder, "decode scaled.safetensors -o scaled.png --model preview").code(0);
    assert!(!run.stderr.contains("warning"), "{}", run.stderr);
    assert_eq!(pixels(&folder, "scaled.png").len(), 64 * 32 * 3);

    // The same values, without metadata.
    let mut latents = open(&folder, "scaled.safetensors");
    let tensors = [("latents", latents.tensor.clone())].into();
    candle_core::safetensors::save(&tensors, folder.path("plain.safetensors")).expect("a file");
    vae(&folder, "decode plain.safetensors -o plain.png --model preview").code(0);
    assert_eq!(pixels(&folder, "plain.png"), pixels(&folder, "scaled.png"));

    // A file that states its scaling, and that it is not applied. Powers of two lose no digits.
    let scaling = Scaling::new(0.25, 0.0);
    latents.tensor = scaling.unscale(&latents.tensor).expect("z");
    latents.provenance.scaled = Some(false);
    latents.provenance.scaling = Some(scaling);
    write(&folder, "unscaled.safetensors", &latents);
    vae(&folder, "decode unscaled.safetensors -o unscaled.png --model preview").code(0);
    assert_eq!(pixels(&folder, "unscaled.png"), pixels(&folder, "scaled.png"));

    // Unscaled values that nothing scales.
    latents.provenance.scaling = None;
    write(&folder, "unknown.safetensors", &latents);
    let run = vae(&folder, "decode unknown.safetensors -o unknown.png --model preview");
    assert_ne!(run.code, 0);
    assert!(run.stderr.contains("scaling") && !folder.path("unknown.png").exists(), "{}", run.stderr);
}

#[test]
fn latents_of_a_tiny_encoder_are_scaled_and_state_no_factor() {
    let folder = folder();
    vae(&folder, "encode p.png -o l.safetensors --model preview --seed 3").code(0);
    let latents = open(&folder, "l.safetensors");
    assert_eq!(latents.tensor.dims(), [1, 4, 4, 8]);
    let provenance = &latents.provenance;
    assert_eq!(
        (provenance.scaled, &provenance.scaling, provenance.draw),
        (Some(true), &None, Some(Draw::Mean))
    );
    vae(&folder, "encode p.png -o again.safetensors --model preview --seed 4").code(0);
    assert_eq!(
        values(&open(&folder, "again.safetensors").tensor),
        values(&latents.tensor),
        "no seed matters"
    );

    vae(&folder, "decode l.safetensors -o tiny.png --model preview").code(0);
    vae(&folder, "roundtrip p.png -o roundtrip.png --model preview").code(0);
    assert_eq!(pixels(&folder, "tiny.png"), pixels(&folder, "roundtrip.png"));

    // The large VAE undoes its own scaling.
    vae_with_model(&folder, "decode l.safetensors -o large.png").code(0);
    let z = (&latents.tensor / 0.18215).expect("z");
    candle_core::safetensors::save(&[("z", z)].into(), folder.path("z.safetensors")).expect("a file");
    vae_with_model(&folder, "decode z.safetensors --unscaled -o z.png").code(0);
    let differences =
        pixels(&folder, "large.png").iter().zip(pixels(&folder, "z.png")).filter(|(a, b)| **a != *b).count();
    assert!(differences < 10, "{differences} values differ");
}

#[test]
fn a_tiny_model_is_traced_and_described() {
    let folder = folder();
    let run = vae(&folder, "roundtrip p.png -o r.png --model preview --trace --json -q").code(0);
    let rows = run.json()[0]["trace"].as_array().expect("rows").clone();
    let names: Vec<&str> = rows.iter().map(|row| row["name"].as_str().expect("a name")).collect();
    let encoder = (0..8).map(|i| format!("encoder.layers.{i}"));
    let decoder = [1, 2, 4, 5, 7, 9, 10, 11].map(|i| format!("decoder.layers.{i}"));
    let mut wanted = vec!["image tensor".to_string()];
    wanted.extend(encoder);
    wanted.extend(["h", "moments", "latents", "z"].map(String::from));
    wanted.extend(decoder);
    wanted.push("dec".into());
    assert_eq!(names, wanted);
    let last = rows.iter().find(|row| row["name"] == "encoder.layers.7").expect("a row");
    assert_eq!(last["shape"], Value::from(vec![1, 4, 4, 8]));

    vae(&folder, "inspect --model preview").code(0).prints(&[
        "(encoder): EncoderTiny(",
        "(layers): Sequential(",
        "AutoencoderTinyBlock(",
        "preview: AutoencoderTiny",
    ]);
}

#[test]
fn wrong_latents_for_a_tiny_model_are_errors() {
    let folder = folder();
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &candle_core::Device::Cpu).expect("zeros");
    for (shape, says) in [([1, 16, 4, 4], "16 channels"), ([1, 3, 4, 4], "3 channels")] {
        let file = folder.path("wrong.safetensors");
        candle_core::safetensors::save(&[("latents", zeros(&shape))].into(), file).expect("a file");
        vae(&folder, "decode wrong.safetensors -o x.png --model preview").code(1).says(&[says]);
    }
    let config = TINY.replace("\"num_encoder_blocks\": [1, 0, 1, 1]", "\"num_encoder_blocks\": [1, 2, 1, 1]");
    write_with(&folder.path("other"), &config, &tensors_of(TINY));
    vae(&folder, "encode p.png -o x.safetensors --model other").code(3).says(&["encoder.layers.3.conv.0"]);
    assert!(!folder.path("x.safetensors").exists() && !folder.path("x.png").exists());
}

#[test]
fn a_picture_passes_through_the_vae_of_wan() {
    let folder = folder_with_pictures(&["p.png"]);
    write_with(&folder.path("wan"), WAN, &tensors_of(WAN));
    vae(&folder, "encode p.png -o l.safetensors --mean --model wan").code(0);
    let latents = open(&folder, "l.safetensors");
    assert_eq!(latents.tensor.dims(), [1, 4, 4, 8]);
    let scaling = latents.provenance.scaling.clone().expect("the config states it");
    assert_eq!(scaling.statistics.as_ref().expect("statistics").mean, [0.5, -0.25, 0.0, 1.0]);
    let z = scaling.unscale(&latents.tensor).expect("z");
    candle_core::safetensors::save(&[("z", z)].into(), folder.path("z.safetensors")).expect("a file");
    vae(&folder, "decode l.safetensors -o l.png --model wan").code(0);
    vae(&folder, "decode z.safetensors -o z.png --unscaled --model wan").code(0);
    vae(&folder, "roundtrip p.png -o r.png --mean --model wan").code(0);
    assert_eq!(pixels(&folder, "l.png"), pixels(&folder, "z.png"));
    assert_eq!(pixels(&folder, "l.png"), pixels(&folder, "r.png"));
    vae(&folder, "inspect --model wan")
        .code(0)
        .prints(&["(encoder): WanEncoder3d(", "wan: AutoencoderKLWan"]);
}

#[test]
fn preview_names_the_small_decoder_of_the_latents_family() {
    let folder = Folder::new();
    let zeros = |channels: usize| Tensor::zeros((1, channels, 4, 4), DType::F32, &candle_core::Device::Cpu);
    let file = |name: &str, channels: usize, scaling: Option<Scaling>| {
        let provenance = Provenance { scaling, scaled: Some(true), ..Provenance::default() };
        write(&folder, name, &Latents::new(zeros(channels).expect("zeros"), provenance).expect("latents"));
    };
    for (name, channels, factor, shift) in [
        ("taesd", 4, 0.18215, 0.0),
        ("taesdxl", 4, 0.13025, 0.0),
        ("taesd3", 16, 1.5305, 0.0609),
        ("taef1", 16, 0.3611, 0.1159),
    ] {
        let latents = format!("{name}.safetensors");
        file(&latents, channels, Some(Scaling::new(factor, shift)));
        let repository = format!("madebyollin/{name}");
        let run = vae(&folder, &format!("decode {latents} -o o.png --preview")).code(3);
        assert!(run.stderr.contains(&repository), "it is not in the cache: {}", run.stderr);
    }
    file("other.safetensors", 4, Some(Scaling::new(0.5, 0.0)));
    file("none.safetensors", 16, None);
    for (line, says) in [
        ("other.safetensors -o o.png", "scaled by 0.5"),
        ("none.safetensors -o o.png", "taesd3, taef1"),
        ("- -o o.png", "--model"),
        ("taesd.safetensors taesdxl.safetensors --out-dir d", "taesdxl"),
        ("missing.safetensors -o o.png", "--preview"),
    ] {
        vae(&folder, &format!("decode --preview {line}")).code(2).says(&[says]);
    }
    vae(&folder, "decode --preview taesd.safetensors -o o.png --model sd2").code(2);
    assert!(!folder.path("o.png").exists());
}

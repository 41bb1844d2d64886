//! `--device` and `--dtype`: what is chosen, what is said, and what becomes of a picture that overflows.

use std::process::Command;

use serde_json::Value;
use vae::kernels::cuda::Element;
use vae::picture::{Background, Picture};

use crate::support::cuda::engine;
use crate::support::model_folder::Folder;
use crate::support::process::{command, run, vae_with_model, write_png};

const CUDA: bool = cfg!(feature = "cuda");

fn folder_with_picture() -> Folder {
    let folder = Folder::with_model();
    write_png(&folder.path("a.png"), 64, 32);
    folder
}

/// `vae`, with the devices that this machine has.
fn with_devices(folder: &Folder, line: &str) -> Command {
    let mut command = command(folder);
    command.args(line.split_whitespace()).env_remove("CUDA_VISIBLE_DEVICES");
    command
}

fn picture(folder: &Folder, name: &str) -> Picture {
    Picture::open(&folder.path(name), Background::WHITE).expect("a picture")
}

#[test]
fn without_a_device_the_cpu_computes_and_a_build_for_cuda_says_why() {
    let folder = folder_with_picture();
    let run = vae_with_model(&folder, "encode a.png -o l.safetensors").code(0);
    assert_eq!(run.words.matches("note: computing on the CPU: ").count(), usize::from(CUDA), "{}", run.words);
    let run = vae_with_model(&folder, "encode a.png -o l.safetensors --device cpu").code(0);
    assert!(!run.words.contains("note:"), "{}", run.words);
    assert_eq!(run.words.lines().count(), 1, "{}", run.words);
}

#[test]
fn a_device_that_is_not_there_is_an_error_with_advice() {
    let folder = folder_with_picture();
    for device in ["cuda", "cuda:1"] {
        let line = format!("encode a.png -o l.safetensors --device {device}");
        let run = vae_with_model(&folder, &line).code(2).says(&["--device cpu"]);
        assert!(CUDA || run.words.contains("--features cuda"), "{}", run.words);
    }
    assert!(!folder.path("l.safetensors").exists());
}

#[test]
fn a_device_computes_in_half_precision_what_the_cpu_computes() {
    if engine(Element::F16).is_none() {
        return;
    }
    let folder = folder_with_picture();
    let line = "roundtrip a.png --multiple 8 --mean --model model --json -o";
    let records = ["cpu", "auto", "cuda:0 --dtype bf16", "cuda --dtype f32"].map(|device| {
        let name = device.replace([' ', ':'], "-");
        run(with_devices(&folder, &format!("{line} {name}.png --device {device}"))).code(0).json()[0].clone()
    });
    let dtypes = records.each_ref().map(|record| record["stages"]["decode_dtype"].clone());
    assert_eq!(dtypes, [Value::Null, "f16".into(), "bf16".into(), "f32".into()]);
    assert_eq!(records[1]["stages"]["encode_dtype"], "f16");
    let wanted = picture(&folder, "cpu.png");
    for (name, most) in [("auto", 3), ("cuda-0---dtype-bf16", 24), ("cuda---dtype-f32", 1)] {
        let difference = vae::metrics::difference(&wanted, &picture(&folder, &format!("{name}.png")));
        assert!(difference.max <= most, "{name}: {}", difference.max);
    }
}

#[test]
fn a_picture_that_overflows_is_redone_in_a_safer_precision() {
    if engine(Element::F16).is_none() {
        return;
    }
    let folder = folder_with_picture();
    // The activations of the built-in model's decoder reach 3·10⁶; f16 ends at 65504.
    let line = "roundtrip a.png --multiple 8 --mean --model tiny --json -o";
    let halves = run(with_devices(&folder, &format!("{line} half.png"))).code(0);
    assert_eq!(
        halves.words.matches("warning: f16 gave NaN or infinite values").count(),
        1,
        "{}",
        halves.words
    );
    let stages = &halves.json()[0]["stages"];
    assert_eq!((&stages["encode_dtype"], &stages["decode_dtype"]), (&"f16".into(), &"bf16".into()));
    run(with_devices(&folder, &format!("{line} cpu.png --device cpu"))).code(0);
    let difference = vae::metrics::difference(&picture(&folder, "cpu.png"), &picture(&folder, "half.png"));
    assert!(difference.mean < 2.0, "{difference:?}");
}

#[test]
fn the_doctor_tests_every_device() {
    let folder = Folder::new();
    let report = &run(with_devices(&folder, "doctor --json")).code(0).json()[0];
    let tested = report["self_tests"].as_array().expect("tests").len();
    let there = engine(Element::F32).is_some();
    assert_eq!(tested > 1, there, "{report}");
    assert_eq!(report["cuda_problems"].is_array(), CUDA && !there, "{report}");
    let convolved = report["self_tests"][tested - 1]["convolutions"][0].as_u64();
    assert_eq!(convolved.is_some(), there, "{report}");
    assert_eq!(report["build"]["features"].as_array().map(Vec::len), Some(usize::from(CUDA)));
}

//! `--device` and `--dtype`: the choice, the messages, and pictures that overflow.

use std::process::Command;

use serde_json::Value;

use crate::support::cuda;
use crate::support::model_folder::Folder;
use crate::support::process::{command, folder_with_pictures, read_picture, run, vae_with_model};

const CUDA: bool = cfg!(feature = "cuda");

/// Prepares `vae` with the CUDA devices of this machine.
fn with_devices(folder: &Folder, line: &str) -> Command {
    let mut command = command(folder);
    command.args(line.split_whitespace()).env_remove("CUDA_VISIBLE_DEVICES");
    command
}

#[test]
fn without_a_device_the_cpu_is_used_and_a_cuda_build_prints_why() {
    let folder = folder_with_pictures(&["a.png"]);
    let run = vae_with_model(&folder, "encode a.png -o l.safetensors").code(0);
    let notes = run.stderr.matches("note: computing on the CPU: ").count();
    assert_eq!(notes, usize::from(CUDA), "{}", run.stderr);
    let run = vae_with_model(&folder, "encode a.png -o l.safetensors --device cpu").code(0);
    assert!(!run.stderr.contains("note:"), "{}", run.stderr);
    assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
}

#[test]
fn a_missing_device_is_an_error_with_advice() {
    let folder = folder_with_pictures(&["a.png"]);
    for device in ["cuda", "cuda:1"] {
        let line = format!("encode a.png -o l.safetensors --device {device}");
        let run = vae_with_model(&folder, &line).code(2).says(&["--device cpu"]);
        assert!(CUDA || run.stderr.contains("--features cuda"), "{}", run.stderr);
    }
    assert!(!folder.path("l.safetensors").exists());
}

#[test]
fn a_cuda_device_computes_the_same_as_the_cpu_in_every_precision() {
    if !cuda::is_available() {
        return;
    }
    let folder = folder_with_pictures(&["a.png"]);
    let line = "roundtrip a.png --multiple 8 --mean --model model --json -o";
    let records = ["cpu", "auto", "cuda:0 --dtype bf16", "cuda --dtype f32"].map(|device| {
        let name = device.replace([' ', ':'], "-");
        run(with_devices(&folder, &format!("{line} {name}.png --device {device}"))).code(0).json()[0].clone()
    });
    let dtypes = records.each_ref().map(|record| record["stages"]["decode_dtype"].clone());
    assert_eq!(dtypes, [Value::Null, "f16".into(), "bf16".into(), "f32".into()]);
    assert_eq!(records[1]["stages"]["encode_dtype"], "f16");
    let wanted = read_picture(&folder, "cpu.png");
    for (name, most) in [("auto", 3), ("cuda-0---dtype-bf16", 24), ("cuda---dtype-f32", 1)] {
        let difference = vae::metrics::difference(&wanted, &read_picture(&folder, &format!("{name}.png")));
        assert!(difference.max <= most, "{name}: {}", difference.max);
    }
}

#[test]
fn a_picture_that_overflows_is_computed_again_in_a_safer_precision() {
    if !cuda::is_available() {
        return;
    }
    let folder = folder_with_pictures(&["a.png"]);
    // The activations of the built-in model's decoder reach 3·10⁶; the largest f16 is 65504.
    let line = "roundtrip a.png --multiple 8 --mean --model tiny --dtype f16 --json -o";
    let redone = run(with_devices(&folder, &format!("{line} half.png"))).code(0);
    let warnings = redone.stderr.matches("warning: f16 gave NaN or infinite values").count();
    assert_eq!(warnings, 1, "{}", redone.stderr);
    let stages = &redone.json()[0]["stages"];
    assert_eq!((&stages["encode_dtype"], &stages["decode_dtype"]), (&"f16".into(), &"bf16".into()));
    run(with_devices(&folder, &format!("{line} cpu.png --device cpu"))).code(0);
    let difference =
        vae::metrics::difference(&read_picture(&folder, "cpu.png"), &read_picture(&folder, "half.png"));
    assert!(difference.mean < 2.0, "{difference:?}");
}

#[test]
fn the_doctor_tests_every_device() {
    let folder = Folder::new();
    let report = &run(with_devices(&folder, "doctor --json")).code(0).json()[0];
    let tested = report["self_tests"].as_array().expect("tests").len();
    let has_device = cuda::is_available();
    assert_eq!(tested > 1, has_device, "{report}");
    assert_eq!(report["cuda_problems"].is_array(), CUDA && !has_device, "{report}");
    let convolutions = report["self_tests"][tested - 1]["convolutions"][0].as_u64();
    assert_eq!(convolutions.is_some(), has_device, "{report}");
    let checked = report["self_checks"].as_array().map_or(0, Vec::len);
    assert_eq!(checked, 3 * (tested - 1), "{report}");
    assert_eq!(report["build"]["features"].as_array().map(Vec::len), Some(usize::from(CUDA)));
}

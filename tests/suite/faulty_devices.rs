//! Devices that compute wrong results, run out of memory, fail, or overflow. Only the emulated device can be told to do so.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use vae::latents::Latents;
use vae::metrics::difference;

use crate::support::cuda;
use crate::support::model_folder::Folder;
use crate::support::process::{Run, command, folder_with_pictures, read_picture, run, write_png};

/// Prepares `vae` with the emulated device in the given state.
fn with_device(folder: &Folder, line: &str, state: &[(&str, &str)]) -> Command {
    let mut command = command(folder);
    command.args(line.split_whitespace()).env_remove("CUDA_VISIBLE_DEVICES").envs(state.iter().copied());
    command
}

fn encode(folder: &Folder, options: &str, state: &[(&str, &str)]) -> Run {
    let line = format!("encode a.png -o l.safetensors --model model --mean --json {options}");
    run(with_device(folder, &line, state))
}

/// The values of a latents file. Its metadata also states the device that was chosen.
fn latents(folder: &Folder, name: &str) -> Vec<f32> {
    let file = fs::read(folder.path(name)).expect("latents");
    let tensor = Latents::from_safetensors(&file).expect("latents").tensor;
    tensor.flatten_all().and_then(|values| values.to_vec1()).expect("numbers")
}

/// The precision of each result on the device; null on the CPU.
fn dtypes(run: &Run, half: &str) -> Vec<Value> {
    run.json().iter().map(|record| record["stages"][format!("{half}_dtype")].clone()).collect()
}

/// The precisions of a half's blocks in the trace, without repetitions in a row.
fn traced(record: &Value, half: &str) -> Vec<String> {
    let rows = record["trace"].as_array().expect("a trace").iter();
    let of_half = rows.filter(|row| row["name"].as_str().is_some_and(|name| name.starts_with(half)));
    let mut dtypes: Vec<String> = of_half.map(|row| row["dtype"].as_str().expect("a name").into()).collect();
    dtypes.dedup();
    dtypes
}

/// A folder with the built-in model, whose decoder overflows in f16, but without its `force_upcast`.
fn folder_with_an_overflowing_model() -> Folder {
    let folder = folder_with_pictures(&["a.png", "b.png"]);
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/tiny");
    let config = fs::read_to_string(assets.join("config.json")).expect("a config");
    assert!(config.contains(r#""force_upcast": true"#));
    let config = config.replace(r#""force_upcast": true"#, r#""force_upcast": false"#);
    fs::create_dir(folder.path("wide")).expect("a folder");
    fs::write(folder.path("wide/config.json"), config).expect("a file");
    let weights = "diffusion_pytorch_model.safetensors";
    fs::copy(assets.join(weights), folder.path("wide").join(weights)).expect("a copy");
    folder
}

#[test]
fn a_device_with_wrong_results_is_not_used() {
    if !cuda::is_emulated() {
        return;
    }
    let folder = folder_with_pictures(&["a.png"]);
    encode(&folder, "--device cpu", &[]).code(0);
    let wanted = latents(&folder, "l.safetensors");

    let wrong = [("VAE_EMULATED_WRONG", "16")];
    let automatic = encode(&folder, "", &wrong).code(0);
    let failed = "cuda:0 failed its self-check in f16";
    assert_eq!(automatic.stderr.matches(&format!("note: computing on the CPU: {failed}")).count(), 1);
    assert_eq!(dtypes(&automatic, "encode"), [Value::Null]);
    assert_eq!(latents(&folder, "l.safetensors"), wanted);
    encode(&folder, "--device cuda", &wrong).code(2).says(&[failed, "--device cpu"]);
    let single = encode(&folder, "--device cuda --dtype f32", &wrong).code(0);
    assert_eq!(dtypes(&single, "encode"), ["f32"]);

    // The outcome is remembered, until the doctor repeats the check.
    encode(&folder, "", &[]).code(0).says(&[failed]);
    let doctor = run(with_device(&folder, "doctor", &wrong)).code(1).says(&["cuda:0 in f16"]);
    doctor.prints(&["self-check   FAILED on cuda:0 in f16", "self-check   passed on cuda:0 in bf16"]);
    let doctor = run(with_device(&folder, "doctor", &[])).code(0);
    doctor.prints(&["self-check   passed on cuda:0 in f16", "FAILED before"]);
    assert_eq!(dtypes(&encode(&folder, "", &[]).code(0), "encode"), ["f16"]);
}

#[test]
fn a_device_is_checked_once_for_each_driver() {
    if !cuda::is_emulated() {
        return;
    }
    let folder = folder_with_pictures(&["a.png"]);
    let wrong = ("VAE_EMULATED_WRONG", "16");
    assert_eq!(dtypes(&encode(&folder, "", &[]).code(0), "encode"), ["f16"]);
    assert_eq!(dtypes(&encode(&folder, "", &[wrong]).code(0), "encode"), ["f16"], "it passed before");
    let updated = encode(&folder, "", &[wrong, ("VAE_EMULATED_DRIVER", "13010")]).code(0);
    assert_eq!(dtypes(&updated, "encode"), [Value::Null]);
}

#[test]
fn devices_that_fail_at_the_start_are_replaced_by_the_cpu_in_this_run_only() {
    if !cuda::is_emulated() {
        return;
    }
    let folder = folder_with_pictures(&["a.png"]);
    for state in [("VAE_EMULATED_FAULT", "1"), ("VAE_EMULATED_MEMORY", "1"), ("VAE_EMULATED_PLAIN", "3")] {
        let automatic = encode(&folder, "", &[state]).code(0).says(&["note: computing on the CPU: "]);
        assert_eq!(dtypes(&automatic, "encode"), [Value::Null], "{state:?}");
        encode(&folder, "--device cuda", &[state]).code(2);
    }
    // A lack of memory in cuDNN does not lead to a slower algorithm.
    encode(&folder, "--device cuda", &[("VAE_EMULATED_PLAIN", "3")]).code(2).says(&["for lack of memory"]);
    assert_eq!(dtypes(&encode(&folder, "", &[]).code(0), "encode"), ["f16"]);
}

#[test]
fn a_picture_too_large_for_a_devices_memory_is_computed_on_the_cpu() {
    if !cuda::is_emulated() {
        return;
    }
    let folder = folder_with_pictures(&["a.png", "c.png"]);
    write_png(&folder.path("b.png"), 640, 640);
    let line = "encode a.png b.png c.png --model model --mean --json --out-dir";
    let small = [("VAE_EMULATED_MEMORY", "8")];
    let automatic = run(with_device(&folder, &format!("{line} auto"), &small)).code(0);
    assert_eq!(dtypes(&automatic, "encode"), ["f16".into(), Value::Null, "f16".into()]);
    let warnings = automatic.stderr.matches("warning: computing on the CPU for this picture: ").count();
    assert_eq!(warnings, 1, "{}", automatic.stderr);
    run(with_device(&folder, &format!("{line} cpu --device cpu"), &[])).code(0);
    assert_eq!(latents(&folder, "auto/b.safetensors"), latents(&folder, "cpu/b.safetensors"));

    let named = run(with_device(&folder, &format!("{line} cuda --device cuda"), &small)).code(1);
    let failed = named.json().iter().filter(|record| !record["error"].is_null()).count();
    assert_eq!(failed, 1, "{}", named.stderr);
    assert!(named.stderr.contains("--device cpu") && folder.path("cuda/c.safetensors").exists());
}

#[test]
fn devices_that_break_are_not_used_again() {
    if !cuda::is_emulated() {
        return;
    }
    let folder = folder_with_pictures(&["a.png", "c.png"]);
    write_png(&folder.path("b.png"), 128, 64);
    let line = "roundtrip a.png b.png c.png --model model --mean --json --out-dir";
    let broken = [("VAE_EMULATED_FAULT", "8192")];
    let automatic = run(with_device(&folder, &format!("{line} auto"), &broken)).code(0);
    for half in ["encode", "decode"] {
        assert_eq!(dtypes(&automatic, half), ["f16".into(), Value::Null, Value::Null]);
    }
    let warnings = automatic.stderr.matches("warning: computing on the CPU").count();
    assert_eq!(warnings, 1, "{}", automatic.stderr);
    automatic.says(&["warning: computing on the CPU from here on: ", "illegal memory access"]);
    run(with_device(&folder, &format!("{line} cpu --device cpu"), &[])).code(0);
    for name in ["b-roundtrip.png", "c-roundtrip.png"] {
        let picture = |place: &str| read_picture(&folder, &format!("{place}/{name}"));
        assert_eq!(difference(&picture("auto"), &picture("cpu")).max, 0, "{name}");
    }

    let named = run(with_device(&folder, &format!("{line} cuda --device cuda"), &broken)).code(1);
    let failed: Vec<bool> = named.json().iter().map(|record| !record["error"].is_null()).collect();
    assert_eq!(failed, [false, true, true]);
}

#[test]
fn an_overflow_on_a_cuda_device_is_remembered() {
    if !cuda::is_emulated() {
        return;
    }
    let folder = folder_with_an_overflowing_model();
    let line = "roundtrip a.png b.png --multiple 8 --mean --model wide --json --trace --out-dir";
    let first = run(with_device(&folder, &format!("{line} first"), &[])).code(0);
    let warning = "warning: f16 gave NaN or infinite values in the decoder";
    assert_eq!(first.stderr.matches(warning).count(), 1, "{}", first.stderr);
    assert_eq!(dtypes(&first, "encode"), ["f16", "f16"]);
    assert_eq!(dtypes(&first, "decode"), ["bf16", "bf16"]);
    let decoders = |run: &Run| run.json().iter().map(|record| traced(record, "decoder.")).collect::<Vec<_>>();
    assert_eq!(decoders(&first), [vec!["f16", "bf16"], vec!["bf16"]]);

    let second = run(with_device(&folder, &format!("{line} second"), &[])).code(0);
    assert_eq!(second.stderr.matches("note: the decoder computes in bf16").count(), 1, "{}", second.stderr);
    assert_eq!(decoders(&second), [vec!["bf16"], vec!["bf16"]]);
    let picture = |place: &str| read_picture(&folder, &format!("{place}/a-roundtrip.png"));
    assert_eq!(difference(&picture("first"), &picture("second")).max, 0);

    let fixed = run(with_device(&folder, &format!("{line} fixed --dtype f16"), &[])).code(0);
    assert_eq!(fixed.stderr.matches(warning).count(), 1, "{}", fixed.stderr);
    assert_eq!(decoders(&fixed), [vec!["f16", "bf16"], vec!["f16", "bf16"]]);
}

#[test]
fn weights_of_a_failed_attempt_do_not_stay_on_a_cuda_device() {
    if !cuda::is_emulated() {
        return;
    }
    let folder = folder_with_an_overflowing_model();
    let line = "--multiple 8 --mean --model wide -o l.safetensors";
    run(with_device(&folder, &format!("encode a.png {line}"), &[])).code(0);
    // The decoder's weights are 1.9 MB in a half precision, and the device has 3 MiB.
    let decode = "decode l.safetensors --model wide --device cuda --dtype f16 --json -o a2.png";
    run(with_device(&folder, decode, &[])).code(0); // with the self-checks
    let small = run(with_device(&folder, decode, &[("VAE_EMULATED_MEMORY", "3")])).code(0);
    assert_eq!(dtypes(&small, "decode"), ["bf16"]);
}

#[test]
fn memory_that_is_kept_for_later_pictures_is_freed_before_a_cuda_device_has_too_little() {
    if !cuda::is_emulated() {
        return;
    }
    let folder = folder_with_an_overflowing_model();
    write_png(&folder.path("b.png"), 192, 128);
    let line = "roundtrip b.png --mean --model wide --device cuda --json -o out.png";
    run(with_device(&folder, line, &[])).code(0); // with the self-checks
    // The encoder in f16 keeps maps that the decoder in bf16 cannot use. Either half alone fits into 8 MiB.
    let small = run(with_device(&folder, line, &[("VAE_EMULATED_MEMORY", "9")])).code(0);
    assert_eq!(dtypes(&small, "decode"), ["bf16"]);
}

#[test]
fn a_model_with_force_upcast_starts_in_f32_on_a_cuda_device() {
    if !cuda::is_emulated() {
        return;
    }
    let folder = folder_with_pictures(&["a.png", "b.png"]);
    let line = "roundtrip a.png b.png --multiple 8 --mean --model tiny --json --out-dir";
    let automatic = run(with_device(&folder, &format!("{line} auto"), &[])).code(0);
    assert_eq!(
        automatic.stderr.matches("note: computing in f32, because").count(),
        1,
        "{}",
        automatic.stderr
    );
    for half in ["encode", "decode"] {
        assert_eq!(dtypes(&automatic, half), ["f32", "f32"]);
    }
    let half = run(with_device(&folder, &format!("{line} half --dtype f16"), &[])).code(0);
    assert_eq!(dtypes(&half, "encode"), ["f16", "f16"]);
    assert!(!half.stderr.contains("force_upcast"), "{}", half.stderr);
}

#[test]
fn latents_from_a_cuda_device_state_the_precision() {
    if !cuda::is_emulated() {
        return;
    }
    let folder = folder_with_pictures(&["a.png"]);
    for (options, precision) in
        [("", "f16".into()), ("--dtype f32", "f32".into()), ("--device cpu", Value::Null)]
    {
        encode(&folder, options, &[]).code(0);
        let report = &run(with_device(&folder, "inspect l.safetensors --json", &[])).code(0).json()[0];
        assert_eq!(report["metadata"]["precision"], precision, "{report}");
    }
}

#[test]
fn a_trace_on_a_cuda_device_waits_before_it_reads_a_block() {
    if !cuda::is_emulated() {
        return;
    }
    let folder = folder_with_pictures(&["a.png"]);
    encode(&folder, "", &[]).code(0); // with the self-check
    let log = folder.path("log");
    let state = [("VAE_EMULATED_LOG", log.to_str().expect("a name"))];
    encode(&folder, "--trace", &state).code(0);
    let events = fs::read_to_string(&log).expect("a log");
    let events: Vec<&str> = events.lines().map(str::trim).collect();
    // The copies of the program's results follow the kernel that prepares them; all others are the trace's.
    let copies =
        events.windows(2).filter(|pair| pair[1] == "copy to the host" && pair[0] != "launch to_planes");
    let before: Vec<&str> = copies.map(|pair| pair[0]).collect();
    assert!(before.len() >= 6, "one copy for each block: {before:?}");
    assert!(before.iter().all(|&event| event == "synchronize"), "{before:?}");
}

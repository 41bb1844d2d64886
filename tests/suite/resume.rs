//! Outputs of earlier runs in `--out-dir`: which are kept, and which are made again, and why.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

use candle_core::{DType, Device, Tensor};
use safetensors::SafeTensors;
use serde_json::Value;
use sha2::{Digest, Sha256};

use vae::latents::Header;
use vae::picture::Described;

use crate::support::model_folder::{self, Folder};
use crate::support::process::{
    folder_with_pictures, read_picture, vae, vae_with_model, vae_with_stdin, write_png,
};

fn read(folder: &Folder, name: &str) -> Vec<u8> {
    fs::read(folder.path(name)).expect("a file")
}

fn modified(folder: &Folder, name: &str) -> SystemTime {
    fs::metadata(folder.path(name)).and_then(|m| m.modified()).expect("a file")
}

fn set_modified(folder: &Folder, name: &str, time: SystemTime) {
    File::options().write(true).open(folder.path(name)).and_then(|f| f.set_modified(time)).expect("a time");
}

/// Runs a command with one input, which must succeed. Returns why an existing output was made again, `skipped`, or
/// `new`.
#[track_caller]
fn outcome(folder: &Folder, line: &str) -> String {
    let record = vae_with_model(folder, &format!("{line} --json")).code(0).json().remove(0);
    match (&record["skipped"], &record["remade"]) {
        (Value::Null, Value::String(reason)) => reason.clone(),
        (Value::Bool(true), Value::Null) => "skipped".into(),
        (Value::Null, Value::Null) => "new".into(),
        other => panic!("{other:?}"),
    }
}

/// Returns the recipe in a picture.
fn recipe(path: &Path) -> BTreeMap<String, String> {
    let described = Described::read(path).expect("readable").expect("a description");
    assert!(described.is_complete);
    serde_json::from_str(&described.description).expect("JSON")
}

#[test]
fn the_same_output_is_not_made_again() {
    let folder = folder_with_pictures(&["a.png"]);
    for (line, output) in [
        ("encode a.png --out-dir d", "d/a.safetensors"),
        ("roundtrip a.png --out-dir d", "d/a-roundtrip.png"),
        ("roundtrip a.png --out-dir sweep --noise 0.1,0.5", "sweep/a-roundtrip.png"),
        ("decode d/a.safetensors --out-dir d", "d/a.png"),
    ] {
        assert_eq!(outcome(&folder, line), "new", "{line}");
        let (bytes, time) = (read(&folder, output), modified(&folder, output));
        let run = vae_with_model(&folder, line).code(0);
        run.says(&[output, "already made from this input with these settings"]);
        assert_eq!(outcome(&folder, line), "skipped", "{line}");
        assert!(read(&folder, output) == bytes && modified(&folder, output) == time, "{line}");
    }
}

#[test]
fn a_setting_that_changed_is_the_reason_to_make_latents_again() {
    let folder = folder_with_pictures(&["a.png"]);
    for (option, reason) in [
        ("--seed 7", "the seed was 0 and is 7"),
        ("--mean", "the draw from the posterior was sample and is mean"),
        ("--multiple 8", "the multiple was 32 and is 8"),
        ("--background black", "the background colour was #ffffff and is #000000"),
        ("--save-dtype f16", "the number format was f32 and is f16"),
        ("--multiple 16 --seed 1", "the multiple was 32 and is 16, the seed was 0 and is 1"),
    ] {
        vae_with_model(&folder, "encode a.png --out-dir d --overwrite").code(0);
        let line = format!("encode a.png --out-dir d {option}");
        assert_eq!(outcome(&folder, &line), reason);
        assert_eq!(outcome(&folder, &line), "skipped", "{option}");
        vae_with_model(&folder, &format!("encode a.png -o fresh.safetensors {option}")).code(0);
        assert_eq!(read(&folder, "d/a.safetensors"), read(&folder, "fresh.safetensors"), "{option}");
    }
    let run = vae_with_model(&folder, "encode a.png --out-dir d").code(0);
    run.says(&[
        "d/a.safetensors: made again, because the multiple was 16 and is 32, the seed was 1 and is 0\na.png → d/a.safetensors",
    ]);
}

#[test]
fn another_model_is_a_reason_to_make_an_output_again() {
    let folder = folder_with_pictures(&["a.png"]);
    vae_with_model(&folder, "encode a.png --out-dir d").code(0);
    vae_with_model(&folder, "decode d/a.safetensors --out-dir d").code(0);

    let config = model_folder::CONFIG.replace("\"sample_size\"", "\"scaling_factor\": 0.5, \"sample_size\"");
    fs::write(folder.path("model/config.json"), config).expect("a file");
    assert_eq!(outcome(&folder, "encode a.png --out-dir d"), "the scaling factor was 0.18215 and is 0.5");

    let run = vae(&folder, "encode a.png --out-dir d --model tiny --json").code(0);
    assert!(run.json()[0]["remade"].as_str().expect("a reason").contains("the model is another one"));

    // The same weights at another place are the same model.
    fs::rename(folder.path("model"), folder.path("moved")).expect("moves");
    vae(&folder, "encode a.png --out-dir d --model moved --overwrite").code(0);
    fs::rename(folder.path("moved"), folder.path("model")).expect("moves");
    assert_eq!(outcome(&folder, "encode a.png --out-dir d"), "skipped");
}

#[test]
fn another_architecture_is_a_reason_to_make_an_output_again() {
    let folder = folder_with_pictures(&["a.png"]);
    vae_with_model(&folder, "encode a.png --out-dir d").code(0);
    let (config, weights) =
        (model_folder::CONFIG, read(&folder, "model/diffusion_pytorch_model.safetensors"));
    for (key, value) in [
        ("norm_num_groups", "2"),
        ("mid_block_add_attention", "false"),
        ("use_quant_conv", "false"),
        ("use_post_quant_conv", "false"),
    ] {
        let mut other: BTreeMap<String, Value> = serde_json::from_str(config).expect("JSON");
        other.insert(key.into(), serde_json::from_str(value).expect("JSON"));
        let other = serde_json::to_string(&other).expect("JSON");
        fs::write(folder.path("model/config.json"), other).expect("a file");
        let before = read(&folder, "d/a.safetensors");
        let reason = "the architecture in the config of the model is another one";
        assert_eq!(outcome(&folder, "encode a.png --out-dir d"), reason, "{key}");
        assert!(read(&folder, "d/a.safetensors") != before, "{key}");
        assert_eq!(outcome(&folder, "encode a.png --out-dir d"), "skipped", "{key}");
        fs::write(folder.path("model/config.json"), config).expect("a file");
        assert_eq!(outcome(&folder, "encode a.png --out-dir d"), reason, "{key}");
    }
    // Keys without an effect.
    fs::write(folder.path("model/config.json"), config.replace("512", "256")).expect("a file");
    assert_eq!(outcome(&folder, "encode a.png --out-dir d"), "skipped");
    assert!(read(&folder, "model/diffusion_pytorch_model.safetensors") == weights);
}

#[test]
fn settings_that_need_no_model_are_compared_without_one() {
    let folder = folder_with_pictures(&["a.png"]);
    vae_with_model(&folder, "encode a.png --out-dir d").code(0);
    fs::rename(folder.path("model"), folder.path("elsewhere")).expect("moves");
    vae_with_model(&folder, "encode a.png --out-dir d --keep-existing").code(0);
    vae_with_model(&folder, "encode a.png --out-dir d").code(3).says(&["model"]);
}

#[test]
fn a_setting_that_changed_is_the_reason_to_make_pictures_again() {
    let folder = folder_with_pictures(&["a.png"]);
    vae_with_model(&folder, "encode a.png -o a.safetensors").code(0);
    for (command, option, reason) in [
        ("decode a.safetensors", "--unscaled", "the scaling was default and is unscaled"),
        ("decode a.safetensors", "--original-size", "the size was decoded and is original"),
        ("roundtrip a.png", "--noise 0.5", "the noise level was 0 and is 0.5"),
        ("roundtrip a.png", "--noise 0.1,0.5", "the noise level was 0 and is [0.1, 0.5]"),
        ("roundtrip a.png --noise 0.1,0.5", "--theme dark", "the theme was light and is dark"),
        ("roundtrip a.png", "--seed 3", "the seed was 0 and is 3"),
        ("roundtrip a.png", "--mean", "the draw from the posterior was sample and is mean"),
        ("roundtrip a.png", "--multiple 8", "the multiple was 32 and is 8"),
    ] {
        vae_with_model(&folder, &format!("{command} --out-dir d --overwrite")).code(0);
        let line = format!("{command} --out-dir d {option}");
        assert_eq!(outcome(&folder, &line), reason);
        assert_eq!(outcome(&folder, &line), "skipped", "{line}");
    }
}

#[test]
fn options_that_do_not_change_the_output_are_not_compared() {
    let folder = folder_with_pictures(&["a.png"]);
    vae_with_model(&folder, "roundtrip a.png --out-dir d --mean").code(0);
    for option in ["--threads 1", "--trace", "--theme dark", "--seed 5", "--quality 50", "--noise 0"] {
        assert_eq!(
            outcome(&folder, &format!("roundtrip a.png --out-dir d --mean {option}")),
            "skipped",
            "{option}"
        );
    }
}

#[test]
fn an_input_that_was_touched_is_the_same_input() {
    let folder = folder_with_pictures(&["a.png"]);
    vae_with_model(&folder, "encode a.png --out-dir d").code(0);
    set_modified(&folder, "a.png", SystemTime::now() + Duration::from_secs(3600));
    assert_eq!(outcome(&folder, "encode a.png --out-dir d"), "skipped");
    let bytes = read(&folder, "a.png");
    fs::remove_file(folder.path("a.png"))
        .and_then(|()| fs::write(folder.path("a.png"), bytes))
        .expect("a copy");
    assert_eq!(outcome(&folder, "encode a.png --out-dir d"), "skipped");
    write_png(&folder.path("a.png"), 64, 64);
    assert_eq!(outcome(&folder, "encode a.png --out-dir d"), "the input is another one");
}

#[cfg(unix)]
#[test]
fn a_change_in_place_is_noticed_although_size_and_time_are_the_same() {
    let folder = Folder::with_model();
    write_bmp(&folder, "a.bmp", 0);
    let time = SystemTime::now() - Duration::from_secs(3600);
    set_modified(&folder, "a.bmp", time);
    vae_with_model(&folder, "encode a.bmp --out-dir d").code(0);
    let mut file = File::options().write(true).open(folder.path("a.bmp")).expect("a file");
    file.seek(SeekFrom::Start(10_000)).and_then(|_| file.write_all(&[0; 64])).expect("writes");
    drop(file);
    set_modified(&folder, "a.bmp", time);
    assert_eq!(outcome(&folder, "encode a.bmp --out-dir d"), "the input is another one");
    assert_eq!(outcome(&folder, "encode a.bmp --out-dir d"), "skipped");
}

#[test]
fn an_output_that_was_copied_is_not_newer_than_a_change_of_its_input() {
    let folder = Folder::with_model();
    write_bmp(&folder, "a.bmp", 0);
    vae_with_model(&folder, "encode a.bmp --out-dir d").code(0);
    let copy = || {
        std::thread::sleep(Duration::from_millis(2200)); // longer than any file system rounds times
        let copy = fs::copy(folder.path("d/a.safetensors"), folder.path("copy"));
        copy.and_then(|_| fs::rename(folder.path("copy"), folder.path("d/a.safetensors"))).expect("a copy");
    };
    copy();
    assert_eq!(outcome(&folder, "encode a.bmp --out-dir d"), "skipped");
    let mut file = File::options().write(true).open(folder.path("a.bmp")).expect("a file");
    file.seek(SeekFrom::Start(10_000)).and_then(|_| file.write_all(&[0; 64])).expect("writes");
    drop(file);
    copy();
    assert_eq!(outcome(&folder, "encode a.bmp --out-dir d"), "the input is another one");
    assert_eq!(outcome(&folder, "encode a.bmp --out-dir d"), "skipped");
}

/// Writes a picture whose size in bytes does not depend on its content.
fn write_bmp(folder: &Folder, name: &str, blue: u8) {
    let path = folder.path(name);
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    image::RgbImage::from_fn(128, 96, |x, y| image::Rgb([2 * x as u8, 2 * y as u8, blue]))
        .save(path)
        .expect("a BMP");
}

#[test]
fn older_inputs_of_the_same_name_and_size_are_told_apart() {
    let folder = Folder::with_model();
    write_bmp(&folder, "first/frame.bmp", 0);
    write_bmp(&folder, "second/frame.bmp", 99);
    let size = |name: &str| fs::metadata(folder.path(name)).expect("a file").len();
    assert_eq!(size("first/frame.bmp"), size("second/frame.bmp"));
    vae_with_model(&folder, "encode first/frame.bmp --out-dir d").code(0);
    set_modified(&folder, "d/frame.safetensors", SystemTime::now() + Duration::from_secs(3600));
    assert_eq!(outcome(&folder, "encode first/frame.bmp --out-dir d"), "skipped");
    assert_eq!(outcome(&folder, "encode second/frame.bmp --out-dir d"), "the input is another one");
}

#[test]
fn standard_input_is_compared_by_its_content() {
    let folder = folder_with_pictures(&["a.png"]);
    write_png(&folder.path("b.png"), 96, 32);
    let encode = |name: &str| {
        let run = vae_with_stdin(&folder, "encode - --out-dir d --json", &read(&folder, name)).code(0);
        let record = run.json().remove(0);
        (record["skipped"] == true, record["remade"].as_str().map(String::from))
    };
    assert_eq!(encode("a.png"), (false, None));
    assert_eq!(encode("a.png"), (true, None));
    assert_eq!(encode("b.png"), (false, Some("the input is another one".into())));
    let header = Header::open(&folder.path("d/stdin.safetensors")).expect("latents");
    assert_eq!(header.shape().expect("latents"), [1, 4, 4, 12]);
    let latents = read(&folder, "d/stdin.safetensors");
    for skipped in [Value::Null, Value::Bool(true)] {
        let run = vae_with_stdin(&folder, "decode - --out-dir d --json", &latents).code(0);
        assert_eq!(run.json()[0]["skipped"], skipped);
    }
}

#[test]
fn a_damaged_output_is_made_again() {
    let folder = folder_with_pictures(&["a.png"]);
    for (line, output) in [
        ("encode a.png --out-dir d", "d/a.safetensors"),
        ("roundtrip a.png --out-dir d", "d/a-roundtrip.png"),
    ] {
        vae_with_model(&folder, line).code(0);
        let whole = read(&folder, output);
        fs::write(folder.path(output), "").expect("a file");
        assert_eq!(outcome(&folder, line), "it was empty");
        assert_eq!(read(&folder, output), whole);
        for len in [whole.len() * 2 / 3, whole.len() - 100, whole.len() - 1] {
            fs::write(folder.path(output), &whole[..len]).expect("a file");
            assert_eq!(outcome(&folder, line), "it was incomplete", "{output}, {len} bytes");
            assert_eq!(read(&folder, output), whole);
        }
    }
    // Within the header.
    let whole = read(&folder, "d/a.safetensors");
    fs::write(folder.path("d/a.safetensors"), &whole[..500]).expect("a file");
    assert_eq!(outcome(&folder, "encode a.png --out-dir d"), "it was incomplete");
    assert_eq!(read(&folder, "d/a.safetensors"), whole);
}

#[test]
fn a_file_of_another_program_is_never_replaced_in_silence() {
    let folder = folder_with_pictures(&["a.png", "b.png"]);
    fs::create_dir(folder.path("d")).expect("a folder");
    let tensor = Tensor::ones((1, 4, 4, 8), DType::F32, &Device::Cpu).expect("ones");
    let stranger = |metadata| safetensors::serialize([("latents", &tensor)], metadata).expect("serializes");
    let version: HashMap<String, String> = [("format_version".to_string(), "1.0.1".to_string())].into();
    for (command, output, other) in [
        ("encode", "d/a.safetensors", b"some text".to_vec()),
        ("encode", "d/a.safetensors", b"x".to_vec()),
        ("encode", "d/a.safetensors", stranger(None)),
        ("encode", "d/a.safetensors", stranger(Some(version))),
        ("roundtrip", "d/a-roundtrip.png", read(&folder, "a.png")),
        ("roundtrip", "d/a-roundtrip.png", b"GIF89a".to_vec()),
    ] {
        fs::write(folder.path(output), &other).expect("a file");
        let run = vae_with_model(&folder, &format!("{command} a.png b.png --out-dir d --json")).code(1);
        let run = run.says(&["a.png: ", output, "--overwrite", "--keep-existing", "1 of 2 inputs failed"]);
        assert!(run.json()[0]["error"].is_string() && run.json()[1]["error"].is_null());
        assert_eq!(read(&folder, output), other);
        let run =
            vae_with_model(&folder, &format!("{command} a.png --out-dir d --keep-existing --json")).code(0);
        assert_eq!(run.json()[0]["skipped"], true);
        assert_eq!(read(&folder, output), other);
        vae_with_model(&folder, &format!("{command} a.png --out-dir d --overwrite")).code(0);
        assert_eq!(outcome(&folder, &format!("{command} a.png --out-dir d")), "skipped");
    }
    fs::remove_file(folder.path("d/a.safetensors")).expect("a file");
    fs::create_dir(folder.path("d/a.safetensors")).expect("a folder");
    vae_with_model(&folder, "encode a.png --out-dir d").code(1).says(&["d/a.safetensors", "--keep-existing"]);
}

#[test]
fn keep_existing_keeps_whatever_exists() {
    let folder = folder_with_pictures(&["a.png", "b.png"]);
    vae_with_model(&folder, "encode a.png --out-dir d").code(0);
    let first = read(&folder, "d/a.safetensors");
    let line = "encode a.png b.png --out-dir d --seed 1 --keep-existing";
    let run = vae_with_model(&folder, &format!("{line} --json")).code(0).says(&["already exists, kept"]);
    assert_eq!(run.json()[0]["skipped"], true);
    assert!(run.json()[1]["skipped"].is_null());
    assert_eq!(read(&folder, "d/a.safetensors"), first);
}

#[test]
fn latents_of_an_older_version_are_made_again() {
    let folder = folder_with_pictures(&["a.png"]);
    vae_with_model(&folder, "encode a.png --out-dir d").code(0);
    let whole = read(&folder, "d/a.safetensors");
    let (_, header) = SafeTensors::read_metadata(&whole).expect("a header");
    let mut metadata = header.metadata().clone().expect("metadata");
    let old =
        ["format_version", "model", "model_sha256", "scaling_factor", "shift_factor", "scaled", "posterior"];
    let old = [&old[..], &["seed", "original_size", "encoded_size"]].concat();
    metadata.retain(|key, _| old.contains(&key.as_str()));
    assert_eq!(metadata.len(), old.len());
    let tensors = SafeTensors::deserialize(&whole).expect("safetensors");
    let bytes = safetensors::serialize(tensors.iter(), Some(metadata)).expect("serializes");
    fs::write(folder.path("d/a.safetensors"), bytes).expect("a file");
    vae_with_model(&folder, "decode d/a.safetensors -o old.png").code(0);
    vae_with_model(&folder, "decode d/a.safetensors -o old.png --original-size").code(0);
    let reason = "it does not say which input it was made from";
    assert_eq!(outcome(&folder, "encode a.png --out-dir d"), reason);
    assert_eq!(read(&folder, "d/a.safetensors"), whole);
}

#[test]
fn a_picture_below_min_psnr_fails_again_in_the_next_run() {
    let folder = folder_with_pictures(&["a.png"]);
    for (noise, key) in [("", "psnr"), ("--noise 0.1,0.5", "sweep")] {
        let line = format!("roundtrip a.png --out-dir d{key} --mean {noise}");
        let first = vae_with_model(&folder, &format!("{line} --min-psnr 90 --json")).code(1);
        let again = vae_with_model(&folder, &format!("{line} --min-psnr 90 --json")).code(1);
        let (first, record) = (first.json().remove(0), again.json().remove(0));
        again.says(&["below --min-psnr 90", "already made"]);
        assert_eq!((&record["skipped"], &record["error"]), (&Value::Bool(true), &first["error"]));
        assert!(!record[key].is_null());
        assert_eq!(record[key], first[key]);
        assert_eq!(outcome(&folder, &format!("{line} --min-psnr 1")), "skipped");
        vae_with_model(&folder, &format!("{line} --min-psnr 90 --keep-existing")).code(1).says(&["below"]);
    }
    // Nothing is certified of a picture that does not state its PSNR.
    fs::copy(folder.path("a.png"), folder.path("dpsnr/a-roundtrip.png")).expect("a copy");
    let line = "roundtrip a.png --out-dir dpsnr --mean --keep-existing";
    vae_with_model(&folder, line).code(0);
    vae_with_model(&folder, &format!("{line} --min-psnr 1"))
        .code(1)
        .says(&["PSNR is unknown", "--overwrite"]);
}

#[test]
fn pictures_of_every_format_state_how_they_were_made() {
    let folder = folder_with_pictures(&["a.png"]);
    vae_with_model(&folder, "encode a.png -o a.safetensors").code(0);
    let latents = read(&folder, "a.safetensors");
    let digest: String = Sha256::digest(&latents).iter().map(|byte| format!("{byte:02x}")).collect();
    for name in ["o.png", "o.jpg", "o.webp"] {
        vae_with_model(&folder, &format!("decode a.safetensors -o {name} --quality 90")).code(0);
        let recipe = recipe(&folder.path(name));
        for (key, value) in [
            ("input_sha256", digest.as_str()),
            ("input_size", &latents.len().to_string()),
            ("size", "decoded"),
            ("scaling", "default"),
            ("scaling_factor", "0.18215"),
            ("device", "cpu"),
            ("compute_dtype", "f32"),
        ] {
            assert_eq!(recipe[key], value, "{key} of {name}");
        }
        assert_eq!(recipe["model_sha256"].len(), 64);
        assert_eq!(recipe.get("quality").map(String::as_str), (name == "o.jpg").then_some("90"));
    }
    assert_eq!(read_picture(&folder, "o.webp"), read_picture(&folder, "o.png"));
    let run = vae_with_model(&folder, "roundtrip a.png -o r.jpg --noise 0.25 --seed 3 --json").code(0);
    let recipe = recipe(&folder.path("r.jpg"));
    for (key, value) in [("noise", "0.25"), ("seed", "3"), ("multiple", "32"), ("quality", "95")] {
        assert_eq!(recipe[key], value, "{key}");
    }
    assert_eq!(recipe["psnr"].parse().ok(), run.json()[0]["psnr"].as_f64());
}

#[test]
fn the_same_command_gives_the_same_bytes_in_any_folder() {
    let folders = ["one", "two"].map(|_| folder_with_pictures(&["a.png"]));
    fs::create_dir(folders[1].path("sub")).expect("a folder");
    fs::rename(folders[1].path("a.png"), folders[1].path("sub/b.png")).expect("moves");
    for (folder, input) in folders.iter().zip(["a.png", "sub/b.png"]) {
        vae_with_model(folder, &format!("encode {input} -o l.safetensors")).code(0);
        vae_with_model(folder, "decode l.safetensors -o d.jpg").code(0);
        vae_with_model(folder, &format!("roundtrip {input} -o r.png --noise 0.5")).code(0);
        vae_with_model(folder, &format!("roundtrip {input} -o r.webp")).code(0);
    }
    for name in ["l.safetensors", "d.jpg", "r.png", "r.webp"] {
        assert!(read(&folders[0], name) == read(&folders[1], name), "{name}");
    }
}

#[test]
fn the_pictures_of_a_batch_are_compared_one_by_one() {
    let folder = Folder::with_model();
    let batch = Tensor::ones((3, 4, 2, 3), DType::F32, &Device::Cpu).expect("ones");
    let batch = (batch * 0.5).expect("a batch");
    candle_core::safetensors::save(&[("latents", batch)].into(), folder.path("b.safetensors"))
        .expect("a file");
    let run = |line: &str| -> Vec<(bool, bool)> {
        let records = vae_with_model(&folder, &format!("{line} --json")).code(0).json();
        records.iter().map(|r| (r["skipped"] == true, r["remade"].is_string())).collect()
    };
    assert_eq!(run("decode b.safetensors --out-dir d"), [(false, false); 3]);
    assert_eq!(run("decode b.safetensors --out-dir d"), [(true, false); 3]);
    fs::remove_file(folder.path("d/b-1.png")).expect("a file");
    assert_eq!(run("decode b.safetensors --out-dir d"), [(true, false), (false, false), (true, false)]);
    fs::copy(folder.path("d/b-0.png"), folder.path("d/b-2.png")).expect("a copy");
    assert_eq!(run("decode b.safetensors --out-dir d"), [(true, false), (true, false), (false, true)]);
}

#[test]
fn a_broken_output_of_another_input_does_not_stop_the_others() {
    let folder = folder_with_pictures(&["a.png", "b.png", "c.png"]);
    vae_with_model(&folder, "encode a.png b.png --out-dir d").code(0);
    fs::write(folder.path("d/a.safetensors"), "").expect("a file");
    let run = vae_with_model(&folder, "encode a.png b.png c.png --out-dir d --json").code(0);
    let records = run.json();
    assert_eq!(records[0]["remade"], "it was empty");
    assert_eq!(records[1]["skipped"], true);
    assert!(records[2]["skipped"].is_null() && records[2]["remade"].is_null());
}

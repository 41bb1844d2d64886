//! `inspect` and `doctor`: their reports on files, models and the machine.

use candle_core::{DType, Device, Tensor};
use serde_json::{Value, json};

use vae::picture::{Background, Picture};

use crate::support::golden::Golden;
use crate::support::model_folder::{self, Folder};
use crate::support::process::{Run, command, run, vae, vae_with_model, write_png};

fn text(run: &Run) -> &str {
    std::str::from_utf8(&run.stdout).expect("UTF-8")
}

fn store(folder: &Folder, name: &str, tensors: &[(&str, Tensor)]) {
    let tensors = tensors.iter().map(|(name, tensor)| (*name, tensor));
    std::fs::write(folder.path(name), safetensors::serialize(tensors, None).expect("serializes"))
        .expect("a file");
}

fn tensor(values: Vec<f32>, shape: &[usize]) -> Tensor {
    Tensor::from_vec(values, shape, &Device::Cpu).expect("as many values as the shape has")
}

#[test]
fn latents_of_this_program_are_described_with_their_metadata() {
    let folder = Folder::with_model();
    write_png(&folder.path("p.png"), 100, 70);
    vae_with_model(&folder, "encode p.png -o l.safetensors --seed 3 --save-dtype f16").code(0);
    let record = &vae(&folder, "inspect l.safetensors --json").code(0).json()[0];
    assert_eq!((&record["kind"], &record["input"]), (&json!("latents"), &json!("l.safetensors")));
    assert_eq!((&record["name"], &record["dtype"]), (&json!("latents"), &json!("F16")));
    assert_eq!(record["shape"], json!([1, 4, 8, 12]));
    assert_eq!(record["metadata"]["seed"], "3");
    assert_eq!((&record["scaled"], &record["evidence"]), (&json!(true), &json!("metadata")));
    let latents = vae::latents::Latents::from_safetensors(
        &std::fs::read(folder.path("l.safetensors")).expect("a file"),
    );
    let tensor = latents.expect("latents").tensor;
    for (j, channel) in record["channels"].as_array().expect("channels").iter().enumerate() {
        let mean = tensor.get(0).and_then(|t| t.get(j)?.mean_all()?.to_scalar::<f32>()).expect("a mean");
        assert!((channel["mean"].as_f64().expect("a mean") - f64::from(mean)).abs() < 1e-5);
        assert_eq!((&channel["count"], &channel["nan"], &channel["inf"]), (&json!(96), &json!(0), &json!(0)));
        let counts =
            channel["histogram"].as_array().expect("counts").iter().map(|n| n.as_u64().expect("a count"));
        assert_eq!(counts.sum::<u64>(), 96);
    }
    vae(&folder, "inspect l.safetensors").code(0).prints(&[
        "[1, 4, 8, 12], F16",
        "seed: 3",
        "yes, according to the metadata",
        "█",
    ]);
}

#[test]
fn nan_and_infinity_in_latents_are_counted_and_drawn_in_red() {
    let folder = Folder::new();
    let mut values = vec![5.5f32; 4 * 6];
    (values[1], values[7], values[8]) = (-5.5, f32::NAN, f32::NEG_INFINITY);
    store(&folder, "l.safetensors", &[("samples", tensor(values, &[4, 2, 3]))]);
    let run = vae(&folder, "inspect l.safetensors -o plates.png --json").code(0);
    let record = &run.json()[0];
    assert_eq!((&record["name"], &record["output"]), (&json!("samples"), &json!("plates.png")));
    assert_eq!((&record["scaled"], &record["evidence"]), (&json!(false), &json!("rms")));
    let counts: Vec<Value> = record["channels"]
        .as_array()
        .expect("channels")
        .iter()
        .map(|c| json!([c["nan"], c["inf"]]))
        .collect();
    assert_eq!(counts, [json!([0, 0]), json!([1, 1]), json!([0, 0]), json!([0, 0])]);
    let plates = Picture::open(&folder.path("plates.png"), Background::WHITE).expect("a picture");
    assert_eq!((plates.width(), plates.height()), (4 * 24 + 3 * 8, 16));
    let pixel = |x: usize, y: usize| plates.values()[(y * plates.width() + x) * 3..][..3].to_vec();
    assert_eq!((pixel(0, 0), pixel(8, 0)), (vec![255.0; 3], vec![0.0; 3]));
    assert_eq!(pixel(32 + 8, 7), [255.0, 0.0, 0.0]);
}

#[test]
fn pictures_are_described_as_stored_and_as_encoded() {
    let folder = Folder::new();
    image::GrayAlphaImage::new(75, 110).save(folder.path("g.png")).expect("a PNG");
    let record = &vae(&folder, "inspect g.png --json").code(0).json()[0];
    assert_eq!((&record["kind"], &record["format"]), (&json!("picture"), &json!("PNG")));
    assert_eq!((&record["color"], &record["bits"]), (&json!("grey with alpha"), &json!(8)));
    assert_eq!((&record["preprocessed"], &record["latents"]), (&json!([64, 96]), &json!([1, 4, 12, 8])));
    assert_eq!((&record["upright"], &record["orientation"]), (&json!([75, 110]), &json!(null)));
    let run = vae(&folder, "inspect g.png --multiple 8 --json").code(0);
    assert_eq!(run.json()[0]["latents"], json!([1, 4, 13, 9]));

    let mut turned = Vec::new();
    let mut encoder = image::codecs::jpeg::JpegEncoder::new(&mut turned);
    let exif = [b"II*\0\x08\0\0\0", &b"\x01\0\x12\x01\x03\0\x01\0\0\0"[..], &[6, 0, 0, 0], &[0; 4]].concat();
    image::ImageEncoder::set_exif_metadata(&mut encoder, exif).expect("EXIF is possible in JPEG");
    encoder.encode_image(&image::RgbImage::new(100, 40)).expect("a JPEG");
    inspect_stdin(&folder, &turned).code(0).prints(&[
        "-: a JPEG picture",
        "100×40",
        "90° clockwise (EXIF): 40×100",
        "[1, 4, 12, 4]",
    ]);
    image::RgbImage::new(20, 500).save(folder.path("thin.png")).expect("a PNG");
    vae(&folder, "inspect thin.png").code(0).prints(&["at least 32"]);
}

/// Runs `vae inspect -` with `input` on stdin.
fn inspect_stdin(folder: &Folder, input: &[u8]) -> Run {
    std::fs::write(folder.path("stdin"), input).expect("a file");
    let mut command = command(folder);
    command.args(["inspect", "-"]).stdin(std::fs::File::open(folder.path("stdin")).expect("a file"));
    run(command)
}

#[test]
fn other_safetensors_are_listed() {
    let folder = Folder::with_model();
    let file = "model/diffusion_pytorch_model.safetensors";
    vae(&folder, &format!("inspect {file}")).code(0).prints(&[
        "not latents",
        "decoder.conv_in.bias [8], F32",
        "more (listed by --json)",
        "vae inspect --model",
    ]);
    let record = &vae(&folder, &format!("inspect {file} --json")).code(0).json()[0];
    assert_eq!((&record["kind"], &record["dtypes"]), (&json!("safetensors"), &json!(["F32"])));
    let tensors = model_folder::tensors();
    let parameters: usize = tensors.values().map(Tensor::elem_count).sum();
    assert_eq!(record["parameters"], parameters);
    assert_eq!(record["tensors"].as_array().expect("tensors").len(), tensors.len());
    vae(&folder, &format!("inspect {file} -o plates.png")).code(1).says(&["no latents found"]);
    assert!(!folder.path("plates.png").exists());
}

#[test]
fn broken_and_unknown_files_are_clear_errors() {
    let folder = Folder::new();
    write_png(&folder.path("p.png"), 200, 100);
    let png = std::fs::read(folder.path("p.png")).expect("a file");
    let latents = tensor(vec![0.5; 24], &[1, 4, 2, 3]);
    let stored = safetensors::serialize([("latents", &latents)], None).expect("serializes");
    let whole = tensor(vec![1.0; 24], &[1, 4, 2, 3]).to_dtype(DType::I64).expect("whole numbers");
    let whole = safetensors::serialize([("latents", &whole)], None).expect("serializes");
    for (name, bytes, texts) in [
        ("cut.png", &png[..png.len() / 2], &["picture"][..]),
        ("empty", b"", &["not a PNG"]),
        ("text.safetensors", b"not safetensors at all", &["neither a safetensors file nor a picture"]),
        ("cut.safetensors", &stored[..stored.len() - 5], &["not a valid safetensors"]),
    ] {
        std::fs::write(folder.path(name), bytes).expect("a file");
        let run = vae(&folder, &format!("inspect {name} --json")).code(1).says(&[name]).says(texts);
        assert!(run.json()[0]["error"].is_string(), "{name}");
    }
    std::fs::write(folder.path("whole.safetensors"), whole).expect("a file");
    vae(&folder, "inspect whole.safetensors").code(0).prints(&["I64"]);
    vae(&folder, "inspect p.png -o plates.png").code(1).says(&["plates"]);
    vae(&folder, "inspect missing.png").code(1).says(&["missing.png", "No such file"]);
    for line in [
        "inspect",
        "inspect p.png --model tiny",
        "inspect p.png -o p.png",
        "inspect p.png --revision v1",
        "inspect p.png -o plates.tga",
        "inspect p.png --multiple 12",
        "inspect --model tiny --revision v1",
        "inspect --model tiny -o x.png",
    ] {
        vae(&folder, line).code(2).says(&["error: "]);
    }
    vae(&folder, "inspect --model nothing").code(3).says(&["nothing"]);
}

#[test]
fn the_module_tree_matches_python() {
    let golden = Golden::open("trace.safetensors");
    let wanted: Vec<(String, String, u64)> = serde_json::from_str(golden.text("modules")).expect("modules");
    let folder = Folder::new();
    let record = &vae(&folder, "inspect --model tiny --json").code(0).json()[0];
    let rows = record["modules"].as_array().expect("modules");
    let name = |row: &Value| row["name"].as_str().expect("a name").to_string();
    assert_eq!(
        rows.iter().map(name).collect::<Vec<_>>(),
        wanted.iter().map(|w| w.0.clone()).collect::<Vec<_>>()
    );
    for (row, (name, class, parameters)) in rows.iter().zip(&wanted) {
        let kind = row["kind"].as_str().expect("a class");
        assert!(class.starts_with(kind.trim_end_matches(')')), "{name}: {kind} is not {class}");
        assert_eq!(row["parameters"], *parameters, "{name}");
    }
    let all: u64 = wanted.iter().filter(|w| !w.0.contains('.')).map(|w| w.2).sum();
    assert_eq!((&record["parameters"], &record["dtypes"]), (&json!(all), &json!(["F16"])));
    assert_eq!(record["sha256"].as_str().map(str::len), Some(64));
    let run = vae(&folder, "inspect --model tiny").code(0);
    assert!(text(&run).starts_with("(encoder): Encoder("), "{}", text(&run));
    run.prints(&["\n(decoder): Decoder(", "(0-1): 2 x ResnetBlock2D(", "SHA-256"]);
}

#[test]
fn a_checkpoint_in_a_pipeline_is_described_with_its_components() {
    let folder = Folder::new();
    model_folder::write(&folder.path("pipe/vae"));
    let index = r#"{"_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"], "safety_checker": [null, null]}"#;
    std::fs::write(folder.path("pipe/model_index.json"), index).expect("a file");
    for model in ["pipe", "pipe/vae", "pipe/vae/diffusion_pytorch_model.safetensors"] {
        vae(&folder, &format!("inspect --model {model}")).code(0).prints(&[
            "part of a StableDiffusionPipeline",
            "→ vae ",
            "  unet ",
            "UNet2DConditionModel (diffusers)",
        ]);
    }
    let mut inside = command(&folder);
    inside.args(["inspect", "--model", ".", "--json"]).current_dir(folder.path("pipe/vae"));
    let parts = &run(inside).code(0).json()[0]["pipeline"]["components"];
    assert_eq!(
        parts[1],
        json!({"name": "vae", "library": "diffusers", "class": "AutoencoderKL", "loaded": true})
    );
    std::fs::write(folder.path("pipe/model_index.json"), "broken").expect("a file");
    assert!(vae(&folder, "inspect --model pipe --json").code(0).json()[0].get("pipeline").is_none());
}

/// A file of a terabyte, nearly all of it a hole, has neither to be read nor to be mapped.
#[cfg(target_os = "linux")]
#[test]
fn only_the_header_of_a_file_without_latents_is_read() {
    let folder = Folder::new();
    let header = r#"{"w":{"dtype":"F32","shape":[262144,1048576],"data_offsets":[0,1099511627776]}}"#;
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    let length = bytes.len() as u64 + (1 << 40);
    std::fs::write(folder.path("w.safetensors"), bytes).expect("a file");
    let file = std::fs::File::options().write(true).open(folder.path("w.safetensors")).expect("a file");
    if file.set_len(length).is_err() {
        return; // the file system has no files of this size
    }
    let run = vae(&folder, "inspect w.safetensors").code(0);
    assert!(text(&run).contains("1 tensor, 274,877,906,944 values"), "{}", text(&run));
}

#[test]
fn escape_sequences_in_metadata_do_not_reach_the_terminal() {
    let folder = Folder::new();
    let latents = tensor(vec![0.5; 24], &[1, 4, 2, 3]);
    let metadata = [("note".to_string(), "\u{1b}[31mred".to_string())].into();
    let bytes = safetensors::serialize([("latents", &latents)], Some(metadata)).expect("serializes");
    std::fs::write(folder.path("l.safetensors"), bytes).expect("a file");
    let run = vae(&folder, "inspect l.safetensors").code(0);
    assert!(!run.stdout.contains(&0x1b) && text(&run).contains("[31mred"), "{}", text(&run));
}

#[test]
fn the_doctor_passes_on_this_machine_and_prints_no_secrets() {
    let folder = Folder::new();
    let mut doctor = command(&folder);
    doctor.args(["doctor"]).env("HF_TOKEN", "hf_secret").env("HF_ENDPOINT", "http://me:secret@127.0.0.1:9");
    doctor.env_remove("HF_HUB_OFFLINE");
    let report = run(doctor).code(0).prints(&[
        env!("CARGO_PKG_VERSION"),
        "portable",
        "threads",
        "hf-home",
        "http://127.0.0.1:9, not in offline mode",
        "not in the cache",
        "passed on cpu",
    ]);
    assert!(!text(&report).contains("secret") && !report.stderr.contains("secret"), "{}", text(&report));

    let report = &vae(&folder, "doctor --json").code(0).json()[0];
    let test = &report["self_tests"][0];
    assert_eq!((&test["device"], &test["passed"]), (&json!("cpu"), &json!(true)));
    for key in ["encode_difference", "decode_difference"] {
        let difference = test[key].as_f64().expect("a number");
        assert!(
            difference > 0.0 && difference < test["bound"].as_f64().expect("a bound"),
            "{key} {difference}"
        );
    }
    assert!(test["ms"].as_f64() > Some(0.0) && test["stock_ms"].as_f64() > Some(0.0));
    assert_eq!(report["hub"]["offline"], true);
    let with_level = |level: &str| {
        let mut command = command(&folder);
        command.args(["doctor", "--json"]).env("VAE_CPU", level);
        run(command)
    };
    assert_eq!(with_level("portable").code(0).json()[0]["cpu"]["level"], "portable");
    with_level("mmx").code(2).says(&["VAE_CPU=mmx"]);
}

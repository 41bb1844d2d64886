//! The files that `encode`, `decode` and `roundtrip` write.

use candle_core::{DType, Device, Tensor};
use safetensors::SafeTensors;

use vae::device::Cpu;
use vae::latents::{Draw, Latents, Provenance};
use vae::model::{AutoencoderKl, Config, Scaling};
use vae::noise::Generator;
use vae::picture::Picture;

use crate::support::formula;
use crate::support::golden::{relative_error, values};
use crate::support::model_folder::{CONFIG, Folder};
use crate::support::process::{read_picture, vae_with_model, vae_with_stdin, write_png};

fn folder_with_picture(width: u32, height: u32) -> Folder {
    let folder = Folder::with_model();
    write_png(&folder.path("img.png"), width, height);
    folder
}

fn read(folder: &Folder, name: &str) -> Latents {
    Latents::from_safetensors(&std::fs::read(folder.path(name)).expect("a file")).expect("latents")
}

fn model() -> AutoencoderKl<Cpu> {
    let cpu = Cpu::new().expect("a level of this machine");
    let config = Config::from_json(CONFIG).expect("a valid config");
    AutoencoderKl::new(&cpu, &config, formula::var_builder()).expect("a model")
}

fn decode_scaled(latents: &Tensor) -> Tensor {
    let vae = model();
    vae.decode(&vae.config().unscale(latents).expect("unscales")).expect("decodes")
}

#[test]
fn encode_writes_the_sample_that_torch_draws() {
    let folder = folder_with_picture(110, 75);
    vae_with_model(&folder, "encode img.png -o l.safetensors --seed 42").code(0).says(&["l.safetensors"]);
    let got = read(&folder, "l.safetensors");

    let picture = read_picture(&folder, "img.png").preprocess(32).expect("large enough");
    assert_eq!((picture.width(), picture.height()), (96, 64));
    let posterior = model().encode(&picture.to_tensor(&Device::Cpu).expect("pixels")).expect("a posterior");
    let noise = Generator::new(42).randn_tensor(&[1, 4, 8, 12], &Device::Cpu).expect("noise");
    let wanted = model().config().scale(&posterior.sample(&noise).expect("a sample")).expect("latents");
    assert_eq!(values(&got.tensor), values(&wanted));
    assert_eq!(got.provenance.draw, Some(Draw::Sample { seed: 42 }));
    assert_eq!(got.provenance.original_size, Some((110, 75)));
    assert_eq!(got.provenance.encoded_size, Some((96, 64)));
    assert_eq!(got.provenance.model.as_deref(), Some("model"));
    assert_eq!(got.provenance.model_sha256.map(|d| d.len()), Some(64));
}

#[test]
fn encode_can_use_the_mean_and_store_f16() {
    let folder = folder_with_picture(64, 40);
    vae_with_model(&folder, "encode img.png -o m.safetensors --mean --multiple 8").code(0);
    vae_with_model(&folder, "encode img.png -o h.safetensors --mean --multiple 8 --save-dtype f16").code(0);
    let (full, half) = (read(&folder, "m.safetensors"), read(&folder, "h.safetensors"));
    assert_eq!(full.tensor.dims(), [1, 4, 5, 8]);
    assert_eq!(full.provenance.draw, Some(Draw::Mean));
    let error = relative_error(&half.tensor, &full.tensor);
    assert!((1e-6..1e-3).contains(&error), "{error:.2e}");
    let size = |name: &str| std::fs::metadata(folder.path(name)).expect("a file").len();
    assert!(size("h.safetensors") < size("m.safetensors"));
}

#[test]
fn decode_writes_the_picture_also_in_its_original_size() {
    let folder = folder_with_picture(110, 75);
    vae_with_model(&folder, "encode img.png -o l.safetensors").code(0);
    vae_with_model(&folder, "decode l.safetensors -o out.png").code(0);
    let wanted = decode_scaled(&read(&folder, "l.safetensors").tensor);
    assert_eq!(read_picture(&folder, "out.png"), Picture::from_tensor(&wanted).expect("a picture"));

    vae_with_model(&folder, "decode l.safetensors -o full.png --original-size").code(0);
    let full = read_picture(&folder, "full.png");
    assert_eq!((full.width(), full.height()), (110, 75));
}

#[test]
fn pictures_are_written_in_the_format_of_the_extension() {
    let folder = folder_with_picture(64, 32);
    vae_with_model(&folder, "encode img.png -o l.safetensors").code(0);
    for name in ["o.png", "o.jpg", "o.jpeg", "o.WebP"] {
        vae_with_model(&folder, &format!("decode l.safetensors -o {name}")).code(0);
    }
    let format = |name: &str| {
        image::guess_format(&std::fs::read(folder.path(name)).expect("a file")).expect("a picture")
    };
    assert_eq!(format("o.png"), image::ImageFormat::Png);
    assert_eq!(format("o.jpg"), image::ImageFormat::Jpeg);
    assert_eq!(format("o.WebP"), image::ImageFormat::WebP);
    assert_eq!(read_picture(&folder, "o.WebP"), read_picture(&folder, "o.png"), "WebP is lossless");
    vae_with_model(&folder, "decode l.safetensors -o small.jpg --quality 5").code(0);
    let size = |name: &str| std::fs::metadata(folder.path(name)).expect("a file").len();
    assert!(size("small.jpg") < size("o.jpg"));
}

#[test]
fn a_batch_is_decoded_into_numbered_pictures() {
    let folder = Folder::with_model();
    let batch = Tensor::from_vec(Generator::new(1).randn(11 * 4 * 2 * 3), (11, 4, 2, 3), &Device::Cpu)
        .expect("noise");
    candle_core::safetensors::save(&[("latents", batch.clone())].into(), folder.path("b.safetensors"))
        .expect("a file");
    vae_with_model(&folder, "decode b.safetensors -o out.png").code(0);
    let wanted = decode_scaled(&batch.narrow(0, 10, 1).expect("the last"));
    assert_eq!(read_picture(&folder, "out-10.png"), Picture::from_tensor(&wanted).expect("a picture"));
    assert!(folder.path("out-00.png").exists() && !folder.path("out.png").exists());
    vae_with_model(&folder, "decode b.safetensors -o -").code(1).says(&["batch of 11"]);
}

#[test]
fn latents_of_other_programs_are_taken_as_scaled_by_default() {
    let folder = Folder::with_model();
    let latents = Tensor::from_vec(Generator::new(2).randn(4 * 6), (4, 2, 3), &Device::Cpu).expect("noise"); // [c, h, w]
    for (name, dtype) in [("f32", DType::F32), ("bf16", DType::BF16), ("f64", DType::F64)] {
        let stored = [("samples", latents.to_dtype(dtype).expect("floats"))].into();
        candle_core::safetensors::save(&stored, folder.path(&format!("{name}.safetensors"))).expect("a file");
        vae_with_model(&folder, &format!("decode {name}.safetensors -o {name}.png")).code(0);
    }
    let batch = latents.unsqueeze(0).expect("a batch of one");
    let wanted = Picture::from_tensor(&decode_scaled(&batch)).expect("a picture");
    assert_eq!(read_picture(&folder, "f32.png"), wanted);
    assert_eq!(read_picture(&folder, "f64.png"), wanted);
    vae_with_model(&folder, "decode f32.safetensors -o raw.png --unscaled").code(0);
    let raw = Picture::from_tensor(&model().decode(&batch).expect("decodes")).expect("a picture");
    assert_eq!(read_picture(&folder, "raw.png"), raw);
}

#[test]
fn latents_that_look_otherwise_are_reported() {
    let folder = Folder::with_model();
    let noise = Tensor::from_vec(Generator::new(3).randn(4 * 64), (1, 4, 8, 8), &Device::Cpu).expect("noise");
    let save = |name: &str, factor: f64, scaled: Option<bool>| {
        let scaling = scaled.map(|_| Scaling::new(0.18215, 0.0));
        let provenance = Provenance { scaling, scaled, ..Provenance::default() };
        let tensor = (&noise * factor).expect("f32");
        let latents = Latents { tensor, provenance };
        let bytes = latents.to_safetensors(DType::F32).expect("writes");
        std::fs::write(folder.path(&format!("{name}.safetensors")), bytes).expect("a file");
    };
    save("scaled", 1.0, None);
    save("unscaled", 1.0 / 0.18215, None);
    save("says-scaled", 1.0 / 0.18215, Some(true));
    save("says-unscaled", 1.0, Some(false));
    save("right", 1.0, Some(true));
    save("weak", 0.3 / 0.18215, Some(false));
    for (line, texts) in [
        ("scaled", &[][..]),
        ("scaled --scaled", &[]),
        ("unscaled --unscaled", &[]),
        ("right", &[]),
        ("weak", &[]),
        ("unscaled", &["look unscaled", "rms 5.", "decoded as scaled", "--unscaled", "--scaled"]),
        ("unscaled --scaled", &["look unscaled", "--scaled is given"]),
        ("scaled --unscaled", &["look scaled", "--unscaled is given"]),
        ("says-scaled", &["look unscaled", "metadata states that they are scaled"]),
        ("says-unscaled", &["look scaled", "metadata states that they are unscaled"]),
        ("right --unscaled", &["states that the latents are scaled", "--unscaled is ignored"]),
    ] {
        let (name, options) = line.split_once(' ').unwrap_or((line, ""));
        let run = vae_with_model(&folder, &format!("decode {name}.safetensors {options} -o o.png --json"));
        let record = run.code(0).says(texts).json().remove(0);
        let warnings = record["warnings"].as_array().cloned().unwrap_or_default();
        assert_eq!(warnings.len(), usize::from(!texts.is_empty()), "{line}: {warnings:?}");
    }
    vae_with_model(&folder, "decode scaled.safetensors --scaled --unscaled").code(2);
}

#[test]
fn a_format_version_of_another_program_is_not_ours() {
    let folder = Folder::with_model();
    let latents = Tensor::ones((1, 4, 2, 3), DType::F32, &Device::Cpu).expect("ones");
    let metadata = [("format_version", "1.0.1"), ("architecture", "wan")];
    let metadata = metadata.map(|(key, value)| (key.to_string(), value.to_string())).into();
    let bytes = safetensors::serialize([("latents", &latents)], Some(metadata)).expect("serializes");
    std::fs::write(folder.path("l.safetensors"), bytes).expect("a file");
    vae_with_model(&folder, "decode l.safetensors -o out.png").code(0);
    assert_eq!(
        read_picture(&folder, "out.png"),
        Picture::from_tensor(&decode_scaled(&latents)).expect("a picture")
    );
    let report = vae_with_model(&folder, "decode l.safetensors -o out.png --original-size").code(1);
    report.says(&["no original_size"]);
}

#[test]
fn a_file_cannot_ask_for_a_picture_that_is_much_larger() {
    let folder = Folder::with_model();
    let tensor = Tensor::ones((1, 4, 2, 2), DType::F32, &Device::Cpu).expect("ones");
    for (size, code) in [((13376, 13376), 1), ((129, 16), 1), ((16, 129), 1), ((128, 128), 0)] {
        let provenance = Provenance { original_size: Some(size), ..Provenance::default() };
        let latents = Latents { tensor: tensor.clone(), provenance };
        std::fs::write(folder.path("l.safetensors"), latents.to_safetensors(DType::F32).expect("writes"))
            .expect("a file");
        let run = vae_with_model(&folder, "decode l.safetensors -o out.png --original-size").code(code);
        if code == 1 {
            run.says(&["original_size", "more than 8 times", "16x16"]);
        }
        vae_with_model(&folder, "decode l.safetensors -o out.png").code(0);
    }
}

#[test]
fn standard_streams_carry_data() {
    let folder = folder_with_picture(64, 32);
    let png = std::fs::read(folder.path("img.png")).expect("a file");
    let latents = vae_with_stdin(&folder, "encode - -o -", &png).code(0).stdout;
    assert_eq!(Latents::from_safetensors(&latents).expect("latents").tensor.dims(), [1, 4, 4, 8]);
    let picture = vae_with_stdin(&folder, "decode - -o -", &latents).code(0).stdout;
    assert_eq!(image::guess_format(&picture).expect("a picture"), image::ImageFormat::Png);
}

#[test]
fn roundtrip_reports_the_difference_of_the_pictures() {
    let folder = folder_with_picture(96, 64);
    let run = vae_with_model(&folder, "roundtrip img.png -o out.png --mean --json -v").code(0);
    let run = run.says(&["PSNR", "encode", "decode"]);
    let record = &run.json()[0];
    let psnr = vae::metrics::psnr(&read_picture(&folder, "img.png"), &read_picture(&folder, "out.png"));
    assert!((record["psnr"].as_f64().expect("dB") - psnr).abs() < 1e-9);
    let pictures = [read_picture(&folder, "img.png"), read_picture(&folder, "out.png")];
    let ssim = vae::metrics::ssim(&pictures[0], &pictures[1]).expect("large enough");
    assert!((record["ssim"].as_f64().expect("a number") - ssim).abs() < 1e-9);
    let difference = vae::metrics::difference(&pictures[0], &pictures[1]);
    assert_eq!(record["max_difference"], difference.max);
    assert!((record["mean_difference"].as_f64().expect("levels") - difference.mean).abs() < 1e-9);
    assert_eq!(record["input"], "img.png");
    assert_eq!(record["output"], "out.png");
    assert_eq!(record["shape"], serde_json::json!([1, 4, 8, 12]));
    for stage in ["load_ms", "preprocess_ms", "encode_ms", "decode_ms", "write_ms"] {
        assert!(record["stages"][stage].as_f64().is_some_and(|ms| ms >= 0.0), "{stage}");
    }
    vae_with_model(&folder, "roundtrip img.png -o noised.png --mean --noise 0.5").code(0);
    assert_ne!(read_picture(&folder, "noised.png"), read_picture(&folder, "out.png"));
}

#[test]
fn latents_files_have_the_documented_tensor_and_metadata() {
    let folder = folder_with_picture(64, 32);
    vae_with_model(&folder, "encode img.png -o l.safetensors --seed 7").code(0);
    let bytes = std::fs::read(folder.path("l.safetensors")).expect("a file");
    let file = SafeTensors::deserialize(&bytes).expect("safetensors");
    assert_eq!(file.names(), ["latents"]);
    assert_eq!(file.tensor("latents").expect("the tensor").dtype(), safetensors::Dtype::F32);
    let (_, header) = SafeTensors::read_metadata(&bytes).expect("a header");
    let metadata = header.metadata().clone().expect("metadata");
    for (key, value) in [
        ("format_version", "1"),
        ("model", "model"),
        ("scaling_factor", "0.18215"),
        ("scaled", "true"),
        ("posterior", "sample"),
        ("seed", "7"),
        ("original_size", "64x32"),
        ("encoded_size", "64x32"),
    ] {
        assert_eq!(metadata[key], value, "{key}");
    }
}

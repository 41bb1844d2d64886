//! Families and scalings: the options, the evidence, refusals, and the warnings about encoded latents.

use std::fs;

use candle_core::{DType, Tensor};
use safetensors::Dtype;
use serde_json::{Value, json};

use vae::checkpoint::families::{FAMILIES, Numbers};
use vae::checkpoint::{Family, NamedModel};
use vae::latents::Latents;

use crate::single_files;
use crate::support::golden::values;
use crate::support::model_folder::{self, CONFIG, Folder};
use crate::support::process::{Run, folder_with_pictures, vae, vae_with_model, write_png};

/// A folder with a model whose config has further keys.
fn folder(keys: &str) -> Folder {
    let folder = folder_with_pictures(&["p.png"]);
    let config = CONFIG.replace("\"sample_size\": 512", &format!("\"sample_size\": 512{keys}"));
    fs::write(folder.path("model/config.json"), config).expect("a file");
    folder
}

/// A folder with a model whose scaling nothing states: FLUX.2's class, without the statistics.
fn folder_without_evidence() -> Folder {
    let folder = folder("");
    let config = CONFIG.replace("\"AutoencoderKL\"", "\"AutoencoderKLFlux2\"");
    fs::write(folder.path("model/config.json"), config).expect("a file");
    folder
}

fn encode(folder: &Folder, options: &str) -> Run {
    vae_with_model(folder, &format!("encode p.png -o l.safetensors {options}"))
}

fn encoded(folder: &Folder, options: &str) -> Vec<u8> {
    encode(folder, options).code(0);
    fs::read(folder.path("l.safetensors")).expect("a file")
}

#[test]
fn options_and_config_give_the_same_bytes() {
    let statistics = r#", "latents_mean": [-1.6574, 1.886, -1.383, 2.5155], "latents_std": [8.4927, 5.9022, 6.5498, 5.2299]"#;
    let plain = folder("");
    for (keys, options) in [
        (r#", "scaling_factor": 0.13025"#, ["--scaling-factor 0.13025", "--family sdxl"]),
        (
            r#", "scaling_factor": 0.4, "shift_factor": 0.1"#,
            [
                "--scaling-factor 0.4 --shift-factor 0.1",
                "--family sdxl --scaling-factor 0.4 --shift-factor 0.1",
            ],
        ),
        (
            &format!(r#", "scaling_factor": 0.5{statistics}"#),
            ["--family playground", "--family playground --scaling-factor 0.5"],
        ),
    ] {
        let wanted = encoded(&folder(keys), "");
        for options in options {
            assert!(encoded(&plain, options) == wanted, "{options}");
        }
        assert!(encoded(&plain, "") != wanted);
        let decode = |folder: &Folder, options: &str| {
            fs::write(folder.path("l.safetensors"), foreign(&wanted)).expect("a file");
            vae_with_model(folder, &format!("decode l.safetensors -o d.png {options}")).code(0);
            vae::picture::Picture::open(&folder.path("d.png"), vae::picture::Background::WHITE)
                .expect("a picture")
        };
        let pictures = [decode(&folder(keys), ""), decode(&plain, options[0])];
        assert_eq!(pictures[0].values(), pictures[1].values());
    }
}

/// The same latents without metadata, as other programs write them.
fn foreign(latents: &[u8]) -> Vec<u8> {
    let tensor = Latents::from_safetensors(latents).expect("latents").tensor;
    safetensors::serialize([("latents", &tensor)], None).expect("serializes")
}

#[test]
fn unscaled_latents_are_those_of_the_vae_and_decode_without_a_factor() {
    let folder = folder(r#", "scaling_factor": 0.13025, "shift_factor": 0.2"#);
    let latents = |options: &str| Latents::from_safetensors(&encoded(&folder, options)).expect("latents");
    let (scaled, unscaled) = (latents("--mean"), latents("--mean --unscaled"));
    assert_eq!((scaled.provenance.scaled, unscaled.provenance.scaled), (Some(true), Some(false)));
    let wanted: Vec<f32> = values(&unscaled.tensor).iter().map(|z| (z - 0.2) * 0.13025).collect();
    assert_eq!(values(&scaled.tensor), wanted);
    // The file states it, so decode needs no option. Without metadata, it does.
    let picture = |options: &str| {
        vae_with_model(&folder, &format!("decode l.safetensors -o d.png {options}")).code(0);
        vae::picture::Picture::open(&folder.path("d.png"), vae::picture::Background::WHITE)
            .expect("a picture")
            .to_rgb8()
    };
    let wanted = picture("");
    fs::write(folder.path("l.safetensors"), foreign(&encoded(&folder, "--mean --unscaled"))).expect("a file");
    assert_eq!(picture("--unscaled"), wanted);
    assert_ne!(picture("--scaled"), wanted);
}

#[test]
fn without_evidence_only_work_that_needs_the_factor_is_refused() {
    let folder = folder_without_evidence();
    let needed =
        ["sd1 (0.18215)", "sdxl (0.13025)", "playground", "--family", "--scaling-factor", "--unscaled"];
    encode(&folder, "").code(3).says(&needed);
    assert!(!folder.path("l.safetensors").exists());
    vae_with_model(&folder, "roundtrip p.png -o r.png --noise 0.5").code(3).says(&needed);
    vae_with_model(&folder, "roundtrip p.png -o r.png").code(0);
    let latents = encoded(&folder, "--unscaled");
    vae_with_model(&folder, "decode l.safetensors -o d.png").code(0);
    fs::write(folder.path("f.safetensors"), foreign(&latents)).expect("a file");
    vae_with_model(&folder, "decode f.safetensors -o d2.png").code(3).says(&needed);
    vae_with_model(&folder, "decode f.safetensors -o d2.png --unscaled").code(0);
    vae_with_model(&folder, "inspect").code(0).prints(&["scaling is unknown", "family      sd1 ("]);
    let report = &vae_with_model(&folder, "inspect --json").code(0).json()[0];
    assert!(report.get("evidence").is_none() && report.get("scaling_factor").is_none(), "{report}");
    assert!(report["families"].as_array().is_some_and(|families| families.len() > 3));

    for options in ["--family sdxl", "--scaling-factor 0.13025"] {
        encode(&folder, options).code(0);
    }
    encode(&folder, "--shift-factor 0.1").code(3).says(&["--scaling-factor"]);
    encode(&folder, "--family flux2").code(3).says(&["flux2", "4 at 1/8"]);
}

#[test]
fn latents_that_state_their_scaling_need_no_other() {
    let (with, without) = (folder(r#", "scaling_factor": 0.13025"#), folder_without_evidence());
    fs::write(without.path("l.safetensors"), encoded(&with, "")).expect("a file");
    vae_with_model(&without, "decode l.safetensors -o d.png").code(0);
    let run = vae_with_model(&with, "decode l.safetensors -o d.png --family sd1").code(0);
    run.says(&["states that the latents are scaled by 0.13025", "--family is ignored"]);
}

#[test]
fn a_wrong_family_is_refused() {
    let folder = folder("");
    for (family, why) in
        [("sd3", "16 latent channels"), ("x4-upscaler", "1/4"), ("taesd", "these fit: sd1, sd2")]
    {
        encode(&folder, &format!("--family {family}")).code(3).says(&[family, why]);
    }
    for options in [
        "--family sd9",
        "--family",
        "--scaling-factor 0",
        "--scaling-factor -1",
        "--scaling-factor nan",
        "--scaling-factor inf",
        "--scaling-factor x",
        "--shift-factor nan",
    ] {
        encode(&folder, options).code(2).says(&["--help"]);
    }
    vae(&folder, "inspect p.png --family sd1").code(2).says(&["--family is for a --model"]);
    vae(&folder, "inspect p.png --fingerprint").code(2);
}

#[test]
fn the_evidence_is_printed_once_with_v() {
    let folder = folder_with_pictures(&["a.png", "b.png"]);
    let run = vae_with_model(&folder, "encode a.png b.png --out-dir d -v").code(0);
    let line = "model: latents scaled by 0.18215, according to config.json; family sd1 or sd2";
    assert_eq!(run.stderr.matches(line).count(), 1, "{}", run.stderr);
    let quiet = vae_with_model(&folder, "encode a.png b.png --out-dir e").code(0);
    assert!(!quiet.stderr.contains("according to"), "{}", quiet.stderr);
    let note = vae_with_model(&folder, "encode a.png --out-dir f --scaling-factor 0.5").code(0);
    note.says(&["note: latents are scaled by 0.5 (--scaling-factor 0.5) instead of 0.18215", "config.json"]);
}

#[test]
fn an_output_with_another_scaling_is_made_again() {
    let folder = folder("");
    let run = |options: &str| vae_with_model(&folder, &format!("encode p.png --out-dir d {options}")).code(0);
    run("");
    run("--family sd1").says(&["already made"]);
    run("--family sdxl").says(&["made again", "scaling factor was 0.18215 and is 0.13025"]);
    run("--scaling-factor 0.13025 --shift-factor 0.5").says(&["made again", "shift factor was 0 and is 0.5"]);
    run("--family playground").says(&["made again"]);
    run("--family sdxl").says(&["made again"]);
    run("--family sdxl --unscaled").says(&["made again", "scaling of the latents was true and is false"]);
    run("--family sdxl --unscaled").says(&["already made"]);
}

/// The built-in model's weights beside the config of another model.
#[test]
fn a_config_that_contradicts_the_encoder_gives_a_warning() {
    let folder = folder("");
    let weights = include_bytes!("../../assets/tiny/diffusion_pytorch_model.safetensors");
    let config = include_str!("../../assets/tiny/config.json");
    let model = |config: &str, name: &str| {
        fs::create_dir_all(folder.path(name)).expect("a folder");
        fs::write(folder.path(name).join("config.json"), config).expect("a file");
        fs::write(folder.path(name).join("diffusion_pytorch_model.safetensors"), weights).expect("a file");
        vae(&folder, &format!("encode p.png -o l.safetensors --model {name}")).code(0)
    };
    let same = model(config, "same");
    assert!(!same.stderr.contains("warning"), "{}", same.stderr);
    let wrong = model(&config.replace("1.21153", "0.18215"), "wrong");
    wrong.says(&[
        "warning",
        "scaled by 0.18215, according to config.json",
        "first layer",
        "tiny",
        "--family tiny",
    ]);
    let told = vae(&folder, "encode p.png -o l.safetensors --model wrong --family tiny").code(0);
    assert!(!told.stderr.contains("warning"), "{}", told.stderr);
}

/// The same VAE in single files, with one more piece of evidence each.
#[test]
fn a_single_file_is_scaled_as_its_surroundings_say() {
    let folder = folder_with_pictures(&["p.png"]);
    let vae_alone = single_files::model("sd").of_authors(Dtype::F32, "first_stage_model.");
    let write = |name: &str, companion: Option<(&str, &[usize])>, metadata: &[(&str, &str)]| {
        let mut tensors = vae_alone.clone();
        tensors.extend(companion.map(|(name, shape)| {
            let bytes = vec![0; shape.iter().product::<usize>() * 4];
            (name.to_string(), (Dtype::F32, shape.to_vec(), bytes))
        }));
        let path = folder.path(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        single_files::write_with_metadata(&path, &tensors, metadata);
        let report = vae(&folder, &format!("inspect --json --model {name}")).code(0).json().remove(0);
        (report["evidence"].clone(), report["scaling_factor"].clone(), report["half_precision"].clone())
    };
    assert_eq!(write("a.safetensors", None, &[]), (Value::Null, Value::Null, json!("unknown")));
    let attention = "model.diffusion_model.input_blocks.2.1.transformer_blocks.0.attn2.to_k.weight";
    let sd2 = write("sdxl.safetensors", Some((attention, &[320, 1024])), &[]);
    assert_eq!(sd2, (json!("companion"), json!(0.18215), json!("works")), "it is stronger than the name");
    let playground = write("b.safetensors", Some(("edm_mean", &[1, 4, 1, 1])), &[]);
    assert_eq!(playground, (json!("companion"), json!(0.5), json!("unknown")));
    let architecture =
        write("c.safetensors", None, &[("modelspec.architecture", "stable-diffusion-xl-v1-base")]);
    assert_eq!(architecture, (json!("modelspec"), json!(0.13025), json!("overflows")));
    let cached = write("models--stabilityai--sdxl-vae/snapshots/01/d.safetensors", None, &[]);
    assert_eq!(cached, (json!("repository"), json!(0.13025), json!("overflows")));
    let named = write("sdxl_vae.safetensors", None, &[]);
    assert_eq!(named, (json!("file-name"), json!(0.13025), json!("overflows")));
    let fixed = write("sdxl-vae-fp16-fix.safetensors", None, &[]);
    assert_eq!(fixed, (json!("file-name"), json!(0.13025), json!("works")));

    // The evidence, an option and a config.json lead to the same values.
    let values = |options: &str| {
        vae(&folder, &format!("encode p.png -o l.safetensors {options}")).code(0);
        let bytes = fs::read(folder.path("l.safetensors")).expect("a file");
        values(&Latents::from_safetensors(&bytes).expect("latents").tensor)
    };
    let by_name = values("--model sdxl_vae.safetensors");
    for options in ["--family sdxl", "--scaling-factor 0.13025"] {
        assert_eq!(values(&format!("--model a.safetensors {options}")), by_name);
    }
    let refused = vae(&folder, "encode p.png -o l.safetensors --model a.safetensors").code(3);
    refused.says(&[
        "a.safetensors",
        "sd1 (0.18215)",
        "sdxl (0.13025)",
        "--family",
        "--scaling-factor",
        "--unscaled",
    ]);
    let conflict = vae(&folder, "encode p.png -o l.safetensors --model sdxl.safetensors").code(0);
    conflict.says(&["warning", "0.18215", attention, "file's name, sdxl.safetensors", "--family sdxl"]);
    let verbose = vae(&folder, "encode p.png -o l.safetensors --model sdxl_vae.safetensors -v").code(0);
    verbose.says(&["scaled by 0.13025, according to the file's name, sdxl_vae.safetensors; family sdxl"]);
    assert_eq!(values("--model a.safetensors --unscaled").len(), by_name.len());
}

/// The latents of the TAESD family are scaled ones, so that its factor is needed for unscaled ones only.
#[test]
fn a_tiny_model_needs_a_family_only_for_unscaled_latents() {
    let folder = folder_with_pictures(&["p.png"]);
    let config = r#"{"_class_name": "AutoencoderTiny", "encoder_block_out_channels": [16, 16, 16, 16],
        "decoder_block_out_channels": [16, 16, 16, 16], "num_encoder_blocks": [1, 0, 1, 1], "num_decoder_blocks": [1, 1, 0, 1]}"#;
    model_folder::write_with(&folder.path("model"), config, &model_folder::tensors_of(config));
    let report = |options: &str| {
        vae_with_model(&folder, &format!("inspect --json {options}")).code(0).json().remove(0)
    };
    assert_eq!(report("")["families"], json!(["taesd", "taesdxl"]));
    assert!(report("").get("scaling_factor").is_none());
    for family in ["sdxl", "taesdxl"] {
        let report = report(&format!("--family {family}"));
        assert_eq!((&report["families"], &report["scaling_factor"]), (&json!(["taesdxl"]), &json!(0.13025)));
    }
    let latents = |options: &str| Latents::from_safetensors(&encoded(&folder, options)).expect("latents");
    let scaled = latents("");
    assert_eq!((scaled.provenance.scaled, &scaled.provenance.scaling), (Some(true), &None));
    encode(&folder, "--unscaled").code(3).says(&["taesd (0.18215)", "taesdxl (0.13025)", "--family"]);
    let unscaled = latents("--unscaled --family sdxl");
    assert_eq!(unscaled.provenance.scaled, Some(false));
    let wanted: Vec<f32> = values(&scaled.tensor).iter().map(|x| x / 0.13025).collect();
    assert_eq!(values(&unscaled.tensor), wanted);

    let decode = |options: &str| vae_with_model(&folder, &format!("decode f.safetensors -o d.png {options}"));
    let bytes = unscaled.to_safetensors(DType::F32).expect("latents");
    fs::write(folder.path("f.safetensors"), foreign(&bytes)).expect("a file");
    decode("--unscaled").code(3).says(&["taesd (0.18215)", "--family"]);
    decode("--unscaled --family sdxl").code(0);
    decode("").code(0);
    vae_with_model(&folder, "roundtrip p.png -o r.png --noise 0.5").code(0);
    encode(&folder, "--family flux1").code(3).says(&["16 latent channels", "these fit: taesd, taesdxl"]);
}

#[test]
fn a_fingerprint_is_a_row_of_the_table() {
    let folder = Folder::new();
    let run = vae(&folder, "inspect --model tiny --fingerprint").code(0);
    let row = String::from_utf8(run.stdout).expect("UTF-8");
    let table = include_str!("../../assets/fingerprints.txt");
    assert!(row.starts_with("tiny ") && table.contains(row.trim_end()), "{row}");
    // The same encoder in other number formats and with other decoders has a row that is told apart by the digest only.
    model_folder::write(&folder.path("model"));
    let row = |line: &str| {
        let run = vae(&folder, line).code(0);
        String::from_utf8(run.stdout)
            .expect("UTF-8")
            .split_whitespace()
            .map(str::to_string)
            .collect::<Vec<_>>()
    };
    let full = row("inspect --model model --fingerprint");
    assert_eq!((full.len(), full[0].as_str(), full[2].split(',').count()), (3, "NAME", 8));
    let halves = model_folder::tensors()
        .into_iter()
        .map(|(name, tensor): (String, Tensor)| (name, tensor.to_dtype(DType::F16).expect("halves")));
    model_folder::write_with(&folder.path("half"), CONFIG, &halves.collect());
    assert_eq!(
        row("inspect --model half --fingerprint --family sdxl")[..2],
        ["sdxl".to_string(), full[1].clone()]
    );
}

#[test]
fn the_report_of_a_model_states_family_evidence_and_licence() {
    let folder = folder(r#", "scaling_factor": 0.13025"#);
    let report = &vae_with_model(&folder, "inspect --json").code(0).json()[0];
    assert_eq!(
        (&report["families"], &report["evidence"], &report["half_precision"], &report["licence"]),
        (&json!(["sdxl"]), &json!("config.json"), &json!("overflows"), &json!("CreativeML OpenRAIL++-M"))
    );
    vae_with_model(&folder, "inspect").code(0).prints(&[
        "scaled by 0.13025, according to config.json",
        "family      sdxl (Stable Diffusion XL",
        "licence     CreativeML OpenRAIL++-M",
        "f16         overflows",
    ]);
    let report = &vae_with_model(&folder, "inspect --json --family playground").code(0).json()[0];
    assert_eq!((&report["evidence"], &report["scaling_factor"]), (&json!("options"), &json!(0.5)));
    assert_eq!(report["latents_std"], json!([8.4927, 5.9022, 6.5498, 5.2299]));
}

#[test]
fn latents_far_from_what_the_scaling_promises_give_a_warning() {
    let folder = Folder::new();
    fs::write(folder.path("photo.png"), vae::picture::SAMPLE_PNG).expect("a file");
    image::RgbImage::from_pixel(512, 256, image::Rgb([250, 250, 245]))
        .save(folder.path("flat.png"))
        .expect("a PNG");
    let warned = |line: &str| vae(&folder, line).code(0).stderr.contains("times the standard deviation");
    assert!(!warned("encode photo.png -o l.safetensors --model tiny"));
    for command in ["encode photo.png -o l.safetensors", "roundtrip photo.png -o r.png"] {
        let run = vae(&folder, &format!("{command} --model tiny --family sdxl")).code(0);
        run.says(&[
            "warning: photo.png: the latents have 0.1",
            "0.13025",
            "that of tiny would give 1.",
            "--family",
        ]);
    }
    assert!(warned("encode photo.png -o l.safetensors --model tiny --scaling-factor 5"));
    assert!(!warned("encode photo.png -o l.safetensors --model tiny --family sdxl --unscaled"));
    let flat = "encode flat.png -o f.safetensors --model tiny --family sdxl";
    assert!(!warned(flat), "flat pictures have weak latents");
    write_png(&folder.path("small.png"), 64, 32);
    assert!(!warned("encode small.png -o s.safetensors --model tiny --family sdxl"), "too few values");
}

/// The tables of `docs/models.md`, as they should be.
fn tables() -> [String; 2] {
    let scaling = |numbers: &Numbers| match numbers {
        Numbers::Factor { factor, shift: 0.0 } => factor.to_string(),
        Numbers::Factor { factor, shift } => format!("{factor}, shift {shift}"),
        Numbers::Statistics { factor, .. } => format!("{factor}, mean and std of each channel"),
        Numbers::InWeights => "statistics among the weights".into(),
    };
    let family = |f: &Family| {
        let (half, scaling) = (f.half_precision.words(), scaling(&f.numbers));
        format!(
            "| `{}` | {} | {} at 1/{} | {scaling} | {half} | {} |\n",
            f.name, f.title, f.latent_channels, f.downscale, f.licence
        )
    };
    let model = |m: &NamedModel| {
        let repositories =
            m.repositories.iter().map(|r| format!("`{}`{}", r.id, if r.gated { " (gated)" } else { "" }));
        let repositories = repositories.collect::<Vec<_>>().join(", ");
        format!(
            "| `{}` | `{}` | {repositories} | {} | {} |\n",
            m.name,
            m.family().name,
            m.half_precision().words(),
            m.licence()
        )
    };
    [FAMILIES.iter().map(family).collect(), NamedModel::all().map(model).collect()]
}

#[test]
fn the_documented_tables_are_those_of_the_program() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/models.md");
    let text = fs::read_to_string(path).expect("docs/models.md");
    let mut blessed = text.clone();
    for (heading, table) in ["| `--family` |", "| `--model` |"].iter().zip(tables()) {
        let start = blessed.find(heading).expect("the heading");
        let start = start + blessed[start..].match_indices('\n').nth(1).expect("two lines").0 + 1;
        let end = start + blessed[start..].find("\n\n").expect("an empty line") + 1;
        blessed.replace_range(start..end, &table);
    }
    if std::env::var_os("VAE_BLESS").is_some() {
        fs::write(path, blessed).expect("writes");
    } else {
        assert!(text == blessed, "the tables are old: run this test with VAE_BLESS=1");
    }
}

#[test]
fn the_numbers_of_the_built_in_model_are_in_the_table() {
    let tiny = vae::checkpoint::built_in::open().expect("the model");
    assert_eq!(Family::named("tiny").and_then(Family::scaling), tiny.config().scaling);
    let mut names: Vec<_> = FAMILIES.iter().map(|family| family.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), FAMILIES.len());
    for model in NamedModel::all() {
        assert!(!model.repositories.is_empty() && NamedModel::named(model.name) == Some(model));
        let family = model.family();
        let unlisted = model.repositories.iter().find(|r| Family::of_repository(r.id) != Some(family));
        assert!(unlisted.is_none(), "{}: {unlisted:?}", model.name);
    }
    let folder = Folder::new();
    write_png(&folder.path("p.png"), 64, 32);
    vae(&folder, "encode p.png -o l.safetensors --model tiny --family tiny").code(0);
}

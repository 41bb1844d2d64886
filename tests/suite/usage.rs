//! Output names, folders, standard streams and exit codes.

use candle_core::{DType, Device, Tensor};
use image::ImageEncoder;

use vae::latents::{Latents, Provenance};
use vae::metrics::psnr as psnr_of;
use vae::picture::{Background, Format, Picture, SAMPLE_PNG};

use crate::support::model_folder::Folder;
use crate::support::process::{
    command, folder_with_pictures, run, vae, vae_with_model, vae_with_stdin, write_png,
};

#[test]
fn invalid_command_lines_exit_with_2() {
    let folder = folder_with_pictures(&["a.png", "b.png"]);
    for line in [
        "",
        "encode",
        "enhance a.png",
        "encode a.png --no-such-option",
        "encode a.png b.png -o x.safetensors",
        "encode a.png b.png",
        "encode a.png -o x.safetensors --out-dir d",
        "encode a.png -o x.safetensors --overwrite",
        "encode a.png -o x.safetensors --keep-existing",
        "encode a.png --out-dir d --keep-existing --overwrite",
        "encode a.png -o nowhere/x.safetensors",
        "encode a.png -o .",
        "encode a.png -o - --json",
        "encode - - --out-dir d",
        "encode a.png -o x.safetensors --multiple 0",
        "encode a.png -o x.safetensors --multiple 12",
        "encode a.png -o x.safetensors --seed -1",
        "encode a.png -o x.safetensors --background mauve-ish",
        "encode a.png -o x.safetensors --device cuda",
        "encode a.png -o x.safetensors --device gpu",
        "encode a.png -o x.safetensors --dtype f8",
        "encode a.png -o x.safetensors -q -v",
        "decode a.png -o x.tga",
        "decode a.png -o x",
        "decode a.png -o x.jpg --quality 0",
        "roundtrip a.png --noise -0.5",
        "roundtrip a.png --noise much",
        "roundtrip a.png --noise nan",
        "roundtrip a.png --noise 1e34",
        "roundtrip a.png --noise 0.1..1e16/3",
        "completions tcsh",
        "encode a.png -o a.png",
        "encode a.png -o x.jpg",
        "roundtrip a.png -o ./a.png",
        "encode a.png -o x.safetensors --revision v1",
    ] {
        let run = vae_with_model(&folder, line).code(2).says(&["error: "]);
        assert!(run.stderr.lines().count() > 0 && run.stdout.is_empty(), "{line}");
    }
    assert_eq!(folder.files(), ["a.png".to_string(), "b.png".to_string()].into());
    let mut odd = command(&folder);
    odd.args(["encode", "a.png", "-o", "x.safetensors", "--model", "model"]).env("VAE_CPU", "mmx");
    run(odd).code(2).says(&["VAE_CPU=mmx", "portable"]);
}

#[cfg(unix)]
#[test]
fn an_unwritable_stderr_does_not_stop_the_run() {
    let folder = folder_with_pictures(&["a.png", "b.png"]);
    let mut command = command(&folder);
    command.args("encode a.png b.png --out-dir d --model model".split(' '));
    command.stderr(std::fs::File::create("/dev/full").expect("a device"));
    assert!(command.status().expect("the program starts").success());
    assert!(folder.path("d/b.safetensors").exists());
}

#[test]
fn two_inputs_with_the_same_output_are_refused() {
    let folder = folder_with_pictures(&["a.png", "a.jpg"]);
    vae_with_model(&folder, "encode a.png a.jpg --out-dir d").code(2).says(&["a.png", "a.jpg"]);
}

#[test]
fn a_second_run_with_the_same_folder_resumes() {
    let folder = folder_with_pictures(&["a.png", "b.png", "c.png"]);
    vae_with_model(&folder, "encode a.png b.png --out-dir new/d").code(0);
    let first = std::fs::read(folder.path("new/d/a.safetensors")).expect("a file");

    let again = vae_with_model(&folder, "encode a.png b.png c.png --out-dir new/d --json").code(0);
    let skipped: Vec<bool> = again.json().iter().map(|r| r["skipped"] == true).collect();
    assert_eq!(skipped, [true, true, false]);
    assert_eq!(std::fs::read(folder.path("new/d/a.safetensors")).expect("a file"), first);

    let run = vae_with_model(&folder, "encode a.png --out-dir new/d --seed 1 --overwrite --json").code(0);
    assert!(run.json()[0].get("remade").is_none(), "--overwrite compares nothing");
    assert_ne!(std::fs::read(folder.path("new/d/a.safetensors")).expect("a file"), first);
}

#[test]
fn a_bad_input_does_not_stop_the_others() {
    let folder = folder_with_pictures(&["a.png", "c.png"]);
    std::fs::write(folder.path("b.png"), "this is text").expect("a file");
    let run = vae_with_model(&folder, "encode a.png b.png c.png --out-dir d --json").code(1);
    let run = run.says(&["b.png", "1 of 3 inputs failed"]);
    let records = run.json();
    assert_eq!(records.len(), 3);
    assert!(records[1]["error"].is_string() && records[1]["output"].is_null());
    assert!(folder.path("d/a.safetensors").exists() && folder.path("d/c.safetensors").exists());
}

#[test]
fn a_named_file_is_replaced_and_a_default_name_is_not() {
    let folder = folder_with_pictures(&["a.png"]);
    for name in ["o.png", "roundtrip.png"] {
        std::fs::write(folder.path(name), "mine").expect("a file");
    }
    vae_with_model(&folder, "roundtrip a.png -o o.png").code(0);
    assert_ne!(std::fs::read(folder.path("o.png")).expect("a file"), b"mine");
    vae_with_model(&folder, "roundtrip a.png").code(0).says(&["roundtrip-1.png"]);
    vae_with_model(&folder, "roundtrip a.png").code(0).says(&["roundtrip-2.png"]);
    assert_eq!(std::fs::read(folder.path("roundtrip.png")).expect("a file"), b"mine");
    assert!(folder.path("roundtrip-1.png").exists() && folder.path("roundtrip-2.png").exists());
}

#[test]
fn roundtrip_without_an_input_uses_the_sample_picture() {
    let folder = Folder::with_model();
    let run = vae_with_model(&folder, "roundtrip --noise 0.5 --json").code(0);
    assert_eq!(run.json()[0]["input"], "sample");
    assert_eq!(run.json()[0]["shape"], serde_json::json!([1, 4, 64, 96]));
    let (width, height) = image::image_dimensions(folder.path("roundtrip.png")).expect("a picture");
    assert_eq!((width, height), (768, 512));
}

#[test]
fn roundtrip_without_an_input_needs_neither_a_model_nor_a_network() {
    let folder = Folder::new();
    let run = vae(&folder, "roundtrip --noise 0.5").code(0).says(&["sample", "built-in", "PSNR"]);
    assert!(run.stdout.is_empty());
    assert_eq!(image::image_dimensions(folder.path("roundtrip.png")).expect("a picture"), (768, 512));
    assert!(!folder.path("hf-home").exists());
}

#[test]
fn latents_of_the_built_in_model_are_marked_and_not_decoded_by_default() {
    let folder = folder_with_pictures(&["a.png"]);
    vae(&folder, "encode a.png -o l.safetensors --model tiny").code(0);
    let latents = std::fs::read(folder.path("l.safetensors")).expect("a file");
    let provenance = vae::latents::Latents::from_safetensors(&latents).expect("latents").provenance;
    assert_eq!(provenance.model.as_deref(), Some("tiny"));
    assert!(provenance.note.is_some_and(|note| note.contains("not Stable Diffusion latents")));
    vae(&folder, "decode l.safetensors -o o.png").code(1).says(&["--model tiny"]);
    vae(&folder, "decode l.safetensors -o o.png --model tiny").code(0);
    let help = vae(&folder, "encode --help").code(0).stdout;
    assert!(String::from_utf8_lossy(&help).contains("not Stable Diffusion's"));
}

#[test]
fn the_built_in_model_tolerates_noise() {
    let folder = Folder::new();
    let sample = Picture::from_bytes(SAMPLE_PNG, Background::WHITE).expect("a picture").resize(384, 256);
    std::fs::write(folder.path("s.png"), sample.to_file_bytes(Format::Png).expect("a PNG")).expect("a file");
    let psnr = |noise: &str| {
        let run =
            vae(&folder, &format!("roundtrip s.png --model tiny --mean --json -o o.png {noise}")).code(0);
        run.json()[0]["psnr"].as_f64().expect("dB")
    };
    let clean = psnr("");
    let noised: Vec<f64> = ["0.1", "0.28", "0.46", "0.5", "0.64", "0.82", "1.0"]
        .iter()
        .map(|l| psnr(&format!("--noise {l}")))
        .collect();
    let trivial = psnr_of(&sample, &sample.resize(48, 32).resize(384, 256)); // the same number of values, without a model
    assert!(clean > trivial + 0.5, "{clean} dB is not above {trivial} dB");
    assert!(clean - noised[3] < 3.0, "{clean} dB falls to {} dB", noised[3]);
    assert!(noised.is_sorted_by(|a, b| a > b), "{noised:?}");
}

#[test]
fn messages_go_to_stderr_and_quiet_silences_them() {
    let folder = folder_with_pictures(&["a.png"]);
    let run =
        vae_with_model(&folder, "roundtrip a.png -o o.png -v").code(0).says(&["PSNR", "encode ", " ms"]);
    assert!(run.stdout.is_empty());
    let run = vae_with_model(&folder, "roundtrip a.png -o o.png -q").code(0);
    assert!(run.stderr.is_empty() && run.stdout.is_empty(), "{}", run.stderr);
    let run = vae_with_model(&folder, "encode nothing.png -o o.safetensors -q").code(1);
    assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
}

#[test]
fn output_to_pipes_has_no_escape_codes() {
    let folder = folder_with_pictures(&["a.png"]);
    for line in ["encode --no-such-option", "--help", "roundtrip a.png -o o.png -v"] {
        let mut command = command(&folder);
        command.args(line.split_whitespace()).args(["--model", "model"]).env("NO_COLOR", "1");
        let run = run(command);
        assert!(!run.stderr.contains('\u{1b}') && !run.stdout.contains(&0x1b), "{line}");
    }
}

#[test]
fn a_note_says_that_the_cpu_ignores_dtype() {
    let folder = folder_with_pictures(&["a.png"]);
    vae_with_model(&folder, "encode a.png -o l.safetensors --dtype bf16").code(0).says(&["f32 only"]);
    let run = vae_with_model(&folder, "encode a.png -o l.safetensors --device cpu --dtype f32").code(0);
    assert!(!run.stderr.contains("f32"), "{}", run.stderr);
}

#[test]
fn completions_and_help_cover_all_commands() {
    let folder = Folder::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let run = vae(&folder, &format!("completions {shell}")).code(0);
        assert!(String::from_utf8_lossy(&run.stdout).contains("roundtrip"), "{shell}");
    }
    for command in ["encode", "decode", "roundtrip", "grid", "inspect", "models", "doctor", "completions"] {
        let help = vae(&folder, &format!("{command} --help")).code(0);
        assert!(String::from_utf8_lossy(&help.stdout).contains("Example"), "{command}");
    }
    assert!(String::from_utf8_lossy(&vae(&folder, "--version").code(0).stdout).starts_with("vae "));
}

#[cfg(unix)]
#[test]
fn outputs_have_default_permissions_and_links_are_followed() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let folder = folder_with_pictures(&["a.png"]);
    std::fs::write(folder.path("real.safetensors"), "old").expect("a file");
    symlink("real.safetensors", folder.path("link.safetensors")).expect("a link");
    vae_with_model(&folder, "encode a.png -o link.safetensors").code(0);
    assert!(folder.path("link.safetensors").is_symlink());
    let written = std::fs::metadata(folder.path("real.safetensors")).expect("a file");
    let usual = std::fs::metadata(folder.path("a.png")).expect("a file");
    assert_eq!(written.permissions().mode() & 0o777, usual.permissions().mode() & 0o777);
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(folder.path("real.safetensors"), private).expect("permissions");
    vae_with_model(&folder, "encode a.png -o real.safetensors").code(0);
    let again = std::fs::metadata(folder.path("real.safetensors")).expect("a file");
    assert_eq!(again.permissions().mode() & 0o777, 0o600);
    vae_with_model(&folder, "encode a.png -o /dev/null").code(0);
    assert!(!std::fs::metadata("/dev/null").expect("a device").is_file());
}

/// The check comes before the work: the model is never computed, so `--trace` has only its header.
#[test]
fn sides_that_a_format_cannot_have_are_refused_early() {
    let folder = Folder::with_model();
    let latents = |height: usize| {
        let tensor = Tensor::zeros((1, 4, height, 1), DType::F32, &Device::Cpu).expect("zeros");
        let provenance = Provenance { original_size: Some((64, 16_384)), ..Provenance::default() };
        let bytes = Latents { tensor, provenance }.to_safetensors(DType::F32).expect("writes");
        std::fs::write(folder.path("l.safetensors"), bytes).expect("a file");
    };
    latents(2048);
    write_png(&folder.path("tall.png"), 32, 16_384);
    for (line, limit) in [
        ("decode l.safetensors -o o.webp", "16383"),
        ("roundtrip tall.png -o o.webp", "16383"),
        ("roundtrip tall.png -o o.webp --figure f.png", "16383"),
    ] {
        let run =
            vae_with_model(&folder, &format!("{line} --trace")).code(1).says(&["WebP", limit, "use .png"]);
        assert!(!run.stderr.contains("decoder") && !run.stderr.contains("encoder"), "{}", run.stderr);
    }
    latents(256);
    vae_with_model(&folder, "decode l.safetensors -o o.webp --original-size").code(1).says(&["64×16384"]);
    vae_with_model(&folder, "decode l.safetensors -o o.webp").code(0);
    latents(8192);
    vae_with_model(&folder, "decode l.safetensors -o o.jpg").code(1).says(&["JPEG", "65535"]);
}

#[test]
fn no_temporary_files_remain() {
    let folder = folder_with_pictures(&["a.png"]);
    vae_with_model(&folder, "encode a.png -o l.safetensors").code(0);
    vae_with_model(&folder, "decode l.safetensors").code(0).says(&["l.png"]);
    vae_with_model(&folder, "encode a.png").code(0).says(&["a.safetensors"]);
    vae_with_stdin(&folder, "decode - -o p.png", b"not latents").code(1);
    let wanted = ["a.png", "l.safetensors", "l.png", "a.safetensors"];
    assert_eq!(folder.files(), wanted.map(String::from).into());
}

#[test]
fn a_picture_below_min_psnr_is_written_and_the_exit_code_is_1() {
    let folder = folder_with_pictures(&["a.png", "b.png"]);
    let run =
        vae_with_model(&folder, "roundtrip a.png b.png --out-dir d --mean --min-psnr 90 --json").code(1);
    let run = run.says(&["a.png: the PSNR", "below --min-psnr 90", "2 of 2 inputs failed", "SSIM"]);
    let records = run.json();
    assert_eq!(records.len(), 2);
    for record in &records {
        let db = record["psnr"].as_f64().expect("dB");
        let error = record["error"].as_str().expect("an error");
        assert!(error.contains(&format!("{db:.2} dB is {:.2} dB below", 90.0 - db)), "{error}");
    }
    assert!(folder.path("d/a-roundtrip.png").exists() && folder.path("d/b-roundtrip.png").exists());
    vae_with_model(&folder, "roundtrip a.png -o o.png --mean --min-psnr 1").code(0);
    let sweep = vae_with_model(&folder, "roundtrip a.png -o s.png --mean --noise 0,0.5 --min-psnr 90 --json");
    assert!(sweep.stderr.contains("below --min-psnr 90"), "{}", sweep.stderr);
    assert_eq!(sweep.code(1).json()[0]["sweep"].as_array().map(Vec::len), Some(2));
    vae_with_model(&folder, "roundtrip a.png -o s2.png --mean --noise 0,0.5 --min-psnr 1").code(0);
    vae_with_model(&folder, "roundtrip a.png -o o.png --min-psnr loud").code(2).says(&["decibels"]);
}

#[test]
fn a_colour_profile_is_ignored_with_one_note_or_converted() {
    let folder = Folder::with_model();
    let profile = {
        let file = include_bytes!("../pictures/nasty/p3.webp");
        let at = file.windows(4).position(|text| text == b"acsp").expect("an ICC profile") - 36;
        let len = u32::from_be_bytes(file[at..at + 4].try_into().expect("four bytes")) as usize;
        file[at..at + len].to_vec()
    };
    let write = |name: &str, profile: &[u8]| {
        let image = image::RgbImage::from_pixel(32, 32, image::Rgb([40, 200, 90]));
        let mut file = Vec::new();
        let mut encoder = image::codecs::png::PngEncoder::new(&mut file);
        encoder.set_icc_profile(profile.to_vec()).expect("PNG can hold a profile");
        encoder.write_image(&image, 32, 32, image::ExtendedColorType::Rgb8).expect("writes");
        std::fs::write(folder.path(name), file).expect("a file");
    };
    write("a.png", &profile);
    write("b.png", &profile);
    write("broken.png", &profile[..200]);
    let kept = vae_with_model(&folder, "encode a.png b.png --out-dir kept").code(0);
    assert_eq!(kept.stderr.matches("--icc convert").count(), 1, "{}", kept.stderr);
    let converted = vae_with_model(&folder, "encode --icc convert a.png b.png --out-dir converted").code(0);
    assert!(!converted.stderr.contains("--icc"), "{}", converted.stderr);
    let latents = |name: &str| std::fs::read(folder.path(name)).expect("latents");
    assert!(latents("kept/a.safetensors") != latents("converted/a.safetensors"));
    vae_with_model(&folder, "encode broken.png -o o.safetensors").code(0);
    let broken = "encode --icc convert broken.png -o o.safetensors";
    vae_with_model(&folder, broken).code(1).says(&["colour profile", "--icc keep"]);
    vae(&folder, "inspect a.png").code(0).prints(&["profile       a profile"]);
}

#[test]
fn options_without_effect_cause_one_note_each() {
    let folder = folder_with_pictures(&["a.png", "b.png"]);
    vae_with_model(&folder, "encode a.png -o a.safetensors").code(0);
    for (line, option) in [
        ("roundtrip a.png --quality 50 -o q.png", "--quality"),
        ("roundtrip a.png b.png --quality 50 --out-dir q", "--quality"),
        ("decode a.safetensors --quality 95 -o q.webp", "--quality"),
        ("roundtrip a.png --theme dark -o q.png", "--theme"),
        ("roundtrip a.png --theme light --noise 0.5 -o q.png", "--theme"),
        ("roundtrip a.png --mean --seed 0 -o q.png", "--seed"),
        ("encode a.png --mean --seed 7 -o q.safetensors", "--seed"),
    ] {
        let run = vae_with_model(&folder, line).code(0);
        assert_eq!(run.stderr.matches("has no effect").count(), 1, "{line}: {}", run.stderr);
        run.says(&[&format!("note: {option} has no effect")]);
        let quiet = vae_with_model(&folder, &format!("{line} -q")).code(0);
        assert_eq!(quiet.stderr, "", "{line}");
    }
    vae(&folder, "grid a.png b.png -o g.png --quality 50").code(0).says(&["note: --quality has no effect"]);
    for line in [
        "roundtrip a.png --quality 50 -o q.jpg",
        "roundtrip a.png --quality 50 --figure f.jpeg -o q.png",
        "roundtrip a.png --theme dark --figure f.png",
        "roundtrip a.png --theme dark --noise 0,1 -o f.png",
        "roundtrip a.png --mean --noise 0.5 --seed 7 -o q.png",
        "encode a.png --seed 7 -o q.safetensors",
        "encode a.png --mean -o q.safetensors",
    ] {
        let run = vae_with_model(&folder, line).code(0);
        assert!(!run.stderr.contains("no effect"), "{line}: {}", run.stderr);
    }
}

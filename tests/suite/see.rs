//! Figures, sweeps, grids, and pictures in the terminal.

#[cfg(target_os = "linux")]
use std::process::Command;

use vae::figure::{Canvas, Roundtrip, Sweep, Theme};
use vae::latents::Latents;

use crate::support::model_folder::Folder;
use crate::support::process::{command, read_picture, run, vae, vae_with_model, vae_with_stdin, write_png};

fn folder_with_pictures(pictures: &[(&str, u32, u32)]) -> Folder {
    let folder = Folder::with_model();
    for (name, width, height) in pictures {
        write_png(&folder.path(name), *width, *height);
    }
    folder
}

fn assert_equals(folder: &Folder, name: &str, canvas: &Canvas) {
    let got = read_picture(folder, name);
    assert_eq!((got.width(), got.height()), (canvas.width(), canvas.height()));
    assert!(got.to_rgb8() == canvas.rgb8(), "{name} has different pixels");
}

#[test]
fn a_figure_shows_the_results_of_encode_and_decode() {
    let folder = folder_with_pictures(&[("img.png", 96, 64)]);
    vae_with_model(&folder, "encode img.png -o l.safetensors --seed 5").code(0);
    let line = "roundtrip img.png --seed 5 -o out.png --figure fig.png --theme dark";
    vae_with_model(&folder, line).code(0).says(&["out.png", "fig.png", "PSNR"]);
    let file = std::fs::read(folder.path("l.safetensors")).expect("a file");
    let figure = Roundtrip {
        name: "img.png",
        original: &read_picture(&folder, "img.png"),
        decoded: &read_picture(&folder, "out.png"),
        latents: &Latents::from_safetensors(&file).expect("latents").tensor,
        noise: None,
    };
    assert_equals(&folder, "fig.png", &figure.draw(Theme::Dark).expect("a figure"));
}

#[test]
fn with_a_figure_the_picture_is_written_only_if_named() {
    let folder = folder_with_pictures(&[("img.png", 64, 32)]);
    let run = vae_with_model(&folder, "roundtrip img.png --figure fig.jpg --json").code(0);
    let record = &run.json()[0];
    assert_eq!((&record["figure"], &record["output"]), (&"fig.jpg".into(), &serde_json::Value::Null));
    assert!(record["psnr"].is_f64());
    assert!(folder.path("fig.jpg").exists() && !folder.path("roundtrip.png").exists());
    let figure = vae_with_model(&folder, "roundtrip img.png --figure -").code(0).stdout;
    assert_eq!(image::guess_format(&figure).expect("a picture"), image::ImageFormat::Png);
}

#[test]
fn each_level_of_a_sweep_equals_a_run_with_that_level() {
    let folder = folder_with_pictures(&[("img.png", 96, 64)]);
    let line = "roundtrip img.png --seed 3 --noise 0.1..1.0/3 -o sweep.png --json";
    let record = vae_with_model(&folder, line).code(0).json().remove(0);
    assert_eq!(
        (&record["output"], &record["shape"]),
        (&"sweep.png".into(), &serde_json::json!([1, 4, 8, 12]))
    );
    let original = read_picture(&folder, "img.png");
    let mut sweep = Sweep::new("img.png", &original, 3).expect("a figure");
    for (i, level) in [0.1, 0.55, 1.0].into_iter().enumerate() {
        let line = format!("roundtrip img.png --seed 3 --noise {level} -o one.png --json");
        let alone = vae_with_model(&folder, &line).code(0).json().remove(0);
        assert_eq!(record["sweep"][i], serde_json::json!({"noise": level, "psnr": alone["psnr"]}));
        sweep.add(level, &read_picture(&folder, "one.png"));
    }
    assert_equals(&folder, "sweep.png", &sweep.draw(Theme::Light).expect("a figure"));
    vae_with_model(&folder, "roundtrip img.png --noise 0,1")
        .code(0)
        .says(&["roundtrip.png", "noise 1  PSNR"]);
    vae_with_model(&folder, "roundtrip img.png --noise 0,1 --figure fig.png").code(0).says(&["fig.png"]);
    assert!(!folder.path("roundtrip-1.png").exists());
    assert_eq!(read_picture(&folder, "fig.png"), read_picture(&folder, "roundtrip.png"));
}

#[test]
fn a_grid_takes_files_and_stdin() {
    let folder = folder_with_pictures(&[("a.png", 20, 10), ("b.png", 20, 8)]);
    let shown =
        vae(&folder, "grid a.png b.png a.png -o grid.png --json").code(0).says(&["3 pictures", "2 × 2"]);
    let wanted = serde_json::json!({"inputs": ["a.png", "b.png", "a.png"], "output": "grid.png",
        "rows": 2, "cols": 2, "width": 40, "height": 20});
    assert_eq!(shown.json(), [wanted]);
    let mut piped = command(&folder);
    piped.args(["grid", "-", "a.png"]).stdin(std::fs::File::open(folder.path("b.png")).expect("a file"));
    run(piped).code(0).says(&["grid-1.png"]);
    let both = read_picture(&folder, "grid-1.png").to_rgb8();
    assert_eq!(both[..60], [0; 60], "the cell is as high as the higher picture");
    assert_eq!(both[120..180], read_picture(&folder, "b.png").to_rgb8()[..60]);
    assert_eq!(both[60..120], read_picture(&folder, "a.png").to_rgb8()[..60]);
}

#[test]
fn a_grid_with_a_broken_picture_or_too_many_pixels_is_refused() {
    let folder = folder_with_pictures(&[("a.png", 20, 10)]);
    std::fs::write(folder.path("broken.png"), b"not a picture").expect("a file");
    vae(&folder, "grid a.png broken.png -o grid.png").code(1).says(&["broken.png: not a PNG"]);
    std::fs::write(folder.path("wide.bmp"), bmp_header(13_000, 1)).expect("a file");
    std::fs::write(folder.path("high.bmp"), bmp_header(1, 13_000)).expect("a file");
    vae(&folder, "grid wide.bmp high.bmp -o grid.png").code(1).says(&["26000×13000"]);
    assert!(!folder.path("grid.png").exists());
}

/// Returns the header of a picture whose pixels are missing.
fn bmp_header(width: u32, height: u32) -> Vec<u8> {
    let bytes = |values: &[u32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let mut header = b"BM".to_vec();
    header.extend(bytes(&[54, 0, 54, 40, width, height, 0x18_0001, 0, 0, 0, 0, 0, 0]));
    header
}

#[test]
fn invalid_options_of_figures_and_grids_are_refused() {
    let folder = folder_with_pictures(&[("a.png", 64, 32), ("b.png", 64, 32)]);
    for line in [
        "roundtrip a.png --figure x.tga",
        "roundtrip a.png --figure a.png",
        "roundtrip a.png --figure nowhere/x.png",
        "roundtrip a.png --figure x.png --out-dir d",
        "roundtrip a.png --figure x.png -o x.png",
        "roundtrip a.png --figure - -o -",
        "roundtrip a.png --figure - --json",
        "roundtrip a.png --noise 0,1 --figure x.png -o y.png",
        "roundtrip a.png --noise 0.1..1.0",
        "roundtrip a.png --noise 0.1..1.0/0",
        "roundtrip a.png --theme sepia",
        "roundtrip a.png b.png --figure x.png",
    ] {
        vae_with_model(&folder, line).code(2).says(&["error: "]);
    }
    for line in [
        "grid",
        "grid a.png b.png -o x.tga",
        "grid a.png b.png -o a.png",
        "grid a.png b.png --rows 1 --cols 1",
        "grid a.png --rows 0",
        "grid - -",
        "grid a.png -o - --json",
    ] {
        vae(&folder, line).code(2).says(&["error: "]);
    }
    assert_eq!(folder.files(), ["a.png".to_string(), "b.png".to_string()].into());
}

#[test]
fn show_has_no_effect_if_stdout_is_not_a_terminal() {
    let folder = folder_with_pictures(&[("a.png", 64, 32)]);
    let run = vae(&folder, "grid a.png --show").code(0).says(&["not a terminal", "grid.png"]);
    assert!(run.stdout.is_empty() && folder.path("grid.png").exists());
    let run = vae_with_model(&folder, "roundtrip a.png --show --json").code(0).says(&["used for output"]);
    assert_eq!(run.json()[0]["output"], "roundtrip.png");
    let png = std::fs::read(folder.path("a.png")).expect("a file");
    let latents = vae_with_stdin(&folder, "encode - -o -", &png).code(0).stdout;
    let shown = vae_with_stdin(&folder, "decode - -o - --show", &latents).code(0).says(&["used for output"]);
    assert_eq!(shown.stdout, vae_with_stdin(&folder, "decode - -o -", &latents).code(0).stdout);
}

/// Runs `vae` in a terminal that never answers queries (created by `script` of util-linux). Returns stdout and stderr
/// together.
#[cfg(target_os = "linux")]
fn in_a_terminal(folder: &Folder, line: &str, variables: &[(&str, &str)]) -> String {
    let mut command = Command::new("script");
    let vae = format!("'{}' {line}", env!("CARGO_BIN_EXE_vae"));
    command.args(["--quiet", "--return", "--command", &vae, "/dev/null"]).current_dir(folder.path(""));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HF_HUB_OFFLINE", "1");
    command.env("TERM", "xterm-256color").env("COLORTERM", "truecolor").envs(variables.iter().copied());
    let run = run(command).code(0);
    String::from_utf8(run.stdout).expect("UTF-8")
}

#[cfg(target_os = "linux")]
#[test]
fn show_draws_in_the_terminal_and_writes_only_named_outputs() {
    let folder = folder_with_pictures(&[("a.png", 64, 32)]);
    let drawn = in_a_terminal(&folder, "grid a.png --show", &[]);
    assert_eq!(drawn.matches('▄').count(), 64 * 16, "half blocks of two pixels each");
    assert!(drawn.contains("\u{1b}[48;2;"), "in true colour");
    assert!(drawn.contains("→ the terminal"));
    assert!(!folder.path("grid.png").exists());
    let drawn = in_a_terminal(&folder, "grid a.png --show -o g.png -q", &[("TERM_PROGRAM", "iTerm.app")]);
    assert!(drawn.contains("\u{1b}]1337;File=inline=1") && !drawn.contains('▄'));
    assert!(folder.path("g.png").exists());
    let drawn = in_a_terminal(&folder, "roundtrip a.png --model model --show", &[]);
    assert!(drawn.contains('▄') && drawn.contains("PSNR") && !folder.path("roundtrip.png").exists());
    in_a_terminal(&folder, "encode a.png --model model -o l.safetensors", &[]);
    let drawn = in_a_terminal(&folder, "decode l.safetensors --model model --show -o d.png", &[]);
    assert!(drawn.contains('▄') && folder.path("d.png").exists() && !folder.path("l.png").exists());
}

//! `--trace` against forward hooks in diffusers (`make_trace` in `tests/golden/make.py`).

use serde_json::Value;

use vae::picture::{Format, Picture};

use crate::support::golden::Golden;
use crate::support::model_folder::Folder;
use crate::support::process::vae;

/// Creates a folder with the picture of the golden data.
fn folder(golden: &Golden) -> Folder {
    let folder = Folder::new();
    let (height, width, _) = golden.tensor("picture").dims3().expect("[h, w, 3]");
    let picture = Picture::from_rgb8(width, height, &golden.bytes("picture"));
    std::fs::write(folder.path("p.png"), picture.to_file_bytes(Format::Png).expect("a PNG")).expect("a file");
    folder
}

/// Runs `line` with the built-in model. Returns the rows of its trace.
fn trace(folder: &Folder, line: &str) -> Vec<Value> {
    let run = vae(folder, &format!("{line} --model tiny --trace --json -q")).code(0);
    assert!(run.stderr.is_empty(), "{}", run.stderr);
    run.json()[0]["trace"].as_array().expect("an array").clone()
}

/// Compares the rows with the golden data, stage by stage.
#[track_caller]
fn assert_match(golden: &Golden, rows: &[Value], stages: &[String]) {
    let names: Vec<&str> = rows.iter().map(|row| row["name"].as_str().expect("a name")).collect();
    assert_eq!(names, stages);
    for row in rows {
        let name = row["name"].as_str().expect("a name");
        let wanted = golden.tensor(name).to_vec1::<f64>().expect("eight numbers");
        let shape: Vec<f64> =
            row["shape"].as_array().expect("sides").iter().map(|n| n.as_f64().expect("a side")).collect();
        assert_eq!(shape, wanted[..4], "{name}");
        assert_eq!(row["count"].as_f64().expect("a number"), shape.iter().product::<f64>(), "{name}");
        assert_eq!((&row["dtype"], &row["nan"], &row["inf"]), (&"f32".into(), &0.into(), &0.into()));
        let spread = wanted[5];
        for (key, wanted) in ["mean", "std", "min", "max"].iter().zip(&wanted[4..]) {
            let got = row[key].as_f64().expect("a number");
            assert!((got - wanted).abs() < 1e-4 * spread, "{key} of {name}: {got} is not {wanted}");
        }
        assert!(row["ms"].as_f64().is_some_and(|ms| ms >= 0.0), "{name}");
    }
}

#[test]
fn every_stage_of_every_command_matches_forward_hooks() {
    let golden = Golden::open("trace.safetensors");
    let stages: Vec<String> = serde_json::from_str(golden.text("stages")).expect("names");
    let folder = folder(&golden);
    let rows = trace(&folder, "roundtrip p.png -o o.png --mean --multiple 8");
    assert_match(&golden, &rows, &stages);
    let latents = stages.iter().position(|stage| stage == "latents").expect("latents");
    let rows = trace(&folder, "encode p.png -o l.safetensors --mean --multiple 8");
    assert_match(&golden, &rows, &stages[..=latents]);
    let rows = trace(&folder, "decode l.safetensors -o o.png");
    assert_match(&golden, &rows, &stages[latents..]);
}

#[test]
fn a_trace_is_printed_as_a_table_and_only_with_the_option() {
    let folder = folder(&Golden::open("trace.safetensors"));
    let line = "roundtrip p.png -o o.png --multiple 8 --model tiny --noise 0.5";
    let run = vae(&folder, &format!("{line} --trace")).code(0);
    let run = run.says(&["stage", "ms", "[1, 3, 72, 104]", "noised latents", "decoder.up_blocks.3"]);
    assert!(run.stdout.is_empty());
    let quiet = vae(&folder, &format!("{line} --trace -q")).code(0);
    let table = run.stderr.lines().filter(|line| !line.contains(" → ")).count();
    assert_eq!(quiet.stderr.lines().count(), table, "the table that was asked for, and nothing else");
    let run = vae(&folder, &format!("{line} --json")).code(0);
    assert!(run.json()[0].get("trace").is_none() && !run.stderr.contains("conv_in"), "{}", run.stderr);
}

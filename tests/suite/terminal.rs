//! What reaches the terminal: no control characters from names and files, no backtraces, no credentials.

use std::ffi::OsStr;
#[cfg(target_os = "linux")]
use std::process::Command;

use candle_core::{Device, Tensor};

use crate::support::model_folder::{CONFIG, Folder, tensors, write_with};
use crate::support::process::{Run, command, folder_with_pictures, run, write_png};

/// A name that colours the terminal, writes a line of its own, and is read from right to left.
const NAME: &str = "a\u{1b}[31m\nerror: \u{202e}gnp";

/// Runs `vae` with these arguments. `RUST_BACKTRACE` is set.
fn vae<'a>(folder: &Folder, arguments: impl IntoIterator<Item = &'a str>) -> Run {
    let mut command = command(folder);
    command.args(arguments).env("RUST_BACKTRACE", "1");
    run(command)
}

#[track_caller]
fn assert_is_clean(text: &str) {
    let misleading = |c: &char| (c.is_control() && *c != '\n') || matches!(c, '\u{202e}' | '\u{feff}');
    assert!(!text.chars().any(|c| misleading(&c)), "{text:?}");
    assert!(
        !text.lines().any(|line| line.starts_with("error: \\u{202e}") || line.starts_with("error: gnp")),
        "{text}"
    );
}

#[cfg(unix)]
#[test]
fn names_are_escaped_in_messages_but_not_in_json() {
    let folder = folder_with_pictures(&["a.png"]);
    let picture = format!("{NAME}.png");
    write_png(&folder.path(&picture), 64, 32);
    for arguments in [
        vec!["encode", &picture, "-o", "l.safetensors", "--model", "model"],
        vec!["encode", &picture, "a.png", "--out-dir", "o", "--model", "model"],
        vec!["encode", &picture, "a.png", "--out-dir", "o", "--model", "model"], // they exist
        vec!["roundtrip", &picture, "--noise", "0,1", "-o", "s.png", "-v", "--model", "model"],
        vec!["roundtrip", &picture, "--figure", "f.png", "--model", "model"],
        vec!["grid", &picture, "-o", "g.png"],
        vec!["inspect", &picture],
    ] {
        let run = vae(&folder, arguments.iter().copied()).code(0);
        assert_is_clean(&run.stderr);
        assert_is_clean(&String::from_utf8_lossy(&run.stdout));
        assert!(arguments[0] == "grid" || run.stderr.contains("\\u{1b}[31m\\n") || run.stdout.len() > 100);
    }
    for (arguments, code) in [
        (vec!["encode", NAME, "-o", "l.safetensors", "--model", "model"], 1),
        (vec!["encode", NAME, "b.png", "--out-dir", "o", "--model", "model"], 1),
        (vec!["decode", &picture, "-o", "l.png", "--model", "model"], 1),
        (vec!["encode", "a.png", "-o", "l.safetensors", "--model", NAME], 3),
        (vec!["encode", "a.png", "-o", &picture, "--model", "model"], 2),
        (vec!["encode", "a.png", "--out-dir", &picture, "--model", "model"], 1),
        (vec!["inspect", NAME], 1),
        (vec!["grid", NAME, "-o", "g.png"], 1),
    ] {
        let run = vae(&folder, arguments.iter().copied()).code(code);
        assert_is_clean(&run.stderr);
        assert!(run.stderr.contains("\\u{1b}[31m\\n"), "{}", run.stderr);
    }
    let record =
        vae(&folder, ["encode", &picture, "-o", "l.safetensors", "--model", "model", "--json"]).json();
    assert_eq!(record[0]["input"], picture.as_str());
}

#[test]
fn invalid_arguments_are_escaped() {
    let folder = Folder::new();
    for arguments in [
        vec![NAME],
        vec![&format!("--{NAME}")],
        vec!["encode", "a.png", "--device", NAME],
        vec!["encode", "a.png", "--seed", NAME],
        vec!["encode", "a.png", "--save-dtype", "f32\u{feff}"],
        vec!["roundtrip", "--noise", NAME],
    ] {
        let run = vae(&folder, arguments.iter().copied()).code(2);
        assert_is_clean(&run.stderr);
        assert!(run.stderr.starts_with("error: ") && run.stderr.contains("\\u{"), "{}", run.stderr);
    }
}

#[test]
fn texts_of_files_are_escaped() {
    let folder = Folder::new();
    let values = Tensor::ones((1, 4, 2, 3), candle_core::DType::F32, &Device::Cpu).expect("ones");
    let metadata = [(NAME.to_string(), NAME.to_string())].into();
    let bytes = safetensors::serialize([(NAME, &values)], Some(metadata)).expect("serializes");
    std::fs::write(folder.path("l.safetensors"), bytes).expect("a file");
    let two = safetensors::serialize([(NAME, &values), ("b", &values)], None).expect("serializes");
    std::fs::write(folder.path("two.safetensors"), two).expect("a file");
    let mut with_odd = tensors();
    with_odd.insert(format!("encoder.{NAME}.weight"), values);
    write_with(&folder.path("model"), CONFIG, &with_odd);
    for arguments in
        [["inspect", "l.safetensors"], ["inspect", "two.safetensors"], ["inspect", "--model=model"]]
    {
        let run = vae(&folder, arguments).code(0);
        let text = String::from_utf8_lossy(&run.stdout);
        assert_is_clean(&text);
        assert!(text.contains("\\u{1b}[31m\\n"), "{text}");
    }
}

/// The program's terminal, with the progress bars.
#[cfg(target_os = "linux")]
#[test]
fn the_progress_bar_shows_escaped_names() {
    let folder = Folder::with_model();
    let names = [format!("{NAME}.png"), format!("{NAME}-2.png")];
    names.iter().for_each(|name| write_png(&folder.path(name), 256, 256));
    let program = env!("CARGO_BIN_EXE_vae");
    std::fs::write(folder.path("run.sh"), format!("exec {program} encode *.png --out-dir o --model model"))
        .expect("a file");
    let mut script = Command::new("script");
    script.args(["-qec", "sh run.sh", "/dev/null"]).current_dir(folder.path(""));
    script.env("HF_HUB_OFFLINE", "1").env("XDG_CACHE_HOME", folder.path("cache"));
    let Ok(output) = script.output() else { return }; // not installed
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && shown.contains("\\u{1b}[31m"), "{shown}");
    assert!(!shown.contains("\u{1b}[31m") && !shown.contains('\u{202e}'), "{shown:?}");
}

#[test]
fn errors_have_no_backtraces() {
    let folder = folder_with_pictures(&["a.png"]);
    let mut fewer = tensors();
    fewer.remove("encoder.conv_in.weight").expect("a tensor");
    write_with(&folder.path("fewer"), CONFIG, &fewer);
    let mut other = tensors();
    let values = Tensor::ones((1, 2), candle_core::DType::F32, &Device::Cpu).expect("ones");
    other.insert("decoder.conv_in.weight".into(), values.clone());
    write_with(&folder.path("other"), CONFIG, &other);
    let save = |name: &str, shape: &[usize]| {
        let tensor = values.broadcast_as(&[shape, &[1, 2]].concat()[..]).and_then(|t| t.contiguous());
        let bytes =
            safetensors::serialize([("latents", &tensor.expect("a tensor"))], None).expect("serializes");
        std::fs::write(folder.path(name), bytes).expect("a file");
    };
    save("three.safetensors", &[1, 3]);
    save("right.safetensors", &[1, 4]);
    for (arguments, code) in [
        ("encode a.png -o l.safetensors --model fewer", 3),
        ("decode right.safetensors -o p.png --model other", 3),
        ("decode three.safetensors -o p.png --model model", 1),
        ("encode a.png --model none", 3),
        ("inspect fewer/config.json", 1),
    ] {
        let run = vae(&folder, arguments.split(' ')).code(code);
        assert!(run.stderr.starts_with("error: ") && run.stderr.lines().count() == 1, "{}", run.stderr);
        for trace in ["<unknown>", "backtrace", "   0: ", ".rs:"] {
            assert!(!run.stderr.contains(trace), "{}", run.stderr);
        }
    }
}

#[test]
fn credentials_in_the_endpoint_are_never_printed() {
    let folder = folder_with_pictures(&["a.png"]);
    for endpoint in [
        "http://me:s3cret@127.0.0.1:9",
        "http://me:s3cret@127.0.0.1:x",
        "http://me:s3/cret@127.0.0.1:9",
        "http://me:s3#cret@127.0.0.1:9",
        "ftp://me:s3cret@127.0.0.1",
        "me:s3cret@127.0.0.1",
    ] {
        for (arguments, code) in [
            (&["doctor"][..], 0),
            (&["doctor", "--json"], 0),
            (&["encode", "a.png", "-v", "--model", "a/b"], 3),
            (&["inspect", "--model", "a/b"], 3),
        ] {
            let mut command = command(&folder);
            command
                .args(arguments.iter().map(OsStr::new))
                .env("HF_ENDPOINT", endpoint)
                .env_remove("HF_HUB_OFFLINE");
            let run = run(command).code(code);
            for secret in ["s3", "cret"] {
                let stdout = String::from_utf8_lossy(&run.stdout);
                let places = [run.stderr.as_str(), &stdout].map(|text| text.replace("secret", ""));
                assert!(!places.iter().any(|text| text.contains(secret)), "{endpoint}: {places:?}");
            }
        }
    }
}

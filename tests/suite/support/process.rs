//! Runs the program as a process.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use vae::picture::{Background, Picture};

use super::model_folder::Folder;

/// The outcome of a run.
#[derive(Debug)]
pub struct Run {
    pub code: i32,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Run {
    fn new(output: Output) -> Self {
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!stderr.contains("panicked"), "{stderr}");
        Self { code: output.status.code().unwrap_or(-1), stdout: output.stdout, stderr }
    }

    /// Fails the test unless the exit code is `code`.
    #[track_caller]
    pub fn code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}", self.stderr);
        self
    }

    /// Fails the test unless stderr contains each of `texts`.
    #[track_caller]
    pub fn says(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(self.stderr.contains(text), "no {text:?} in {:?}", self.stderr);
        }
        self
    }

    /// Fails the test unless stdout contains each of `texts`.
    #[track_caller]
    pub fn prints(self, texts: &[&str]) -> Self {
        let stdout = String::from_utf8_lossy(&self.stdout);
        for text in texts {
            assert!(stdout.contains(text), "no {text:?} in {stdout}");
        }
        self
    }

    /// Parses stdout as one JSON object per line.
    pub fn json(&self) -> Vec<serde_json::Value> {
        let text = std::str::from_utf8(&self.stdout).expect("UTF-8");
        text.lines().map(|line| serde_json::from_str(line).expect("a JSON object")).collect()
    }
}

/// Prepares `vae` in `folder`, without the user's settings, any hub or CUDA devices.
pub fn command(folder: &Folder) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vae"));
    command.current_dir(folder.path("")).stdin(Stdio::null());
    let others =
        ["HUGGINGFACE_HUB_CACHE", "HUGGING_FACE_HUB_TOKEN", "TRANSFORMERS_OFFLINE", "RUST_BACKTRACE"];
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("HF_") || others.iter().any(|other| name == *other) {
            command.env_remove(name);
        }
    }
    command.env("XDG_CACHE_HOME", folder.path("cache"));
    command.env("HF_HOME", folder.path("hf-home")).env("HF_HUB_OFFLINE", "1");
    command.env("CUDA_VISIBLE_DEVICES", "");
    command
}

/// Runs `vae` in `folder` with the arguments of `line`, which is split at spaces.
pub fn vae(folder: &Folder, line: &str) -> Run {
    Run::new(command(folder).args(line.split_whitespace()).output().expect("the program starts"))
}

/// Runs `vae` with the model in `folder`.
pub fn vae_with_model(folder: &Folder, line: &str) -> Run {
    vae(folder, &format!("{line} --model model"))
}

/// Runs `vae` with the model in `folder` and `input` on stdin.
pub fn vae_with_stdin(folder: &Folder, line: &str, input: &[u8]) -> Run {
    let mut command = command(folder);
    command.args(line.split_whitespace()).args(["--model", "model"]).stdin(Stdio::piped());
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
    let written = child.stdin.take().expect("a pipe").write_all(input);
    let output = child.wait_with_output().expect("the program ends");
    written.expect("the program reads all of stdin");
    Run::new(output)
}

/// Runs `command`.
pub fn run(mut command: Command) -> Run {
    Run::new(command.output().expect("the program starts"))
}

/// Writes a PNG file with a gradient.
pub fn write_png(path: &Path, width: u32, height: u32) {
    let level = |v: u32, of: u32| (v * 255 / of.max(1)) as u8;
    image::RgbImage::from_fn(width, height, |x, y| {
        image::Rgb([level(x, width), level(y, height), level(x + y, width + height)])
    })
    .save(path)
    .expect("a PNG");
}

/// Creates a folder with the model and with pictures of 64×32 pixels.
pub fn folder_with_pictures(names: &[&str]) -> Folder {
    let folder = Folder::with_model();
    names.iter().for_each(|name| write_png(&folder.path(name), 64, 32));
    folder
}

/// Reads a picture of `folder`.
pub fn read_picture(folder: &Folder, name: &str) -> Picture {
    Picture::open(&folder.path(name), Background::WHITE).expect("a picture")
}

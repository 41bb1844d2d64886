//! Runs the program as a process.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

#[cfg(unix)]
use sha2::Digest;

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

/// A run that waits for the content of its input `fifo.png`, and has claimed its output in the folder `d`.
#[cfg(unix)]
pub struct Waiting(std::process::Child);

#[cfg(unix)]
impl Waiting {
    /// Starts the arguments of `line` with the model in `folder`, and waits until it waits.
    pub fn start(folder: &Folder, line: &str) -> Self {
        Self::with_output(folder, line, "fifo.safetensors")
    }

    /// The same for an output with another name.
    pub fn with_output(folder: &Folder, line: &str, output: &str) -> Self {
        let made = Command::new("mkfifo").arg(folder.path("fifo.png")).status();
        assert!(made.expect("mkfifo starts").success());
        let mut command = command(folder);
        command
            .args(line.split(' '))
            .args(["--model", "model"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = command.spawn().expect("the program starts");
        let claim = claim(folder, output);
        Self::until(|| claim.exists());
        Self(child)
    }

    /// Waits until `condition` holds.
    pub fn until(condition: impl Fn() -> bool) {
        while !condition() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    /// Waits until the run reads its input, calls `before`, gives it the content of a file, and waits until it ends.
    pub fn feed(self, folder: &Folder, name: &str, before: impl FnOnce()) -> Run {
        feed_pipe(folder, "fifo.png", name, before);
        self.end()
    }

    /// Waits until the run ends.
    pub fn end(self) -> Run {
        Run::new(self.0.wait_with_output().expect("the program ends"))
    }

    /// Whether the run was started with this signal ignored.
    pub fn ignores(&self, signal: i32) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap_or_default();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap_or("0");
        u64::from_str_radix(mask.trim(), 16).is_ok_and(|mask| mask >> (signal - 1) & 1 == 1)
    }

    /// Sends a signal, and returns how the run ended and its messages.
    pub fn kill(self, signal: &str) -> (std::process::ExitStatus, String) {
        let sent = Command::new("kill").args(["-s", signal, &self.0.id().to_string()]).status();
        assert!(sent.expect("kill starts").success());
        let output = self.0.wait_with_output().expect("the program ends");
        (output.status, String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// Waits until a program reads a pipe, calls `before`, and gives it the content of a file.
#[cfg(unix)]
pub fn feed_pipe(folder: &Folder, pipe: &str, name: &str, before: impl FnOnce()) {
    let content = std::fs::read(folder.path(name)).expect("a file");
    let mut pipe = std::fs::File::options().write(true).open(folder.path(pipe)).expect("a pipe");
    before();
    pipe.write_all(&content).expect("the program reads");
}

/// Returns the path of the claim on an output in the folder `d`.
#[cfg(unix)]
pub fn claim(folder: &Folder, output: &str) -> std::path::PathBuf {
    let hash = sha2::Sha256::digest(output);
    let hash: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    folder.path(&format!("d/.vae-{hash}.lock"))
}

/// Prepares `vae` in `folder` under strace, which injects `faults`, such as `fsync:error=EIO`, into system calls. Prints a line and returns `None` if
/// that is not possible.
#[cfg(unix)]
pub fn strace(folder: &Folder, faults: &[&str]) -> Option<Command> {
    let options = |command: &mut Command| {
        let calls: Vec<&str> = faults.iter().filter_map(|fault| fault.split(':').next()).collect();
        command.args(["-f", "-q", "-o", "/dev/null", "-e", &format!("trace={}", calls.join(","))]);
        command.args(faults.iter().flat_map(|fault| ["-e".to_string(), format!("inject={fault}")]));
    };
    let mut probe = Command::new("strace");
    options(&mut probe);
    if !probe.arg("true").stderr(Stdio::null()).status().is_ok_and(|status| status.success()) {
        println!("skipped: strace is missing or not permitted");
        return None;
    }
    let vae = command(folder);
    let mut strace = Command::new("strace");
    options(&mut strace);
    strace.arg(vae.get_program()).current_dir(folder.path("")).stdin(Stdio::null());
    for (name, value) in vae.get_envs() {
        match value {
            Some(value) => strace.env(name, value),
            None => strace.env_remove(name),
        };
    }
    Some(strace)
}

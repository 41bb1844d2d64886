//! What is said: words on stderr, JSON on stdout, progress on a terminal.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use vae::numbers::short;

use super::args::Words;
use super::output::{say, write_stdout};
use super::trace::Row;

/// How each stage went: milliseconds, and on a CUDA device the precision. Those that did not happen are absent.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Stages {
    /// Finding, downloading and reading the model; only in the first file of a run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_ms: Option<f64>,
    /// Reading the input, and for pictures resizing it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preprocess_ms: Option<f64>,
    /// Picture → latents.
    #[serde(flatten, serialize_with = "encode_half")]
    pub encode: Half,
    /// Latents → picture.
    #[serde(flatten, serialize_with = "decode_half")]
    pub decode: Half,
    /// Making the output file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write_ms: Option<f64>,
}

/// How one half of the model went.
#[derive(Debug, Clone, Copy, Default)]
pub struct Half {
    /// Milliseconds.
    pub ms: Option<f64>,
    /// The precision that a CUDA device gave the result in.
    pub dtype: Option<&'static str>,
}

fn encode_half<S: Serializer>(half: &Half, serializer: S) -> Result<S::Ok, S::Error> {
    half.serialize_as(["encode_ms", "encode_dtype"], serializer)
}

fn decode_half<S: Serializer>(half: &Half, serializer: S) -> Result<S::Ok, S::Error> {
    half.serialize_as(["decode_ms", "decode_dtype"], serializer)
}

impl Half {
    fn serialize_as<S: Serializer>(self, names: [&str; 2], serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if let Some(ms) = self.ms {
            map.serialize_entry(names[0], &ms)?;
        }
        if let Some(dtype) = self.dtype {
            map.serialize_entry(names[1], dtype)?;
        }
        map.end()
    }
}

impl Stages {
    fn words(&self) -> String {
        let dtype = |half: Half| half.dtype.map_or(String::new(), |dtype| format!(" in {dtype}"));
        [
            ("load", self.load_ms, String::new()),
            ("preprocess", self.preprocess_ms, String::new()),
            ("encode", self.encode.ms, dtype(self.encode)),
            ("decode", self.decode.ms, dtype(self.decode)),
            ("write", self.write_ms, String::new()),
        ]
        .iter()
        .filter_map(|(stage, ms, dtype)| Some(format!("{stage} {:.0} ms{dtype}", (*ms)?)))
        .collect::<Vec<_>>()
        .join(", ")
    }
}

/// What became of a picture at one level of noise.
#[derive(Debug, Serialize)]
pub struct Noised {
    /// The level.
    pub noise: f64,
    /// dB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psnr: Option<f64>,
}

/// What became of one input: a line for people, an object for programs.
#[derive(Debug, Default, Serialize)]
pub struct Record {
    /// The input as it was named.
    pub input: String,
    /// The file that was written; `-` is stdout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// Shape of the latents, `[n, 4, h, w]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shape: Option<Vec<usize>>,
    /// The figure that was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub figure: Option<String>,
    /// dB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psnr: Option<f64>,
    /// 1 where the pictures are equal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssim: Option<f64>,
    /// The largest absolute difference, in levels of 0 to 255.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_difference: Option<u8>,
    /// The mean absolute difference, in levels of 0 to 255.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean_difference: Option<f64>,
    /// One decoded picture for each level of noise.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sweep: Vec<Noised>,
    /// The output was there already and was kept.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub skipped: bool,
    /// Why there is no output, or what is wrong with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How long each stage took.
    pub stages: Stages,
    /// What each stage made, with `--trace`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<Vec<Row>>,
}

/// The user's terminal.
pub struct Ui {
    quiet: bool,
    verbose: bool,
    json: bool,
    bar: ProgressBar,
}

impl Ui {
    pub fn new(words: &Words) -> Self {
        Self { quiet: words.quiet, verbose: words.verbose, json: words.json, bar: ProgressBar::hidden() }
    }

    /// Whether JSON goes to stdout.
    pub fn json(&self) -> bool {
        self.json
    }

    /// Whether progress may be drawn.
    pub fn shows_progress(&self) -> bool {
        !self.quiet
    }

    /// The same, with a bar over `inputs` files, or a clock for a single one.
    pub fn with_bar(&self, inputs: usize) -> Self {
        let bar = match (self.quiet, inputs) {
            (true, _) => ProgressBar::hidden(),
            (_, 1) => ProgressBar::new_spinner().with_style(
                ProgressStyle::with_template("{spinner} {msg} {elapsed}").expect("a valid template"),
            ),
            _ => ProgressBar::new(inputs as u64).with_style(
                ProgressStyle::with_template("{bar:30} {pos}/{len}  {msg}  {elapsed}, {eta} to go")
                    .expect("a valid template"),
            ),
        };
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar, ..*self }
    }

    /// Says what is being worked on.
    pub fn working_on(&self, input: &str) {
        self.bar.set_message(input.to_string());
    }

    /// Runs `work` while nothing is drawn, for another bar or for a line.
    pub fn suspend<T>(&self, work: impl FnOnce() -> T) -> T {
        self.bar.suspend(work)
    }

    /// A line for people.
    pub fn note(&self, message: &str) {
        if !self.quiet {
            self.suspend(|| say(message));
        }
    }

    /// A line that is said also under -q.
    pub fn error(&self, message: &str) {
        self.suspend(|| say(&format!("error: {message}")));
    }

    /// Reports what became of an input.
    pub fn report(&self, record: &Record) -> anyhow::Result<()> {
        match &record.output {
            Some(output) if record.skipped => {
                self.note(&format!("{} → {output}: there already, kept", record.input))
            }
            None if record.error.is_some() => {}
            output => {
                let output = output.as_ref().or(record.figure.as_ref());
                self.note(&self.line(record, output.map_or("the terminal", String::as_str)));
            }
        }
        if let Some(error) = &record.error {
            self.error(&format!("{}: {error}", record.input));
        }
        self.object(record)
    }

    /// An object for programs, with `--json`.
    pub fn object(&self, record: &impl Serialize) -> anyhow::Result<()> {
        if self.json {
            let line = serde_json::to_string(record)? + "\n";
            self.suspend(|| write_stdout(line.as_bytes()))?;
        }
        Ok(())
    }

    fn line(&self, record: &Record, output: &str) -> String {
        let mut line = format!("{} → {output}", record.input);
        if let Some(shape) = &record.shape {
            line += &format!("  latents {shape:?}");
        }
        if let Some(psnr) = record.psnr {
            line += &format!("  PSNR {psnr:.2} dB");
        }
        if let Some(ssim) = record.ssim {
            line += &format!("  SSIM {ssim:.4}");
        }
        for Noised { noise, psnr } in &record.sweep {
            let psnr = psnr.map_or("equal".into(), |db| format!("PSNR {db:.2} dB"));
            line += &format!("\n  noise {}  {psnr}", short(*noise));
        }
        if let (Some(_), Some(figure)) = (&record.output, &record.figure) {
            line += &format!("  figure {figure}");
        }
        if self.verbose {
            line += &format!("\n  {}", record.stages.words());
        }
        line
    }

    /// One input is done.
    pub fn step(&self) {
        self.bar.inc(1);
    }

    /// All are done.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// Runs a stage, and keeps how long it took.
pub fn timed<T>(ms: &mut Option<f64>, stage: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = stage();
    let micros = ms.unwrap_or(0.0) * 1e3 + start.elapsed().as_secs_f64() * 1e6;
    *ms = Some(micros.round() / 1e3);
    result
}

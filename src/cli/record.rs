//! The result of one input, which is printed as a line of text or as a JSON object, and its timings.

use std::fmt;
use std::time::Instant;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use vae::numbers::{column, short};
use vae::statistics::Statistics;

/// The result of one input.
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
    /// In dB; absent if the pictures are equal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psnr: Option<f64>,
    /// 1 if the pictures are equal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssim: Option<f64>,
    /// The largest absolute difference, from 0 to 255.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_difference: Option<u8>,
    /// The mean absolute difference, from 0 to 255.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean_difference: Option<f64>,
    /// One entry for each noise level.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sweep: Vec<SweepEntry>,
    /// What may be wrong with the result.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Whether the output existed already and was kept.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub skipped: bool,
    /// Whether an output that was kept is known to be what would be made now.
    #[serde(skip)]
    pub checked: bool,
    /// Why the output of an earlier run was replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remade: Option<String>,
    /// Why there is no output, or what is wrong with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How long each stage took.
    pub stages: Stages,
    /// One row for each stage, with `--trace`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<Vec<TraceRow>>,
}

impl Record {
    /// Describes a result in one line. A result that was made again has a line before it with the reason, a sweep adds a line
    /// for each level, and `verbose` one with the timings.
    pub fn lines(&self, verbose: bool) -> Vec<String> {
        let output = self.output.as_ref().or(self.figure.as_ref());
        let output = output.map_or("the terminal", String::as_str);
        let because = |reason: &String| format!("{output}: made again, because {reason}");
        let mut lines: Vec<String> = self.remade.iter().map(because).collect();
        let mut line = format!("{} → {output}", self.input);
        if let Some(shape) = &self.shape {
            line += &format!("  latents {shape:?}");
        }
        if let Some(psnr) = self.psnr {
            line += &format!("  PSNR {psnr:.2} dB");
        }
        if let Some(ssim) = self.ssim {
            line += &format!("  SSIM {ssim:.4}");
        }
        if let (Some(_), Some(figure)) = (&self.output, &self.figure) {
            line += &format!("  figure {figure}");
        }
        lines.push(line);
        for SweepEntry { noise, psnr } in &self.sweep {
            let psnr = psnr.map_or("equal".into(), |db| format!("PSNR {db:.2} dB"));
            lines.push(format!("  noise {}  {psnr}", short(*noise)));
        }
        if verbose {
            lines.push(format!("  {}", self.stages));
        }
        lines
    }
}

/// The decoded picture at one noise level of a sweep.
#[derive(Debug, Serialize)]
pub struct SweepEntry {
    /// The noise level.
    pub noise: f64,
    /// In dB; absent if the pictures are equal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psnr: Option<f64>,
}

impl SweepEntry {
    /// Creates an entry. The PSNR is infinite if the pictures are equal.
    pub fn new(noise: f64, psnr: f64) -> Self {
        Self { noise, psnr: finite(psnr) }
    }
}

/// Returns a PSNR, or `None` if it is infinite.
pub fn finite(psnr: f64) -> Option<f64> {
    Some(psnr).filter(|db| db.is_finite())
}

/// How long each stage took. Stages that did not run are absent.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stages {
    /// Finding, downloading and reading the model; only in the first record of a run.
    pub load_ms: Option<f64>,
    /// Reading the input, and resizing it if it is a picture.
    pub preprocess_ms: Option<f64>,
    /// Picture → latents.
    pub encode: ModelTiming,
    /// Latents → picture.
    pub decode: ModelTiming,
    /// Compressing and writing the output file.
    pub write_ms: Option<f64>,
}

/// How long one half of the model took, and in which precision.
#[derive(Debug, Clone, Copy, Default)]
pub struct ModelTiming {
    /// Milliseconds.
    pub ms: Option<f64>,
    /// The precision of the result, on a CUDA device.
    pub dtype: Option<&'static str>,
}

impl Stages {
    /// Returns name, milliseconds and precision of the stages that ran.
    fn entries(&self) -> impl Iterator<Item = (&'static str, f64, Option<&'static str>)> {
        let all = [
            ("load", self.load_ms, None),
            ("preprocess", self.preprocess_ms, None),
            ("encode", self.encode.ms, self.encode.dtype),
            ("decode", self.decode.ms, self.decode.dtype),
            ("write", self.write_ms, None),
        ];
        all.into_iter().filter_map(|(name, ms, dtype)| Some((name, ms?, dtype)))
    }
}

impl Serialize for Stages {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, ms, dtype) in self.entries() {
            map.serialize_entry(&format!("{name}_ms"), &ms)?;
            dtype.map_or(Ok(()), |dtype| map.serialize_entry(&format!("{name}_dtype"), dtype))?;
        }
        map.end()
    }
}

impl fmt::Display for Stages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (name, ms, dtype)) in self.entries().enumerate() {
            write!(f, "{}{name} {ms:.0} ms", if i == 0 { "" } else { ", " })?;
            dtype.map_or(Ok(()), |dtype| write!(f, " in {dtype}"))?;
        }
        Ok(())
    }
}

/// Runs a stage and adds the time that it took to `ms`.
pub fn timed<T>(ms: &mut Option<f64>, stage: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = stage();
    let micros = ms.unwrap_or(0.0) * 1e3 + start.elapsed().as_secs_f64() * 1e6;
    *ms = Some(micros.round() / 1e3);
    result
}

/// The result of one stage, for `--trace`.
#[derive(Debug, Serialize)]
pub struct TraceRow {
    /// The name in the checkpoint, or that of the tensor.
    pub name: String,
    pub shape: Vec<usize>,
    pub dtype: &'static str,
    #[serde(flatten)]
    pub values: Statistics,
    /// Milliseconds since the previous stage.
    pub ms: f64,
}

impl TraceRow {
    /// The header of the table whose lines are rows.
    pub fn header() -> String {
        format!(
            "{:<24}{:<21}{:<6}{:>10}{:>10}{:>10}{:>10}{:>10}",
            "stage", "shape", "dtype", "mean", "std", "min", "max", "ms"
        )
    }
}

impl fmt::Display for TraceRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Statistics { mean, std, min, max, nan, inf, .. } = self.values;
        let (name, shape, dtype, ms) = (&self.name, format!("{:?}", self.shape), self.dtype, self.ms);
        write!(f, "{name:<24}{shape:<21}{dtype:<6}")?;
        for x in [mean, std, min.into(), max.into()] {
            write!(f, "{:>10}", column(x))?;
        }
        write!(f, "{ms:>10.1}")?;
        if nan + inf > 0 {
            write!(f, "  {nan} NaN, {inf} Inf")?;
        }
        Ok(())
    }
}

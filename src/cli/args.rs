//! The command line: what can be said. What it means is in the files of the commands.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use candle_core::DType;
use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;

use vae::checkpoint::Source;
use vae::device::DeviceChoice;
use vae::figure::Theme;
use vae::kernels::cuda::Element;
use vae::picture::Background;

use super::levels::Levels;

/// Pictures into Stable Diffusion latents, and back
#[derive(Debug, Parser)]
#[command(
    name = "vae",
    version,
    propagate_version = true,
    arg_required_else_help = true,
    after_help = "Examples:
  vae encode img.png -o latents.safetensors
  vae decode latents.safetensors -o out.png
  vae roundtrip img.png --noise 0.5

Exit codes: 0 done, 1 an input failed, 2 usage, 3 the model could not be had."
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    #[command(flatten)]
    pub verbosity: Verbosity,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Encode(EncodeArgs),
    Decode(DecodeArgs),
    Roundtrip(RoundtripArgs),
    Inspect(InspectArgs),
    /// Say what this machine and this build are like, and check that they compute rightly
    #[command(
        after_help = "Example:\n  vae doctor          (to paste into a bug report)\n  vae doctor --json"
    )]
    Doctor,
    Grid(GridArgs),
    /// Print a completion script for a shell
    #[command(
        after_help = "Example:\n  vae completions bash > ~/.local/share/bash-completion/completions/vae"
    )]
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// What is printed.
#[derive(Debug, Args)]
pub struct Verbosity {
    /// Say nothing but errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Say how long each stage took
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// Print one JSON object per file on stdout
    #[arg(long, global = true)]
    pub json: bool,
}

/// Pictures into latents
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vae encode img.png -o latents.safetensors
  vae encode --out-dir latents photos/*.jpg
  vae encode --mean img.png -o mean.safetensors
  vae encode --trace img.png -o latents.safetensors
  curl -s https://example.com/img.png | vae encode - -o - > latents.safetensors

In Python: safetensors.torch.load_file(\"latents.safetensors\")[\"latents\"]")]
pub struct EncodeArgs {
    /// Pictures: PNG, JPEG, WebP, TIFF, BMP, GIF or QOI; `-` is stdin
    #[arg(required = true, value_hint = ValueHint::FilePath)]
    pub inputs: Vec<PathBuf>,
    #[command(flatten)]
    pub output: OutputArgs,
    #[command(flatten)]
    pub encoding: Encoding,
    /// Precision of the stored latents
    #[arg(long, value_name = "DTYPE", default_value = "f32")]
    pub save_dtype: SaveDtype,
    /// Say shape, mean, std, min, max and time of what every stage makes, as it happens
    #[arg(long)]
    pub trace: bool,
    #[command(flatten)]
    pub model: ModelArgs,
}

/// Latents into pictures
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vae decode latents.safetensors -o out.png
  vae decode batch.safetensors -o out.png          (out-0.png, out-1.png, ...)
  vae decode --out-dir pictures latents/*.safetensors
  vae decode latents.safetensors -o out.jpg --quality 90 --original-size
  vae decode latents.safetensors --show            (in the terminal; nothing is written)")]
pub struct DecodeArgs {
    /// Latents: safetensors files with one tensor [n,4,h,w]; `-` is stdin
    #[arg(required = true, value_hint = ValueHint::FilePath)]
    pub inputs: Vec<PathBuf>,
    #[command(flatten)]
    pub output: OutputArgs,
    /// Resize each picture to the size of the file that was encoded
    #[arg(long)]
    pub original_size: bool,
    /// Latents of another program have not been multiplied by the scaling factor
    #[arg(long)]
    pub unscaled: bool,
    #[command(flatten)]
    pub quality: Quality,
    /// Say shape, mean, std, min, max and time of what every stage makes, as it happens
    #[arg(long)]
    pub trace: bool,
    #[command(flatten)]
    pub show: ShowArgs,
    #[command(flatten)]
    pub model: ModelArgs,
}

/// A picture into latents and back, and how well it survives
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vae roundtrip                          (the sample picture through the tiny model, both built in)
  vae roundtrip img.png -o decoded.png
  vae roundtrip img.png --noise 0.5
  vae roundtrip img.png --figure fig.png (original, decoded, latents, difference)
  vae roundtrip img.png --noise 0.1..1.0/6 -o sweep.png
  vae roundtrip --mean --json img.png
  vae roundtrip --min-psnr 24 img.png    (ends with 1 below 24 dB: a check for CI)

PSNR and SSIM are those of the decoded picture against the preprocessed original, over 8-bit samples.")]
pub struct RoundtripArgs {
    /// Pictures; `-` is stdin; without one, the picture that comes with the program (and the model `tiny`)
    #[arg(value_hint = ValueHint::FilePath)]
    pub inputs: Vec<PathBuf>,
    #[command(flatten)]
    pub output: OutputArgs,
    #[command(flatten)]
    pub encoding: Encoding,
    /// Add uniform noise to the latents: latents + (rand - 0.5) * mean(|latents|) * LEVEL. Several levels, as
    /// 0.1,0.5,1 or 0.1..1.0/6 (six, evenly), give one figure of them all, each as it would be alone
    #[arg(long, value_name = "LEVEL", allow_hyphen_values = true)]
    pub noise: Option<Levels>,
    /// Draw original, decoded, latent channels and difference into FILE; the decoded picture is written only with -o
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "out_dir")]
    pub figure: Option<PathBuf>,
    /// Colours of a figure
    #[arg(long, value_name = "THEME", default_value = "light")]
    pub theme: ThemeChoice,
    /// Fail (exit code 1) where the PSNR is below DB; the picture is written all the same
    #[arg(long, value_name = "DB", value_parser = decibels)]
    pub min_psnr: Option<f64>,
    #[command(flatten)]
    pub quality: Quality,
    /// Say shape, mean, std, min, max and time of what every stage makes, as it happens
    #[arg(long)]
    pub trace: bool,
    #[command(flatten)]
    pub show: ShowArgs,
    #[command(flatten)]
    pub model: ModelArgs,
}

/// What is this? A picture, latents, another safetensors file, or a model
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vae inspect latents.safetensors
  vae inspect latents.safetensors -o plates.png    (the channels as grey plates, side by side)
  vae inspect img.jpg
  vae inspect --model sd2                          (the module tree, as Python's print(pipe.vae))
  vae inspect --json latents.safetensors")]
pub struct InspectArgs {
    /// A picture or a safetensors file; `-` is stdin
    #[arg(required_unless_present = "model", conflicts_with = "model", value_hint = ValueHint::FilePath)]
    pub file: Option<PathBuf>,
    /// Write the channels of latents as grey plates into PICTURE, replacing it if it is there
    #[arg(short, long, value_name = "PICTURE", value_hint = ValueHint::FilePath, conflicts_with = "model")]
    pub output: Option<PathBuf>,
    /// What both sides of a picture are floored to
    #[arg(long, value_name = "N", default_value = "32")]
    pub multiple: NonZeroUsize,
    /// Look at a model instead of a file: whatever `encode --model` takes
    #[arg(long, value_name = "MODEL")]
    pub model: Option<Source>,
    /// Branch, tag or commit on the hub [default: main]
    #[arg(long, value_name = "REV", conflicts_with = "file")]
    pub revision: Option<String>,
}

/// Pictures beside and above each other
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vae grid a.png b.png c.png -o grid.png         (two columns: the square root of 3, rounded up)
  vae grid --rows 1 original.png decoded.png -o both.png
  vae grid --show out-*.png                      (in the terminal; nothing is written)

Each cell is as wide as the widest picture and as high as the highest; pictures are neither enlarged nor shrunk.")]
pub struct GridArgs {
    /// Pictures, row by row; `-` is stdin
    #[arg(required = true, value_hint = ValueHint::FilePath)]
    pub inputs: Vec<PathBuf>,
    /// Write to FILE, replacing it if it is there; `-` is stdout [default: grid.png, or a name that is free]
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,
    /// Rows
    #[arg(long, value_name = "N")]
    pub rows: Option<NonZeroUsize>,
    /// Columns
    #[arg(long, value_name = "N")]
    pub cols: Option<NonZeroUsize>,
    /// COLOR of empty cells, around smaller pictures and behind transparent ones: white, black, gray, or #rrggbb
    #[arg(long, value_name = "COLOR", default_value = "black")]
    pub background: Background,
    #[command(flatten)]
    pub quality: Quality,
    #[command(flatten)]
    pub show: ShowArgs,
}

/// Whether results are displayed.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Display the result in the terminal; without a named output, no file is written
    #[arg(long)]
    pub show: bool,
}

/// Where results go.
#[derive(Debug, Args)]
pub struct OutputArgs {
    /// Write to FILE, replacing it if it is there; `-` is stdout
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,
    /// Write one file per input into DIR; what is there already is kept and skipped
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, conflicts_with = "output")]
    pub out_dir: Option<PathBuf>,
    /// Replace what is there already in --out-dir
    #[arg(long, requires = "out_dir", conflicts_with = "output")]
    pub overwrite: bool,
}

/// How pictures become latents.
#[derive(Debug, Args)]
pub struct Encoding {
    /// Seed of the sample, and of the noise; each picture starts from it anew
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true)]
    pub seed: u64,
    /// Take the mean of the posterior instead of a sample
    #[arg(long)]
    pub mean: bool,
    /// Floor both sides of the picture to a multiple of N; the model's own step (8) at least
    #[arg(long, value_name = "N", default_value = "32")]
    pub multiple: NonZeroUsize,
    /// Lay transparent pictures on COLOR: white, black, gray, or #rrggbb
    #[arg(long, value_name = "COLOR", default_value = "white")]
    pub background: Background,
}

/// How pictures are written.
#[derive(Debug, Args)]
pub struct Quality {
    /// Quality of JPEG files, 1 to 100
    #[arg(long, value_name = "N", default_value_t = 95, value_parser = clap::value_parser!(u8).range(1..=100))]
    pub quality: u8,
}

/// Which model, and where it runs.
#[derive(Debug, Args)]
#[command(next_help_heading = "Model")]
pub struct ModelArgs {
    /// `sd2`, `tiny` (built in and small; its latents are not Stable Diffusion's), a hub id (owner/name), a folder in the
    /// diffusers layout, or a .safetensors file beside its config.json [default: sd2]
    #[arg(long, value_name = "MODEL")]
    pub model: Option<Source>,
    /// Branch, tag or commit on the hub [default: main]
    #[arg(long, value_name = "REV")]
    pub revision: Option<String>,
    /// auto, cpu, cuda or cuda:N; CUDA takes a build with `--features cuda`
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub device: DeviceChoice,
    /// Precision to compute in on a CUDA device (auto is f16); the CPU has f32 and no other
    #[arg(long, value_name = "DTYPE", default_value = "auto")]
    pub dtype: ComputeDtype,
    /// Threads to compute with [default: one per core]
    #[arg(long, value_name = "N")]
    pub threads: Option<NonZeroUsize>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum SaveDtype {
    F32,
    F16,
}

impl SaveDtype {
    pub fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::F16 => DType::F16,
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum ComputeDtype {
    Auto,
    F32,
    F16,
    Bf16,
}

impl ComputeDtype {
    pub fn element(self) -> Option<Element> {
        match self {
            Self::Auto => None,
            Self::F32 => Some(Element::F32),
            Self::F16 => Some(Element::F16),
            Self::Bf16 => Some(Element::Bf16),
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum ThemeChoice {
    Light,
    Dark,
}

impl ThemeChoice {
    pub fn theme(self) -> Theme {
        match self {
            Self::Light => Theme::Light,
            Self::Dark => Theme::Dark,
        }
    }
}

fn decibels(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(db) if db.is_finite() => Ok(db),
        _ => Err("a PSNR is a number of decibels, such as 24".into()),
    }
}

/// Parses the command line; leaves with code 2 and advice where it is wrong.
pub fn parse() -> Cli {
    Cli::parse()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}

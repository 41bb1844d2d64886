//! Groups of options that several commands have.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueHint};

use vae::checkpoint::families::FAMILIES;
use vae::checkpoint::{Family, Overrides, Source};
use vae::device::DeviceChoice;
use vae::picture::Background;

use super::choices::{ComputeDtype, IccChoice};

/// The option to display results.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Display the result in the terminal; a file is written only if an output is named
    #[arg(long)]
    pub show: bool,
}

/// Where results go.
#[derive(Debug, Args)]
pub struct OutputArgs {
    /// Write to FILE; an existing file is replaced; `-` is stdout [default: a new name in the current folder]
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,
    /// Write one file per input to DIR. An input is skipped if its output was already made from it with the same
    /// settings; other outputs of vae are made again
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, conflicts_with = "output")]
    pub out_dir: Option<PathBuf>,
    /// Replace existing files in --out-dir
    #[arg(long, requires = "out_dir", conflicts_with = "output")]
    pub overwrite: bool,
    /// Keep all existing files in --out-dir, whatever they were made from
    #[arg(long, requires = "out_dir", conflicts_with_all = ["output", "overwrite"])]
    pub keep_existing: bool,
}

/// How pictures are encoded.
#[derive(Debug, Args)]
pub struct Encoding {
    /// Seed of the random numbers; every picture starts with the same seed [default: 0]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub seed: Option<u64>,
    /// Use the mean of the posterior instead of a sample
    #[arg(long)]
    pub mean: bool,
    /// Round both sides of the picture down to a multiple of N. N must be a multiple of the downscale factor (8)
    #[arg(long, value_name = "N", default_value = "32")]
    pub multiple: NonZeroUsize,
    /// Colour behind transparent pictures: white, black, gray or #rrggbb
    #[arg(long, value_name = "COLOR", default_value = "white")]
    pub background: Background,
    /// Colour profiles of pictures: ignore them, as Pillow and diffusers do, or convert the colours to sRGB
    #[arg(long, value_name = "ICC", default_value = "keep")]
    pub icc: IccChoice,
}

impl Encoding {
    /// The seed that is given, or the default.
    pub fn seed(&self) -> u64 {
        self.seed.unwrap_or(0)
    }
}

/// How pictures are compressed.
#[derive(Debug, Args)]
pub struct Quality {
    /// JPEG quality, 1 to 100 [default: 95]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=100))]
    pub quality: Option<u8>,
}

impl Quality {
    /// The quality that is given, or the default.
    pub fn value(&self) -> u8 {
        self.quality.unwrap_or(95)
    }
}

/// How the latents of the model are scaled, whatever the checkpoint says.
#[derive(Debug, Args)]
pub struct ScalingArgs {
    /// Family of the model, which decides how its latents are scaled [default: what the checkpoint says]
    #[arg(long, value_name = "FAMILY", value_parser = families(), hide_possible_values = true)]
    pub family: Option<&'static Family>,
    /// Scaling factor of the model's latents [default: what the checkpoint or --family says]
    #[arg(long, value_name = "N", value_parser = factor)]
    pub scaling_factor: Option<f64>,
    /// Shift that is subtracted from the model's latents before they are scaled [default: what the checkpoint or --family
    /// says]
    #[arg(long, value_name = "N", value_parser = finite, allow_negative_numbers = true)]
    pub shift_factor: Option<f64>,
}

impl ScalingArgs {
    pub fn overrides(&self) -> Overrides {
        let &Self { family, scaling_factor, shift_factor } = self;
        Overrides { family, scaling_factor, shift_factor }
    }

    /// The first of the options that is given.
    pub fn first(&self) -> Option<&'static str> {
        let options = [
            self.family.map(|_| "--family"),
            self.scaling_factor.map(|_| "--scaling-factor"),
            self.shift_factor.map(|_| "--shift-factor"),
        ];
        options.into_iter().flatten().next()
    }
}

/// The model and the device.
#[derive(Debug, Args)]
#[command(next_help_heading = "Model")]
pub struct ModelArgs {
    /// A name that `vae models` lists, such as sd2, sdxl or tiny (small and built in; its latents are not Stable Diffusion's),
    /// a hub id (owner/name), a folder in diffusers layout, or a file: of a VAE, or of a whole checkpoint with a VAE in it
    /// [default: sd2]
    #[arg(long, value_name = "MODEL")]
    pub model: Option<Source>,
    /// Branch, tag or commit of a model on the hub [default: main]
    #[arg(long, value_name = "REV")]
    pub revision: Option<String>,
    /// Ask the hub whether a branch or tag in the cache has moved; without this option, it is asked once a day
    #[arg(long)]
    pub refresh: bool,
    #[command(flatten)]
    pub scaling: ScalingArgs,
    /// Device to compute on: auto (CUDA if available), cpu, cuda or cuda:N; CUDA needs a build with `--features cuda`
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub device: DeviceChoice,
    /// Precision on a CUDA device (auto: f16, or f32 for a model with force_upcast); the CPU always computes in f32
    #[arg(long, value_name = "DTYPE", default_value = "auto")]
    pub dtype: ComputeDtype,
    /// Number of CPU threads [default: one per core]
    #[arg(long, value_name = "N")]
    pub threads: Option<NonZeroUsize>,
}

/// Parses the name of a family.
fn families() -> impl TypedValueParser<Value = &'static Family> {
    let names = PossibleValuesParser::new(FAMILIES.iter().map(|family| family.name));
    names.map(|name| Family::named(&name).expect("one of the names"))
}

fn factor(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(factor) if factor.is_normal() && factor > 0.0 => Ok(factor),
        _ => Err("expected a positive number, such as 0.18215".into()),
    }
}

fn finite(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(number),
        _ => Err("expected a number, such as 0.0609".into()),
    }
}

//! The options and their help texts.
//!
//! | file | what |
//! | --- | --- |
//! | `choices` | values to choose from |
//! | `groups` | groups of options that several commands have |

mod choices;
mod groups;

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueHint};
use clap_complete::Shell;

use vae::checkpoint::Source;
use vae::picture::Background;

use super::levels::Levels;
pub use choices::{IccChoice, LayoutChoice, SaveDtype, ThemeChoice, WeightsDtype};
pub use groups::{Encoding, ModelArgs, OutputArgs, Quality, ScalingArgs, ShowArgs};

/// Convert pictures into Stable Diffusion latents and back
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

Results go to stdout, messages to stderr. Exit codes:
  0    success
  1    an input or output failed
  2    invalid usage
  3    the model could not be loaded
  141  stdout was closed early
  129, 130, 143  ended by SIGHUP, SIGINT (Ctrl-C), SIGTERM"
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
    /// List the models that have names: latents, scaling, licence, and whether they are in the cache
    #[command(
        after_help = "Examples:\n  vae models\n  vae models --json   (one object per model)\n\nEach name is a value of --model. The hub is not asked."
    )]
    Models,
    ConvertModel(ConvertModelArgs),
    /// Describe this machine and build, and run a self-test
    #[command(after_help = "Examples:\n  vae doctor          (for a bug report)\n  vae doctor --json")]
    Doctor,
    Grid(GridArgs),
    /// Print a shell completion script
    #[command(
        after_help = "Example:\n  vae completions bash > ~/.local/share/bash-completion/completions/vae"
    )]
    Completions {
        /// Shell to print the script for
        shell: Shell,
    },
}

/// What is printed.
#[derive(Debug, Args)]
#[command(next_help_heading = "Messages")]
pub struct Verbosity {
    /// Print no messages except errors and the table of --trace
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Print the time of each stage, and what decided the scaling factor
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// Print one JSON object per result to stdout
    #[arg(long, global = true)]
    pub json: bool,
}

/// Encode pictures into latents
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vae encode img.png -o latents.safetensors
  vae encode --out-dir latents photos/*.jpg
  vae encode --mean img.png -o mean.safetensors
  vae encode --trace img.png -o latents.safetensors
  curl -s https://example.com/img.png | vae encode - -o - > latents.safetensors

In Python: safetensors.torch.load_file(\"latents.safetensors\")[\"latents\"]")]
pub struct EncodeArgs {
    /// Pictures (PNG, JPEG, WebP, TIFF, BMP, GIF or QOI); `-` is stdin
    #[arg(required = true, value_hint = ValueHint::FilePath)]
    pub inputs: Vec<PathBuf>,
    #[command(flatten)]
    pub output: OutputArgs,
    #[command(flatten)]
    pub encoding: Encoding,
    /// Number format of the latents in the file
    #[arg(long, value_name = "DTYPE", default_value = "f32")]
    pub save_dtype: SaveDtype,
    /// Write the latents as the VAE computes them, without the scaling that diffusion models expect; needs no scaling factor
    #[arg(long)]
    pub unscaled: bool,
    /// Print the shape, statistics and time of each stage
    #[arg(long)]
    pub trace: bool,
    #[command(flatten)]
    pub model: ModelArgs,
}

/// Decode latents into pictures
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vae decode latents.safetensors -o out.png
  vae decode batch.safetensors -o out.png          (out-0.png, out-1.png, ...)
  vae decode --out-dir pictures latents/*.safetensors
  vae decode latents.safetensors -o out.jpg --quality 90 --original-size
  vae decode latents.safetensors -o small.png --preview    (by a small decoder, in a fraction of the time)
  vae decode latents.safetensors --show            (display it; write no file)")]
pub struct DecodeArgs {
    /// Latents (safetensors files with one tensor [n,4,h,w]); `-` is stdin
    #[arg(required = true, value_hint = ValueHint::FilePath)]
    pub inputs: Vec<PathBuf>,
    #[command(flatten)]
    pub output: OutputArgs,
    /// Decode with the small decoder of the family that the latents are from (TAESD): a preview in a fraction of the time
    #[arg(long, conflicts_with_all = ["model", "revision", "family", "scaling_factor", "shift_factor"])]
    pub preview: bool,
    /// Resize each decoded picture to the size of the original file
    #[arg(long)]
    pub original_size: bool,
    /// Treat latents without metadata as unscaled (not multiplied by the scaling factor)
    #[arg(long, conflicts_with = "scaled")]
    pub unscaled: bool,
    /// Treat latents without metadata as scaled; the default, with a warning if they look unscaled
    #[arg(long)]
    pub scaled: bool,
    #[command(flatten)]
    pub quality: Quality,
    /// Print the shape, statistics and time of each stage
    #[arg(long)]
    pub trace: bool,
    #[command(flatten)]
    pub show: ShowArgs,
    #[command(flatten)]
    pub model: ModelArgs,
}

/// Encode and decode pictures, and measure the difference
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vae roundtrip                          (the built-in sample picture and model)
  vae roundtrip img.png -o decoded.png
  vae roundtrip img.png --noise 0.5
  vae roundtrip img.png --figure fig.png (original, decoded, latents, difference)
  vae roundtrip img.png --noise 0.1..1.0/6 -o sweep.png
  vae roundtrip --mean --json img.png
  vae roundtrip --min-psnr 24 img.png    (exit code 1 below 24 dB, for CI)

PSNR and SSIM compare the decoded picture with the preprocessed original, both with 8 bits per channel.")]
pub struct RoundtripArgs {
    /// Pictures; `-` is stdin [default: the built-in sample picture, with the model `tiny`]
    #[arg(value_hint = ValueHint::FilePath)]
    pub inputs: Vec<PathBuf>,
    #[command(flatten)]
    pub output: OutputArgs,
    #[command(flatten)]
    pub encoding: Encoding,
    /// Add uniform noise to the latents: latents + (rand - 0.5) * mean(|latents|) * LEVEL. A list (0.1,0.5,1) or a
    /// range (0.1..1.0/6 is six evenly spaced levels) writes one figure with all levels
    #[arg(long, value_name = "LEVEL", allow_hyphen_values = true)]
    pub noise: Option<Levels>,
    /// Write a figure with the original, the decoded picture, the difference and the latent channels to FILE. The
    /// decoded picture is then written only with -o
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "out_dir")]
    pub figure: Option<PathBuf>,
    /// Colours of figures [default: light]
    #[arg(long, value_name = "THEME")]
    pub theme: Option<ThemeChoice>,
    /// Fail (exit code 1) if the PSNR is below DB; outputs are still written
    #[arg(long, value_name = "DB", value_parser = decibels)]
    pub min_psnr: Option<f64>,
    #[command(flatten)]
    pub quality: Quality,
    /// Print the shape, statistics and time of each stage
    #[arg(long)]
    pub trace: bool,
    #[command(flatten)]
    pub show: ShowArgs,
    #[command(flatten)]
    pub model: ModelArgs,
}

/// Describe a picture, latents, another safetensors file, or a model
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vae inspect latents.safetensors
  vae inspect latents.safetensors -o plates.png    (one grey picture per channel)
  vae inspect img.jpg
  vae inspect --model sd2                          (the module tree, like Python's print(pipe.vae))
  vae inspect --model sdxl --fingerprint           (a row of the table by which encoders are recognized)
  vae inspect --json latents.safetensors")]
pub struct InspectArgs {
    /// Picture or safetensors file; `-` is stdin
    #[arg(required_unless_present = "model", conflicts_with = "model", value_hint = ValueHint::FilePath)]
    pub file: Option<PathBuf>,
    /// Write each latent channel as a grey picture, side by side, to PICTURE; an existing file is replaced
    #[arg(short, long, value_name = "PICTURE", value_hint = ValueHint::FilePath, conflicts_with = "model")]
    pub output: Option<PathBuf>,
    /// Multiple for the preprocessed size in the report; see `encode --multiple`
    #[arg(long, value_name = "N", default_value = "32")]
    pub multiple: NonZeroUsize,
    /// Describe a model instead of a file; takes the same values as `encode --model`
    #[arg(long, value_name = "MODEL")]
    pub model: Option<Source>,
    /// Branch, tag or commit of a model on the hub [default: main]
    #[arg(long, value_name = "REV", conflicts_with = "file")]
    pub revision: Option<String>,
    /// Ask the hub whether a branch or tag in the cache has moved; without this option, it is asked once a day
    #[arg(long, conflicts_with = "file")]
    pub refresh: bool,
    #[command(flatten)]
    pub scaling: ScalingArgs,
    /// Print the fingerprint of the model's encoder, as a row of the table in assets/fingerprints.txt, and nothing else
    #[arg(long, conflicts_with = "file")]
    pub fingerprint: bool,
}

/// Write the VAE of a model into a new file, or into a folder for diffusers
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vae convert-model v1-5-pruned.safetensors -o vae.safetensors      (the VAE of a whole checkpoint)
  vae convert-model sdxl_vae.safetensors -o sdxl-vae                (a folder for diffusers)
  vae convert-model sdxl-vae -o vae.safetensors --layout ldm        (for ComfyUI and others)
  vae convert-model sd2 -o sd2-bf16.safetensors --dtype bf16

Values keep their bytes unless --dtype changes their format, which rounds them to the nearest value.")]
pub struct ConvertModelArgs {
    /// Model; takes the same values as `encode --model`
    pub model: Source,
    /// Write to FILE (NAME.safetensors); an existing file is replaced; `-` is stdout. Any other name is that of a new folder,
    /// which gets config.json and diffusion_pytorch_model.safetensors
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::AnyPath)]
    pub output: PathBuf,
    /// Whose names the tensors get
    #[arg(long, value_name = "LAYOUT", default_value = "diffusers")]
    pub layout: LayoutChoice,
    /// Number format of the values [default: that of the model]
    #[arg(long, value_name = "DTYPE")]
    pub dtype: Option<WeightsDtype>,
    /// Branch, tag or commit of a model on the hub [default: main]
    #[arg(long, value_name = "REV")]
    pub revision: Option<String>,
    /// Ask the hub whether a branch or tag in the cache has moved; without this option, it is asked once a day
    #[arg(long)]
    pub refresh: bool,
    #[command(flatten)]
    pub scaling: ScalingArgs,
}

/// Arrange pictures in rows and columns
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vae grid a.png b.png c.png -o grid.png         (two columns: √3, rounded up)
  vae grid --rows 1 original.png decoded.png -o both.png
  vae grid --show out-*.png                      (display it; write no file)

Each cell is as wide as the widest picture and as tall as the tallest. Pictures are not resized.")]
pub struct GridArgs {
    /// Pictures in row order; `-` is stdin
    #[arg(required = true, value_hint = ValueHint::FilePath)]
    pub inputs: Vec<PathBuf>,
    /// Write to FILE; an existing file is replaced; `-` is stdout [default: grid.png, or a numbered name if that file exists]
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,
    /// Number of rows [default: as many as needed]
    #[arg(long, value_name = "N")]
    pub rows: Option<NonZeroUsize>,
    /// Number of columns [default: as many as --rows needs, or the square root of the number of pictures, rounded up]
    #[arg(long, value_name = "N")]
    pub cols: Option<NonZeroUsize>,
    /// Background colour of cells: white, black, gray or #rrggbb
    #[arg(long, value_name = "COLOR", default_value = "black")]
    pub background: Background,
    #[command(flatten)]
    pub quality: Quality,
    #[command(flatten)]
    pub show: ShowArgs,
}

fn decibels(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(db) if db.is_finite() => Ok(db),
        _ => Err("expected a number of decibels, such as 24".into()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_options_are_consistent() {
        super::Cli::command().debug_assert();
    }
}

//! A picture file: what it is, and what the VAE would be shown of it.

use std::fmt::Write;

use anyhow::{Result, bail};
use serde::Serialize;

use vae::picture::{Background, Facts, Picture, PictureError};

use crate::cli::args::InspectArgs;
use crate::cli::failure::Failure;
use crate::cli::jobs::Job;
use crate::cli::ui::Ui;

/// Channels of the latents of Stable Diffusion's VAE, and the pixels of one latent pixel's side.
const CHANNELS: usize = 4;
const STEP: usize = 8;

#[derive(Serialize)]
struct Record {
    input: String,
    kind: &'static str,
    format: String,
    /// As it is stored.
    width: u32,
    height: u32,
    color: &'static str,
    bits: u16,
    /// How it is made upright, by its EXIF data.
    orientation: Option<&'static str>,
    /// Width and height after that.
    upright: [usize; 2],
    /// Width and height that are encoded; absent where it is too small.
    #[serde(skip_serializing_if = "Option::is_none")]
    preprocessed: Option<[usize; 2]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latents: Option<[usize; 4]>,
}

pub fn inspect(args: &InspectArgs, job: &Job, bytes: &[u8], ui: &Ui) -> Result<()> {
    let multiple = args.multiple.get();
    if !multiple.is_multiple_of(STEP) {
        let message =
            format!("--multiple {multiple} is no multiple of {STEP}, the step of Stable Diffusion's VAE");
        return Err(Failure::Usage(message).into());
    }
    let facts = match Facts::of(bytes) {
        Err(e @ PictureError::UnknownFormat) => bail!("it is no safetensors file and no picture: {e}"),
        facts => facts?,
    };
    let picture = Picture::from_bytes(bytes, Background::WHITE)?; // all of it, so that a broken one is found out
    let (width, height) = (picture.width(), picture.height());
    let floored = [width - width % multiple, height - height % multiple];
    let preprocessed = Some(floored).filter(|[width, height]| width * height > 0);
    let record = Record {
        input: job.input.name(),
        kind: "picture",
        format: facts.format,
        width: facts.stored.0,
        height: facts.stored.1,
        color: facts.color.kind,
        bits: facts.color.bits,
        orientation: facts.turn,
        upright: [width, height],
        preprocessed,
        latents: preprocessed.map(|[width, height]| [1, CHANNELS, height / STEP, width / STEP]),
    };
    let text = words(&record, multiple)?;
    ui.print(&record, &text)
}

fn words(record: &Record, multiple: usize) -> Result<String> {
    let Record { input, format, width, height, color, bits, upright, .. } = record;
    let mut text = format!("{input}: a {format} picture\n");
    writeln!(text, "  size          {width}×{height}")?;
    writeln!(text, "  colours       {color}, {bits} bit{} a sample", if *bits == 1 { "" } else { "s" })?;
    match record.orientation {
        Some(turn) => writeln!(text, "  orientation   {turn} (EXIF): {}×{}", upright[0], upright[1])?,
        None => writeln!(text, "  orientation   upright")?,
    }
    match (record.preprocessed, record.latents) {
        (Some([width, height]), Some(latents)) => {
            writeln!(text, "  preprocessed  {width}×{height}, multiples of {multiple}")?;
            writeln!(text, "  latents       {latents:?}, by a VAE as Stable Diffusion's")?;
        }
        _ => writeln!(text, "  preprocessed  not possible: both sides must be at least {multiple}")?,
    }
    Ok(text)
}

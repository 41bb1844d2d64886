//! Describes a picture file, and what the VAE would encode of it.

use std::fmt::Write;

use anyhow::{Result, bail};
use serde::Serialize;

use vae::escape::one_line;
use vae::picture::{Background, Facts, Picture, PictureError};

use crate::cli::args::InspectArgs;
use crate::cli::failure::Failure;
use crate::cli::jobs::Job;
use crate::cli::memory::{self, Work};
use crate::cli::ui::Ui;

/// `latent_channels` of the VAE of Stable Diffusion 1, 2 and XL. No model is opened to describe a picture.
const CHANNELS: usize = 4;

/// The downscale factor of the same VAEs: their four levels of `block_out_channels` halve the sides three times.
const DOWNSCALE: usize = 8;

#[derive(Serialize)]
struct PictureReport {
    input: String,
    kind: &'static str,
    format: String,
    /// As stored.
    width: u32,
    height: u32,
    color: &'static str,
    bits: u16,
    /// The description of its colour profile.
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<String>,
    /// How the EXIF data turns it upright.
    orientation: Option<&'static str>,
    /// Width and height when upright.
    upright: [usize; 2],
    /// Width and height that are encoded; absent if the picture is too small.
    #[serde(skip_serializing_if = "Option::is_none")]
    preprocessed: Option<[usize; 2]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latents: Option<[usize; 4]>,
}

pub fn inspect(args: &InspectArgs, job: &Job, bytes: &[u8], ui: &Ui) -> Result<()> {
    let multiple = args.multiple.get();
    if !multiple.is_multiple_of(DOWNSCALE) {
        let message = format!("--multiple must be a multiple of {DOWNSCALE}, the VAE's downscale factor");
        return Err(Failure::Usage(message).into());
    }
    let facts = match Facts::of(bytes) {
        Err(e @ PictureError::UnknownFormat) => bail!("neither a safetensors file nor a picture: {e}"),
        facts => facts?,
    };
    let original = (facts.stored.0 as usize, facts.stored.1 as usize);
    memory::check(Work::Read { file: 0, original, canvas: (0, 0) }, None)?; // the file is in memory already
    let picture = Picture::from_bytes(bytes, Background::WHITE)?; // decodes all of it, to detect broken files
    let (width, height) = (picture.width(), picture.height());
    let floored = [width - width % multiple, height - height % multiple];
    let preprocessed = Some(floored).filter(|[width, height]| width * height > 0);
    let report = PictureReport {
        input: job.input.name(),
        kind: "picture",
        format: facts.format,
        width: facts.stored.0,
        height: facts.stored.1,
        color: facts.color.kind,
        bits: facts.color.bits,
        profile: facts.profile,
        orientation: facts.turn,
        upright: [width, height],
        preprocessed,
        latents: preprocessed.map(|[width, height]| [1, CHANNELS, height / DOWNSCALE, width / DOWNSCALE]),
    };
    let text = describe(&report, multiple)?;
    ui.print(&report, &text)
}

fn describe(report: &PictureReport, multiple: usize) -> Result<String> {
    let PictureReport { input, format, width, height, color, bits, upright, .. } = report;
    let mut text = format!("{}: a {format} picture\n", one_line(input));
    writeln!(text, "  size          {width}×{height}")?;
    writeln!(text, "  colours       {color}, {bits} bit{} per channel", if *bits == 1 { "" } else { "s" })?;
    if let Some(profile) = &report.profile {
        writeln!(text, "  profile       {profile}")?;
    }
    match report.orientation {
        Some(turn) => writeln!(text, "  orientation   {turn} (EXIF): {}×{}", upright[0], upright[1])?,
        None => writeln!(text, "  orientation   upright")?,
    }
    match (report.preprocessed, report.latents) {
        (Some([width, height]), Some(latents)) => {
            writeln!(text, "  preprocessed  {width}×{height}, multiples of {multiple}")?;
            writeln!(text, "  latents       {latents:?}, with Stable Diffusion's VAE")?;
        }
        _ => writeln!(text, "  preprocessed  not possible: both sides must be at least {multiple}")?,
    }
    Ok(text)
}

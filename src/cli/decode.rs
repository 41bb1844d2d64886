//! `vae decode`: latents into pictures.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use candle_core::Tensor;

use vae::checkpoint::{Source, built_in};
use vae::latents::{Latents, Provenance};
use vae::model::{self, Config};
use vae::picture::{Format, MAX_PIXELS, Picture};

use super::args::DecodeArgs;
use super::failure::Failure;
use super::jobs::{self, Job, Naming};
use super::memory::Work;
use super::output::Target;
use super::record::{Record, Stages, timed};
use super::session::Session;
use super::show::Screen;
use super::trace::Trace;
use super::ui::Ui;

const NAMING: Naming =
    Naming { alone: |stem| format!("{stem}.png"), in_folder: |stem| format!("{stem}.png") };

pub fn run(args: &DecodeArgs, ui: &Ui) -> Result<(), Failure> {
    let mut jobs = jobs::plan(&args.inputs, &args.output, &NAMING, ui)?;
    let screen = Screen::open(&args.show, jobs.iter().map(|job| &job.target), ui);
    screen.replace_unnamed(jobs.iter_mut().map(|job| &mut job.target));
    for job in &jobs {
        format_of(&job.target, args.quality.quality)?;
    }
    let ui = &ui.with_bar(jobs.len());
    let session = Session::new(&args.model, Source::Sd2, ui)?;
    jobs::run(&jobs, ui, |job| {
        let format = format_of(&job.target, args.quality.quality)?;
        decode(args, job, format, &session, (ui, &screen))
    })
}

/// The picture format of a target: that of the extension; PNG on stdout.
pub fn format_of(target: &Target, quality: u8) -> Result<Format, Failure> {
    match target {
        Target::Stdout => Ok(Format::Png),
        Target::Named(path) | Target::Kept(path) | Target::Fresh(path) => {
            Format::from_path(path, quality).map_err(Failure::Usage)
        }
        Target::Nowhere => Ok(Format::Png),
    }
}

/// Decodes one file, picture by picture, so that a batch needs no more memory than one picture.
fn decode(
    args: &DecodeArgs,
    job: &Job,
    format: Format,
    session: &Session,
    (ui, screen): (&Ui, &Screen),
) -> Result<()> {
    let mut stages = Stages::default();
    let latents = timed(&mut stages.preprocess_ms, || -> Result<Latents> {
        Ok(Latents::from_safetensors(&job.input.bytes()?)?)
    })?;
    let count = latents.tensor.dim(0)?;
    let targets = targets(&job.target, count)?;
    if args.model.model.is_none() && latents.provenance.model.as_deref() == Some(built_in::NAME) {
        bail!("its latents are those of the built-in model: add --model {}", built_in::NAME);
    }
    let config = timed(&mut stages.load_ms, || session.config())?;
    check_origin(&latents, session, ui)?;
    check_size(&latents, config, session)?;
    let z = unscale(&latents, config, args.unscaled)?;
    let size = latents.provenance.original_size.filter(|_| args.original_size);
    if args.original_size && size.is_none() {
        bail!("the file does not say the original size");
    }
    for (i, target) in targets.iter().enumerate() {
        let mut record = Record {
            input: job.input.name(),
            output: target.written(),
            shape: Some(vec![1, z.dim(1)?, z.dim(2)?, z.dim(3)?]),
            stages: std::mem::take(&mut stages), // reading is counted in the first picture of a batch
            ..Record::default()
        };
        if target.is_done() {
            record.skipped = true;
        } else {
            let mut trace = Trace::new(args.trace, ui);
            trace.tensor("latents", &latents.tensor.narrow(0, i, 1)?)?;
            let z = z.narrow(0, i, 1)?;
            let mut picture = decode_latents(&z, session, &mut record.stages, &mut trace)?;
            record.trace = trace.into_rows();
            if let Some((width, height)) = size {
                picture = picture.resize(width, height);
            }
            if *target != Target::Nowhere {
                timed(&mut record.stages.write_ms, || target.write(&picture.to_file_bytes(format)?))?;
            }
            screen.show(&picture.to_rgb8(), (picture.width(), picture.height()), ui);
        }
        ui.report(&record)?;
    }
    Ok(())
}

/// Unscaled latents `[1, 4, h/8, w/8]` → picture.
pub fn decode_latents(
    latents: &Tensor,
    session: &Session,
    stages: &mut Stages,
    trace: &mut Trace,
) -> Result<Picture> {
    session.decode(stages, |decoder| {
        trace.restart();
        let z = decoder.z(latents)?;
        trace.tensor("z", &z)?;
        let decoded = decoder.dec(&z, trace)?;
        trace.tensor("dec", &decoded)?;
        Ok(Picture::from_tensor(&decoded)?)
    })
}

/// Refuses latents of another model's shape, and pictures that would not fit.
fn check_size(latents: &Latents, config: &Config, session: &Session) -> Result<()> {
    let (_, channels, height, width) = latents.tensor.dims4()?;
    if channels != config.latent_channels {
        bail!("it has {channels} channels, and this model decodes {}", config.latent_channels);
    }
    let pixels = height as u64 * width as u64 * (config.downscale() as u64).pow(2);
    if pixels > MAX_PIXELS {
        bail!("its pictures have {pixels} pixels, more than the {MAX_PIXELS} that are made");
    }
    session.check_memory(Work::Decode, pixels)
}

/// The latents as the VAE sampled them. The file's own word goes first, then `--unscaled`, then the model's factor.
fn unscale(latents: &Latents, config: &Config, unscaled: bool) -> Result<Tensor> {
    Ok(match latents.provenance.scaling {
        Some(scaling) if scaling.scaled => model::unscale(&latents.tensor, scaling.factor, scaling.shift)?,
        Some(_) => latents.tensor.clone(),
        None if unscaled => latents.tensor.clone(),
        None => config.unscale(&latents.tensor)?,
    })
}

/// Says when latents are decoded by another model than made them.
fn check_origin(latents: &Latents, session: &Session, ui: &Ui) -> Result<()> {
    let Provenance { model: Some(model), model_sha256: Some(digest), .. } = &latents.provenance else {
        return Ok(());
    };
    let checkpoint = session.checkpoint()?;
    if digest != checkpoint.weights().sha256() {
        let here = &checkpoint.origin().model;
        ui.note(&format!(
            "warning: these latents were made by other weights ({model}, SHA-256 {digest}) than those of {here} \
             that decode them; if the picture is wrong, name the right ones with --model"
        ));
    }
    Ok(())
}

/// One target for each picture of a batch: `out.png` for one, else `out-0.png`, `out-1.png` and so on, with zeros
/// in front where there are ten or more.
fn targets(target: &Target, count: usize) -> Result<Vec<Target>> {
    let numbered = |path: &Path| -> Vec<PathBuf> {
        let digits = (count - 1).to_string().len();
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let extension = path.extension().unwrap_or_default().to_string_lossy();
        (0..count).map(|i| path.with_file_name(format!("{stem}-{i:0digits$}.{extension}"))).collect()
    };
    Ok(match target {
        _ if count == 1 => vec![target.clone()],
        Target::Stdout => {
            bail!("it is a batch of {count}, and stdout takes one picture: name a file with -o")
        }
        Target::Named(path) => numbered(path).into_iter().map(Target::Named).collect(),
        Target::Kept(path) => numbered(path).into_iter().map(Target::Kept).collect(),
        Target::Nowhere => vec![Target::Nowhere; count],
        Target::Fresh(path) => numbered(path).iter().map(|p| Target::Fresh(jobs::free_name(p))).collect(),
    })
}

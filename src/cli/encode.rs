//! `vae encode`: pictures into latents.

use anyhow::{Result, bail};
use candle_core::{Device, Tensor};

use vae::checkpoint::Source;
use vae::checkpoint::families::SD2;
use vae::checkpoint::safetensors::is_safetensors;
use vae::latents::{Draw, Latents};
use vae::model::Scaling;
use vae::noise::Generator;
use vae::picture::{Format, Picture};

use super::args::{EncodeArgs, Encoding};
use super::failure::Failure;
use super::input::InputBytes;
use super::jobs::{self, Job, Naming, Turn};
use super::memory::{Size, Work};
use super::pictures;
use super::recipe::Recipe;
use super::record::{Record, Stages, timed};
use super::resume::{Decision, Resume};
use super::scaling;
use super::session::Session;
use super::trace::Trace;
use super::ui::Ui;
use super::unused;

const NAMING: Naming = Naming { alone: None, suffix: ".safetensors", pictures: |_| 1 };

pub fn run(args: &EncodeArgs, ui: &Ui) -> Result<(), Failure> {
    let jobs = jobs::plan(&args.inputs, &args.output, &NAMING, ui)?;
    if let Some(path) = args.output.output.as_deref().filter(|p| Format::from_path(p, 100).is_ok()) {
        let name = path.display();
        return Err(Failure::Usage(format!("latents are safetensors, but {name} names a picture")));
    }
    let ui = &ui.with_bar(jobs.len());
    unused::check_seed(&args.encoding, false, ui);
    let session = Session::new(&args.model, Source::Named(&SD2), ui)?;
    jobs::run(&jobs, ui, |job, turn| ui.report(&encode(args, job, turn, &session, ui)?))
}

fn encode(args: &EncodeArgs, job: &Job, turn: Turn, session: &Session, ui: &Ui) -> Result<Record> {
    let mut record = Record { input: job.input.name(), output: job.destination.name(), ..Record::default() };
    let recipe = Recipe::of_encode(args, session);
    let mut bytes = InputBytes::of_picture(&job.input);
    let resume = Resume { session, keep_existing: args.output.keep_existing };
    let plan = |bytes: &mut InputBytes| resume.decide(&job.destination, &recipe, bytes);
    let (decision, _claim) = turn.plan(job, &mut bytes, plan, Decision::is_keep)?;
    if let Decision::Keep { checked, .. } = decision {
        return Ok(Record { skipped: true, checked, ..record });
    }
    let stages = &mut record.stages;
    let (picture, original_size) = preprocess(&mut bytes, &args.encoding, session, ui, stages)?;
    let (mut generator, mut trace) = (Generator::new(args.encoding.seed()), Trace::new(args.trace, ui));
    let config = timed(&mut stages.load_ms, || session.config())?;
    let scaling = match args.unscaled == config.latents_are_scaled() {
        true => Some(session.scaling()?),
        false => None, // the network encodes into what is wanted
    };
    let tensor =
        encode_picture(&picture, &args.encoding, scaling, &mut generator, session, stages, &mut trace)?;
    let scaling = config.scaling.as_ref().filter(|_| !args.unscaled);
    record.warnings.extend(scaling::check_encoded(&tensor, &picture, scaling, session)?);
    record.trace = trace.into_rows();
    record.shape = Some(tensor.dims().to_vec());

    let mut provenance = session.provenance(!args.unscaled)?;
    let mean = args.encoding.mean || session.config()?.draws_mean();
    provenance.draw = Some(if mean { Draw::Mean } else { Draw::Sample { seed: args.encoding.seed() } });
    provenance.precision = stages.encode.dtype.map(str::to_string);
    provenance.original_size = Some(original_size);
    provenance.encoded_size = Some((picture.width(), picture.height()));
    provenance.other = recipe.complete(session, &mut bytes)?;
    let written = timed(&mut stages.write_ms, || {
        let file = Latents::new(tensor, provenance)?.to_safetensors(args.save_dtype.dtype())?;
        bytes.check_unchanged()?;
        resume.write(&job.destination, &recipe, &mut bytes, &file)
    })?;
    match written {
        Decision::Make { because, .. } => record.remade = because,
        Decision::Keep { checked, .. } => (record.skipped, record.checked) = (true, checked),
    }
    Ok(record)
}

/// Reads a picture, and prepares it for the model: its sides are rounded down to the multiple. Also returns its original size.
///
/// The header of the file says how much memory all of this needs, so that a picture that is too large is refused before
/// its pixels are decoded. This opens the model.
pub fn preprocess(
    input: &mut InputBytes,
    encoding: &Encoding,
    session: &Session,
    ui: &Ui,
    stages: &mut Stages,
) -> Result<(Picture, Size)> {
    let multiple = encoding.multiple.get();
    let bytes = timed(&mut stages.preprocess_ms, || input.take())?;
    if bytes.is_empty() {
        bail!("the file is empty");
    }
    if is_safetensors(&bytes) {
        bail!("this is a safetensors file, not a picture: `vae decode` decodes latents");
    }
    let original = Picture::size_of(&bytes)?;
    Picture::preprocessed_size(original, multiple)?;
    let step = timed(&mut stages.load_ms, || session.config())?.multiple();
    if !multiple.is_multiple_of(step) {
        let message = format!("--multiple must be a multiple of {step} for this model");
        return Err(Failure::Usage(message).into());
    }
    session.check_memory(Work::Encode { file: bytes.len(), original, multiple })?;
    timed(&mut stages.preprocess_ms, || {
        let picture = pictures::read(&bytes, encoding, ui)?;
        Ok((picture.preprocess(multiple)?, original))
    })
}

/// Encodes a preprocessed picture. Returns latents `[1, 4, h/8, w/8]` in f32 on the CPU. With `scaling`, they are scaled; or
/// unscaled, if the network itself encodes into scaled ones. Without, they are as the network encodes them.
pub fn encode_picture(
    picture: &Picture,
    encoding: &Encoding,
    scaling: Option<&Scaling>,
    generator: &mut Generator,
    session: &Session,
    stages: &mut Stages,
    trace: &mut Trace,
) -> Result<Tensor> {
    let config = session.config()?;
    session.encode((picture.width(), picture.height()), stages, |encoder| {
        trace.restart();
        let x = picture.to_tensor(&Device::Cpu)?;
        trace.tensor("image tensor", &x)?;
        let h = encoder.h(&x, trace)?;
        trace.tensor("h", &h)?;
        let moments = encoder.moments(&h)?;
        trace.tensor("moments", &moments)?;
        let posterior = encoder.posterior(&moments)?;
        let z = if encoding.mean || config.draws_mean() {
            posterior.mean().clone()
        } else {
            posterior.sample(&generator.randn_tensor(posterior.mean().dims(), &Device::Cpu)?)?
        };
        let latents = match scaling {
            None => z,
            Some(scaling) if config.latents_are_scaled() => scaling.unscale(&z)?,
            Some(scaling) => scaling.scale(&z)?,
        };
        trace.tensor("latents", &latents)?;
        Ok(latents)
    })
}

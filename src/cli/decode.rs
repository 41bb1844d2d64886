//! `vae decode`: latents into pictures.

use std::path::Path;

use anyhow::{Result, bail};
use candle_core::Tensor;

use vae::checkpoint::families::SD2;
use vae::checkpoint::{Source, built_in};
use vae::latents::{Header, Latents, Provenance};
use vae::picture::{MAX_PIXELS, Picture};

use super::args::DecodeArgs;
use super::failure::Failure;
use super::input::InputBytes;
use super::jobs::{self, Job, Naming, Turn};
use super::memory::{Size, Work};
use super::output::Destination;
use super::preview;
use super::recipe::{Recipe, to_json};
use super::record::{Record, Stages, timed};
use super::resume::{Decision, Resume};
use super::scaling;
use super::session::Session;
use super::show::Screen;
use super::trace::Trace;
use super::ui::Ui;
use super::unused;

const NAMING: Naming = Naming { alone: None, suffix: ".png", pictures: batch_size };

pub fn run(args: &DecodeArgs, ui: &Ui) -> Result<(), Failure> {
    let mut jobs = jobs::plan(&args.inputs, &args.output, &NAMING, ui)?;
    let screen = Screen::open(&args.show, jobs.iter().map(|job| &job.destination), ui);
    screen.replace_unnamed(jobs.iter_mut().map(|job| &mut job.destination));
    for job in &jobs {
        job.destination.picture_format(args.quality.value())?;
    }
    let ui = &ui.with_bar(jobs.len());
    unused::check_quality(&args.quality, jobs.iter().map(|job| &job.destination), ui);
    let default = if args.preview { preview::model(&jobs)? } else { &SD2 };
    let session = &Session::new(&args.model, Source::Named(default), ui)?;
    let run = Run { args, screen, session, ui };
    jobs::run(&jobs, ui, |job, turn| run.decode(job, turn))
}

/// Returns the number of pictures in a file of latents, from its header; 1 if that cannot be read.
fn batch_size(path: &Path) -> usize {
    let header = path.is_file().then(|| Header::open(path).ok()).flatten();
    let header = header.filter(Header::is_complete); // others are not decoded
    header.and_then(|header| header.shape().ok()).map_or(1, |[n, ..]| n)
}

/// What all inputs of a run share.
struct Run<'a> {
    args: &'a DecodeArgs,
    screen: Screen,
    session: &'a Session<'a>,
    ui: &'a Ui,
}

impl Run<'_> {
    /// Decodes one file. The pictures of a batch are decoded one by one, which needs the memory of one.
    fn decode(&self, job: &Job, turn: Turn) -> Result<()> {
        let &Self { args, session, ui, .. } = self;
        let mut bytes = InputBytes::of_latents(&job.input);
        let header = bytes.latents_header()?;
        let (shape, provenance) = (header.shape()?, header.provenance()?.unwrap_or_default());
        let plan = |bytes: &mut InputBytes| self.plan(job, shape, bytes);
        let (results, _claim) = turn.plan(job, &mut bytes, plan, |results| {
            results.iter().all(|result: &PlannedResult| result.keeps)
        })?;
        if let Some(kept) = results.iter().map(PlannedResult::kept).collect::<Option<Vec<_>>>() {
            return kept.into_iter().try_for_each(|record| ui.report(record)); // without reading the values
        }
        let mut stages = Stages::default();
        if args.model.model.is_none() && !args.preview && provenance.model.as_deref() == Some(built_in::NAME)
        {
            bail!("these latents are from the built-in model: add --model {}", built_in::NAME);
        }
        let config = timed(&mut stages.load_ms, || session.config())?;
        let size = provenance.original_size.filter(|_| args.original_size);
        if scaling::needs_that_of_model(&provenance, config, args) {
            session.scaling()?;
        }
        let decoded = scaling::picture_size(shape, &provenance, config, args)?;
        check_size(decoded, size)?;
        if args.original_size && size.is_none() {
            bail!("no original_size in its metadata: omit --original-size");
        }
        let (width, height) = size.unwrap_or(decoded);
        job.destination.picture_format(args.quality.value())?.check_size(width, height)?;
        let latents = timed(&mut stages.preprocess_ms, || bytes.take_latents())?;
        if latents.tensor.dims() != shape {
            bail!("the file changed while it was being processed: run the command again");
        }
        session.check_memory(Work::Decode { size: decoded, resized: size })?;
        let mut warnings = Vec::new();
        warnings.extend(check_origin(&latents, session)?);
        warnings.extend(scaling::check(&latents, config, args)?);
        let z = scaling::for_network(&latents, config, args)?;
        for (i, PlannedResult { destination, keeps, mut record }) in results.into_iter().enumerate() {
            // The first picture of a batch has the warnings and the time to read it.
            record.warnings = std::mem::take(&mut warnings);
            record.stages = std::mem::take(&mut stages);
            if !keeps {
                let mut trace = Trace::new(args.trace, ui);
                trace.tensor("latents", &latents.tensor.narrow(0, i, 1)?)?;
                let z = z.narrow(0, i, 1)?;
                let mut picture = decode_latents(&z, session, &mut record.stages, &mut trace)?;
                record.trace = trace.into_rows();
                if let Some((width, height)) = size {
                    picture = picture.resize(width, height);
                }
                if destination != Destination::Nowhere {
                    let recipe = self.recipe(&destination, i, shape)?;
                    let description = to_json(&recipe.complete(session, &mut bytes)?);
                    let format = destination.picture_format(args.quality.value())?;
                    bytes.check_unchanged()?;
                    let written = timed(&mut record.stages.write_ms, || {
                        let file = picture.to_file_bytes_with(format, &description)?;
                        self.resume().write(&destination, &recipe, &mut bytes, &file)
                    })?;
                    match written {
                        Decision::Make { because, .. } => record.remade = because,
                        Decision::Keep { checked, .. } => (record.skipped, record.checked) = (true, checked),
                    }
                }
                self.screen.show(&picture.to_rgb8(), (picture.width(), picture.height()), ui);
            }
            ui.report(&record)?;
        }
        Ok(())
    }

    fn resume(&self) -> Resume<'_> {
        Resume { session: self.session, keep_existing: self.args.output.keep_existing }
    }

    /// The recipe of the picture number `item` of latents of this shape.
    fn recipe(&self, destination: &Destination, item: usize, [count, ..]: [usize; 4]) -> Result<Recipe> {
        let mut recipe = Recipe::of_decode(self.args, self.session);
        recipe.set_format(destination.picture_format(self.args.quality.value())?);
        if count > 1 {
            recipe.set("item", item);
        }
        Ok(recipe)
    }

    /// Decides what happens to each picture of a file with latents of this shape.
    fn plan(&self, job: &Job, shape: [usize; 4], bytes: &mut InputBytes) -> Result<Vec<PlannedResult>> {
        let [count, channels, height, width] = shape;
        let mut results = Vec::new();
        for (i, destination) in job.destination.numbered(count)?.into_iter().enumerate() {
            let recipe = self.recipe(&destination, i, shape)?;
            let mut record = Record {
                input: job.input.name(),
                output: destination.name(),
                shape: Some(vec![1, channels, height, width]),
                ..Record::default()
            };
            if let Decision::Keep { checked, .. } = self.resume().decide(&destination, &recipe, bytes)? {
                (record.skipped, record.checked) = (true, checked);
            }
            let keeps = record.skipped;
            results.push(PlannedResult { destination, keeps, record });
        }
        Ok(results)
    }
}

/// One picture of a file of latents.
struct PlannedResult {
    destination: Destination,
    /// Whether the picture of an earlier run is kept.
    keeps: bool,
    record: Record,
}

impl PlannedResult {
    /// Returns the record of a picture that is kept.
    fn kept(&self) -> Option<&Record> {
        self.keeps.then_some(&self.record)
    }
}

/// Decodes unscaled latents `[1, 4, h/8, w/8]`.
pub fn decode_latents(
    latents: &Tensor,
    session: &Session,
    stages: &mut Stages,
    trace: &mut Trace,
) -> Result<Picture> {
    let (_, _, height, width) = latents.dims4()?;
    let step = session.config()?.downscale();
    session.decode((width * step, height * step), stages, |decoder| {
        trace.restart();
        let z = decoder.z(latents)?;
        trace.tensor("z", &z)?;
        let decoded = decoder.dec(&z, trace)?;
        trace.tensor("dec", &decoded)?;
        Ok(Picture::from_tensor(&decoded)?)
    })
}

/// Checks that decoded pictures are not too large, also after they are resized.
fn check_size(size: Size, resized: Option<Size>) -> Result<()> {
    let pixels = size.0 as u64 * size.1 as u64;
    if pixels > MAX_PIXELS {
        bail!("the decoded picture would have {pixels} pixels; the limit is {MAX_PIXELS}");
    }
    if let Some(resized) = resized {
        check_original_size(resized, size)?;
    }
    Ok(())
}

/// The most by which `--original-size` enlarges a side. `vae encode` less than halves sides; the metadata of a stranger's
/// file must not make a picture that needs much more memory than decoding it.
const MAX_ENLARGEMENT: usize = 8;

/// Checks the size that the metadata of a file asks for.
fn check_original_size((width, height): Size, decoded: Size) -> Result<()> {
    if width > MAX_ENLARGEMENT * decoded.0 || height > MAX_ENLARGEMENT * decoded.1 {
        bail!(
            "original_size is {width}x{height}, more than {MAX_ENLARGEMENT} times the decoded {}x{}: omit \
             --original-size",
            decoded.0,
            decoded.1
        );
    }
    Ok(())
}

/// Returns a warning if the latents were encoded by another model than the one that decodes them, or, for the TAESD family, by one
/// of another family.
fn check_origin(latents: &Latents, session: &Session) -> Result<Option<String>> {
    let Provenance { model: Some(model), model_sha256: Some(digest), model_revision, .. } =
        &latents.provenance
    else {
        return Ok(None);
    };
    let checkpoint = session.checkpoint()?;
    let here = checkpoint.origin();
    if checkpoint.config().latents_are_scaled() {
        return Ok(scaling::check_family(latents, checkpoint.config(), &here.model));
    }
    // A commit has the same weights in two number formats, with two digests.
    let is_same_commit = *model == here.model && model_revision.is_some() && *model_revision == here.revision;
    if is_same_commit || checkpoint.has_weights(digest)? {
        return Ok(None);
    }
    Ok(Some(format!(
        "these latents were encoded with other weights ({model}, SHA-256 {digest}) than those of {}, \
         which decode them; if the picture looks wrong, name the right model with --model",
        here.model
    )))
}

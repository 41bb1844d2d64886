//! `vae roundtrip`: a picture into latents and back, with measures of the difference.

use anyhow::Result;
use candle_core::Tensor;

use vae::checkpoint::Source;
use vae::checkpoint::families::SD2;
use vae::figure::{Roundtrip, Sweep};
use vae::metrics::{difference, psnr, ssim};
use vae::model::Scaling;
use vae::noise::{Generator, add_uniform_noise};
use vae::picture::{Format, Picture};

use super::args::RoundtripArgs;
use super::collisions::is_same_output;
use super::decode::decode_latents;
use super::encode::{encode_picture, preprocess};
use super::failure::Failure;
use super::input::InputBytes;
use super::jobs::{self, AlreadyReported, Job, Naming, Turn};
use super::levels::Levels;
use super::memory::Work;
use super::output::Destination;
use super::recipe::{Recipe, Stored, to_json};
use super::record::{Record, Stages, SweepEntry, finite, timed};
use super::resume::{Decision, Resume};
use super::scaling;
use super::session::Session;
use super::show::Screen;
use super::trace::Trace;
use super::ui::Ui;
use super::unused;

const NAMING: Naming = Naming { alone: Some("roundtrip.png"), suffix: "-roundtrip.png", pictures: |_| 1 };

pub fn run(args: &RoundtripArgs, ui: &Ui) -> Result<(), Failure> {
    let mut jobs = jobs::plan(&args.inputs, &args.output, &NAMING, ui)?;
    let figure = plan_figure(args, &mut jobs, ui)?;
    for destination in jobs.iter().map(|job| &job.destination).chain([&figure]) {
        destination.picture_format(args.quality.value())?;
    }
    let screen = Screen::open(&args.show, jobs.iter().map(|job| &job.destination).chain([&figure]), ui);
    screen.replace_unnamed(jobs.iter_mut().map(|job| &mut job.destination));
    let ui = &ui.with_bar(jobs.len());
    let is_sweep = matches!(args.noise, Some(Levels::Sweep(_)));
    unused::check_quality(&args.quality, jobs.iter().map(|job| &job.destination).chain([&figure]), ui);
    unused::check_theme(args.theme.is_some(), is_sweep || figure != Destination::Nowhere, ui);
    unused::check_seed(&args.encoding, args.noise.is_some(), ui);
    let default = if args.inputs.is_empty() { Source::Tiny } else { Source::Named(&SD2) };
    let session = Session::new(&args.model, default, ui)?;
    if args.inputs.is_empty() && args.model.model.is_none() {
        ui.note("note: using the sample picture and the small built-in model; --model sd2 selects Stable Diffusion's");
    }
    let run = Run { args, figure, screen, session: &session, ui };
    jobs::run(&jobs, ui, |job, turn| {
        let record = run.roundtrip(job, turn)?;
        ui.report(&record)?;
        if record.error.is_some() { Err(AlreadyReported.into()) } else { Ok(()) }
    })
}

/// Returns the destination of `--figure`. A sweep has its figure as its output. In all other cases, the decoded picture
/// is written beside a figure only if it is named with -o.
fn plan_figure(args: &RoundtripArgs, jobs: &mut [Job], ui: &Ui) -> Result<Destination, Failure> {
    let (Some(path), [job]) = (&args.figure, jobs) else { return Ok(Destination::Nowhere) };
    let figure = jobs::named_destination(path, std::slice::from_ref(&job.input), ui)?;
    let named = args.output.output.is_some();
    let same = match (figure.path(), job.destination.path()) {
        (Some(figure), Some(output)) => is_same_output(figure, output),
        _ => figure == job.destination, // both are stdout
    };
    if named && (same || matches!(args.noise, Some(Levels::Sweep(_)))) {
        return Err(Failure::Usage("-o and --figure both name the output: omit one of them".into()));
    }
    match &args.noise {
        Some(Levels::Sweep(_)) => {
            job.destination = figure;
            return Ok(Destination::Nowhere);
        }
        _ if !named => job.destination = Destination::Nowhere,
        _ => {}
    }
    Ok(figure)
}

/// What all inputs of a run share.
struct Run<'a> {
    args: &'a RoundtripArgs,
    figure: Destination,
    screen: Screen,
    session: &'a Session<'a>,
    ui: &'a Ui,
}

/// A preprocessed picture, its latents, and the random generator, which continues with the noise.
struct Encoded {
    picture: Picture,
    latents: Tensor,
    generator: Generator,
}

/// What is made of one input.
struct Task<'a> {
    bytes: InputBytes<'a>,
    destination: Destination,
    recipe: Recipe,
}

impl Run<'_> {
    fn roundtrip(&self, job: &Job, turn: Turn) -> Result<Record> {
        let record = Record { input: job.input.name(), output: job.destination.name(), ..Record::default() };
        let mut bytes = InputBytes::of_picture(&job.input);
        let mut recipe = Recipe::of_roundtrip(self.args, self.session);
        recipe.set_format(job.destination.picture_format(self.args.quality.value())?);
        let plan = |bytes: &mut InputBytes| self.resume().decide(&job.destination, &recipe, bytes);
        let (decision, _claim) = turn.plan(job, &mut bytes, plan, Decision::is_keep)?;
        if let Decision::Keep { stored, checked } = decision {
            return Ok(self.kept(&stored, checked, record));
        }
        let task = Task { bytes, destination: job.destination.clone(), recipe };
        match &self.args.noise {
            None => self.once(task, None, record),
            Some(Levels::One(level)) => self.once(task, Some(*level), record),
            Some(Levels::Sweep(levels)) => self.sweep(task, levels, record),
        }
    }

    fn resume(&self) -> Resume<'_> {
        Resume { session: self.session, keep_existing: self.args.output.keep_existing }
    }

    /// Returns the record of a result that is kept. Its PSNR is taken from what it states, and compared with `--min-psnr` again.
    fn kept(&self, stored: &Stored, checked: bool, record: Record) -> Record {
        let Record { input, output, stages, .. } = record;
        let mut record = Record { input, output, stages, skipped: true, checked, ..Record::default() };
        self.recall(stored, &mut record);
        record
    }

    fn recall(&self, stored: &Stored, record: &mut Record) {
        let min_psnr = self.args.min_psnr;
        let psnr: Vec<f64> =
            stored.get("psnr").map_or("", String::as_str).split(',').flat_map(str::parse).collect();
        match &self.args.noise {
            Some(Levels::Sweep(levels)) if levels.len() == psnr.len() => {
                record.sweep =
                    levels.iter().zip(&psnr).map(|(&noise, &db)| SweepEntry::new(noise, db)).collect();
            }
            Some(Levels::One(_)) | None if psnr.len() == 1 => record.psnr = finite(psnr[0]),
            _ if min_psnr.is_some() => {
                record.error = Some(
                    "its PSNR is unknown, because the existing output does not state it: \
                     add --overwrite to make it again"
                        .into(),
                );
                return;
            }
            _ => return,
        }
        record.error = psnr.into_iter().find_map(|db| too_low(db, min_psnr));
    }

    /// Decodes once, with or without noise.
    fn once(&self, mut task: Task, noise: Option<f64>, mut record: Record) -> Result<Record> {
        let mut trace = Trace::new(self.args.trace, self.ui);
        let encoded = self.encode(&mut task, &mut record, &mut trace)?;
        let (latents, decoded) = self.decode(&encoded, noise, &mut record.stages, &mut trace)?;
        record.trace = trace.into_rows();
        record.shape = Some(latents.dims().to_vec());
        let psnr = compare(&encoded.picture, &decoded, self.args.min_psnr, &mut record);
        if task.destination != Destination::Nowhere {
            let description = self.describe(&mut task, psnr.to_string())?;
            record =
                self.write(task, record, |format| Ok(decoded.to_file_bytes_with(format, &description)?))?;
        }
        if self.figure != Destination::Nowhere {
            let name = &record.input;
            let original = &encoded.picture;
            let figure = Roundtrip { name, original, decoded: &decoded, latents: &latents, noise };
            let canvas = figure.draw(self.args.theme.unwrap_or_default().theme())?;
            let format = self.figure.picture_format(self.args.quality.value())?;
            timed(&mut record.stages.write_ms, || self.figure.write(&canvas.to_file_bytes(format)?))?;
            self.screen.show(canvas.rgb8(), (canvas.width(), canvas.height()), self.ui);
            record.figure = self.figure.name();
        } else {
            self.screen.show(&decoded.to_rgb8(), (decoded.width(), decoded.height()), self.ui);
        }
        Ok(record)
    }

    /// Decodes once per noise level, and draws one figure. All levels start from the same state of the generator, so that
    /// each is equal to a run with this level alone.
    fn sweep(&self, mut task: Task, levels: &[f64], mut record: Record) -> Result<Record> {
        let mut trace = Trace::new(self.args.trace, self.ui);
        let encoded = self.encode(&mut task, &mut record, &mut trace)?;
        let mut figure = Sweep::new(&record.input, &encoded.picture, levels.len())?;
        let mut all = Vec::with_capacity(levels.len());
        for &noise in levels {
            let (_, decoded) = self.decode(&encoded, Some(noise), &mut record.stages, &mut trace)?;
            let psnr = figure.add(noise, &decoded);
            record.error = record.error.or_else(|| too_low(psnr, self.args.min_psnr));
            record.sweep.push(SweepEntry::new(noise, psnr));
            all.push(psnr.to_string());
        }
        record.trace = trace.into_rows();
        record.shape = Some(encoded.latents.dims().to_vec());
        let canvas = figure.draw(self.args.theme.unwrap_or_default().theme())?;
        if task.destination != Destination::Nowhere {
            let description = self.describe(&mut task, all.join(","))?;
            record =
                self.write(task, record, |format| Ok(canvas.to_file_bytes_with(format, &description)?))?;
        }
        self.screen.show(canvas.rgb8(), (canvas.width(), canvas.height()), self.ui);
        Ok(record)
    }

    /// Returns the description of the result, and checks that the input is still the same.
    fn describe(&self, task: &mut Task, psnr: String) -> Result<String> {
        let mut recipe = task.recipe.complete(self.session, &mut task.bytes)?;
        recipe.insert("psnr".into(), psnr);
        task.bytes.check_unchanged()?;
        Ok(to_json(&recipe))
    }

    /// Writes the file of a result. Returns its record: that of another process's result, if that has appeared meanwhile.
    fn write(
        &self,
        mut task: Task,
        mut record: Record,
        file: impl FnOnce(Format) -> Result<Vec<u8>>,
    ) -> Result<Record> {
        let format = task.destination.picture_format(self.args.quality.value())?;
        let written = timed(&mut record.stages.write_ms, || {
            self.resume().write(&task.destination, &task.recipe, &mut task.bytes, &file(format)?)
        })?;
        Ok(match written {
            Decision::Make { because, .. } => Record { remade: because, ..record },
            Decision::Keep { stored, checked } => self.kept(&stored, checked, record),
        })
    }

    fn encode(&self, task: &mut Task, record: &mut Record, trace: &mut Trace) -> Result<Encoded> {
        let (encoding, stages) = (&self.args.encoding, &mut record.stages);
        let (picture, _) = preprocess(&mut task.bytes, encoding, self.session, self.ui, stages)?;
        if !matches!(self.args.noise, Some(Levels::Sweep(_))) {
            let format = task.destination.picture_format(self.args.quality.value())?;
            format.check_size(picture.width(), picture.height())?;
        }
        let mut generator = Generator::new(encoding.seed());
        let scaling = self.scaling()?;
        let latents =
            encode_picture(&picture, encoding, scaling, &mut generator, self.session, stages, trace)?;
        record.warnings.extend(scaling::check_encoded(
            &latents,
            &picture,
            self.session.config()?.scaling.as_ref(),
            self.session,
        )?);
        Ok(Encoded { picture, latents, generator })
    }

    /// Returns how the network's latents are scaled: not at all if they are scaled already. Without noise, the scaling cancels out,
    /// so that it need not be known.
    fn scaling(&self) -> Result<Option<&Scaling>, Failure> {
        let config = self.session.config()?;
        match &self.args.noise {
            _ if config.latents_are_scaled() => Ok(None),
            Some(_) => self.session.scaling().map(Some),
            None => Ok(config.scaling.as_ref()),
        }
    }

    /// Adds the noise, and decodes. Returns the latents with noise, and the picture.
    fn decode(
        &self,
        encoded: &Encoded,
        noise: Option<f64>,
        stages: &mut Stages,
        trace: &mut Trace,
    ) -> Result<(Tensor, Picture)> {
        let Encoded { picture, latents, generator } = encoded;
        let latents = match noise {
            Some(level) => {
                let noised = add_uniform_noise(latents, level, &mut generator.clone())?;
                trace.tensor("noised latents", &noised)?;
                noised
            }
            None => latents.clone(),
        };
        let size = (picture.width(), picture.height());
        self.session.check_memory(Work::Decode { size, resized: None })?;
        let z = self.scaling()?.map_or_else(|| Ok(latents.clone()), |scaling| scaling.unscale(&latents))?;
        let decoded = decode_latents(&z, self.session, stages, trace)?;
        Ok((latents, decoded))
    }
}

/// Measures the difference from the original, and compares it with `--min-psnr`. Returns the PSNR, which is infinite if
/// the pictures are equal.
fn compare(picture: &Picture, decoded: &Picture, min_psnr: Option<f64>, record: &mut Record) -> f64 {
    let (db, difference) = (psnr(picture, decoded), difference(picture, decoded));
    record.psnr = finite(db);
    record.ssim = ssim(picture, decoded);
    record.max_difference = Some(difference.max);
    record.mean_difference = Some(difference.mean);
    record.error = too_low(db, min_psnr);
    db
}

fn too_low(db: f64, min_psnr: Option<f64>) -> Option<String> {
    let least = min_psnr.filter(|&least| db < least)?;
    Some(format!("the PSNR of {db:.2} dB is {:.2} dB below --min-psnr {least}", least - db))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_pictures_pass_every_min_psnr() {
        let picture = Picture::from_rgb8(16, 12, &[77; 16 * 12 * 3]);
        let mut record = Record::default();
        compare(&picture, &picture, Some(1e300), &mut record);
        assert_eq!((record.error, record.psnr, record.ssim), (None, None, Some(1.0)));
    }
}

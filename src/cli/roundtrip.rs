//! `vae roundtrip`: a picture into latents and back, and how well it survives.

use anyhow::Result;

use vae::checkpoint::Source;
use vae::metrics::psnr;
use vae::noise::{Generator, add_uniform_noise};
use vae::picture::Format;

use super::args::RoundtripArgs;
use super::decode::{decode_latents, format_of};
use super::encode::{encode_picture, preprocess};
use super::failure::Failure;
use super::jobs::{self, Job, Naming};
use super::memory::{self, Work};
use super::report::{Record, Ui, timed};
use super::session::Session;

const NAMING: Naming =
    Naming { alone: |_| "roundtrip.png".into(), in_folder: |stem| format!("{stem}-roundtrip.png") };

pub fn run(args: &RoundtripArgs, ui: &Ui) -> Result<(), Failure> {
    let jobs = jobs::plan(&args.inputs, &args.output, &NAMING, ui)?;
    for job in &jobs {
        format_of(&job.target, args.quality.quality)?;
    }
    let ui = &ui.with_bar(jobs.len());
    let default = if args.inputs.is_empty() { Source::Tiny } else { Source::Sd2 };
    let session = Session::new(&args.model, default, ui)?;
    if args.inputs.is_empty() && args.model.model.is_none() {
        ui.note("the sample picture, through the small model that is built in; --model sd2 takes Stable Diffusion's");
    }
    jobs::run(&jobs, ui, |job| {
        let format = format_of(&job.target, args.quality.quality)?;
        ui.report(&roundtrip(args, job, format, &session)?)
    })
}

fn roundtrip(args: &RoundtripArgs, job: &Job, format: Format, session: &Session) -> Result<Record> {
    let mut record = Record { input: job.input.name(), output: Some(job.target.name()), ..Record::default() };
    if job.target.is_done() {
        return Ok(Record { skipped: true, ..record });
    }
    let stages = &mut record.stages;
    let original = timed(&mut stages.preprocess_ms, || job.input.picture(args.encoding.background))?;
    let picture = preprocess(&original, &args.encoding, session, stages)?;
    let mut generator = Generator::new(args.encoding.seed);
    let mut latents = encode_picture(&picture, &args.encoding, &mut generator, session, stages)?;
    if let Some(level) = args.noise {
        latents = add_uniform_noise(&latents, level, &mut generator)?;
    }
    let config = session.config()?;
    memory::check(Work::Decode, config, (picture.width() * picture.height()) as u64)?;
    let z = config.unscale(&latents)?;
    let decoded = decode_latents(&z, session, stages)?;
    timed(&mut stages.write_ms, || job.target.write(&decoded.to_file_bytes(format)?))?;
    record.shape = Some(latents.dims().to_vec());
    record.psnr = Some(psnr(&picture, &decoded)).filter(|db| db.is_finite());
    Ok(record)
}

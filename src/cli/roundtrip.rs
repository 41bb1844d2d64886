//! `vae roundtrip`: a picture into latents and back, and how well it survives.

use anyhow::Result;

use vae::checkpoint::Source;
use vae::metrics::{difference, psnr, ssim};
use vae::noise::{Generator, add_uniform_noise};
use vae::picture::{Format, Picture};

use super::args::RoundtripArgs;
use super::decode::{decode_latents, format_of};
use super::encode::{encode_picture, preprocess};
use super::failure::Failure;
use super::jobs::{self, Job, Naming, Reported};
use super::memory::{self, Work};
use super::report::{Record, Ui, timed};
use super::session::Session;
use super::trace::Trace;

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
        let record = roundtrip(args, job, format, &session, ui)?;
        ui.report(&record)?;
        if record.error.is_some() { Err(Reported.into()) } else { Ok(()) }
    })
}

fn roundtrip(args: &RoundtripArgs, job: &Job, format: Format, session: &Session, ui: &Ui) -> Result<Record> {
    let mut record = Record { input: job.input.name(), output: Some(job.target.name()), ..Record::default() };
    if job.target.is_done() {
        return Ok(Record { skipped: true, ..record });
    }
    let stages = &mut record.stages;
    let original = timed(&mut stages.preprocess_ms, || job.input.picture(args.encoding.background))?;
    let picture = preprocess(&original, &args.encoding, session, stages)?;
    let (mut generator, mut trace) = (Generator::new(args.encoding.seed), Trace::new(args.trace, ui));
    let mut latents = encode_picture(&picture, &args.encoding, &mut generator, session, stages, &mut trace)?;
    if let Some(level) = args.noise {
        latents = add_uniform_noise(&latents, level, &mut generator)?;
        trace.tensor("noised latents", &latents)?;
    }
    let config = session.config()?;
    memory::check(Work::Decode, config, (picture.width() * picture.height()) as u64)?;
    let z = config.unscale(&latents)?;
    let decoded = decode_latents(&z, session, stages, &mut trace)?;
    record.trace = trace.into_rows();
    timed(&mut stages.write_ms, || job.target.write(&decoded.to_file_bytes(format)?))?;
    record.shape = Some(latents.dims().to_vec());
    compare(&picture, &decoded, args.min_psnr, &mut record);
    Ok(record)
}

/// How well the picture survived, and whether that is well enough. Equal pictures have no PSNR to be told.
fn compare(picture: &Picture, decoded: &Picture, min_psnr: Option<f64>, record: &mut Record) {
    let (db, difference) = (psnr(picture, decoded), difference(picture, decoded));
    record.psnr = Some(db).filter(|db| db.is_finite());
    record.ssim = ssim(picture, decoded);
    record.max_difference = Some(difference.max);
    record.mean_difference = Some(difference.mean);
    record.error = min_psnr
        .filter(|&least| db < least)
        .map(|least| format!("its PSNR of {db:.2} dB is {:.2} dB below --min-psnr {least}", least - db));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_pictures_pass_every_least_psnr() {
        let picture = Picture::from_rgb8(16, 12, &[77; 16 * 12 * 3]);
        let mut record = Record::default();
        compare(&picture, &picture, Some(1e300), &mut record);
        assert_eq!((record.error, record.psnr, record.ssim), (None, None, Some(1.0)));
    }
}

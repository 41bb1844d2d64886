//! `vae inspect`: describes a file or a model.
//!
//! | file | what it describes |
//! | --- | --- |
//! | `latents` | latents and other safetensors files |
//! | `model` | a checkpoint |
//! | `pickle` | PyTorch's own files: their tensors, and the functions that they name |
//! | `picture` | a picture |

mod latents;
mod model;
mod pickle;
mod picture;

use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;

use anyhow::{Result, bail};

use vae::checkpoint::pickle::Container;
use vae::checkpoint::safetensors::is_safetensors;
use vae::checkpoint::{CheckpointError, Contents, Weights};
use vae::latents::LatentsError;
use vae::picture::Format;

use super::args::InspectArgs;
use super::failure::Failure;
use super::input::{latents_of, read_latents};
use super::jobs::{self, Input, Job};
use super::output::Destination;
use super::read::Wanted;
use super::ui::Ui;

pub fn run(args: &InspectArgs, ui: &Ui) -> Result<(), Failure> {
    let path = match (&args.file, &args.model) {
        (Some(_), _) if args.scaling.first().is_some() => {
            let option = args.scaling.first().unwrap_or_default();
            return Err(Failure::Usage(format!("{option} is for a --model")));
        }
        (Some(path), _) => path,
        (None, Some(source)) => return model::inspect(source, args, ui),
        (None, None) => return Err(Failure::Usage("name a FILE or a --model".into())),
    };
    let input = Input::new(path);
    let destination = match &args.output {
        Some(path) => {
            Format::from_path(path, 100).map_err(Failure::Usage)?;
            jobs::named_destination(path, std::slice::from_ref(&input), ui)?
        }
        None => Destination::Stdout,
    };
    jobs::run(&[Job { input, destination }], ui, |job, _| inspect_file(args, job, ui))
}

fn inspect_file(args: &InspectArgs, job: &Job, ui: &Ui) -> Result<()> {
    if let Input::File(path) = &job.input
        && path.is_file()
    {
        // Only the lists of tensors are read, as such files may have many gigabytes.
        let start = first_bytes(path)?;
        if is_safetensors(&start) {
            return match Weights::open(path) {
                Ok(file) => latents::inspect(job, &file.contents(), || read_latents(path), ui),
                Err(CheckpointError::Weights { reason, .. }) => Err(LatentsError::Format(reason).into()),
                Err(other) => Err(other.into()),
            };
        }
        if let Some(container) = Container::of(&start) {
            return pickle::inspect(args, job, File::open(path)?, container, ui);
        }
    }
    let bytes = job.input.bytes(Wanted::Any)?;
    if is_safetensors(&bytes) {
        let contents = Contents::of_file(&bytes).map_err(LatentsError::Format)?;
        return latents::inspect(job, &contents, || latents_of(&bytes), ui);
    }
    if let Some(container) = Container::of(&bytes) {
        return pickle::inspect(args, job, Cursor::new(bytes), container, ui);
    }
    if args.output.is_some() {
        bail!("-o writes the plates of latents, but this is not a safetensors file");
    }
    picture::inspect(args, job, &bytes, ui)
}

/// Reads enough of a file for [`is_safetensors`] and [`Container::of`].
fn first_bytes(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(16).read_to_end(&mut bytes)?;
    Ok(bytes)
}

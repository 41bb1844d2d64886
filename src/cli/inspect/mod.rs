//! `vae inspect`: describes a file or a model.
//!
//! | file | what it describes |
//! | --- | --- |
//! | `latents` | latents and other safetensors files |
//! | `model` | a checkpoint |
//! | `picture` | a picture |

mod latents;
mod model;
mod picture;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Result, bail};

use vae::checkpoint::{CheckpointError, Contents, Weights};
use vae::latents::LatentsError;
use vae::picture::Format;

use super::args::InspectArgs;
use super::failure::Failure;
use super::jobs::{self, Input, Job};
use super::output::Destination;
use super::ui::Ui;

pub fn run(args: &InspectArgs, ui: &Ui) -> Result<(), Failure> {
    let path = match (&args.file, &args.model) {
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
        && is_safetensors(&first_bytes(path)?)
    {
        // Only the header of a file without latents is read, which may have many gigabytes.
        return match Weights::open(path) {
            Ok(file) => latents::inspect(job, &file.contents(), || job.input.bytes(), ui),
            Err(CheckpointError::Weights { reason, .. }) => Err(LatentsError::Format(reason).into()),
            Err(other) => Err(other.into()),
        };
    }
    let bytes = job.input.bytes()?;
    if is_safetensors(&bytes) {
        let contents = Contents::of_file(&bytes).map_err(LatentsError::Format)?;
        return latents::inspect(job, &contents, || Ok(bytes), ui);
    }
    if args.output.is_some() {
        bail!("-o writes the plates of latents, but this is not a safetensors file");
    }
    picture::inspect(args, job, &bytes, ui)
}

/// Reads enough of a file for [`is_safetensors`].
fn first_bytes(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(16).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Whether a file starts like safetensors: with the length of the header in eight bytes, then the header, which is JSON.
///
/// This must be checked before picture formats, because a length of 19778 reads `BM`, the start of a BMP file.
pub fn is_safetensors(bytes: &[u8]) -> bool {
    const MAX_HEADER: u64 = 100_000_000; // as the format defines
    let length = bytes.first_chunk().map(|length| u64::from_le_bytes(*length));
    length.is_some_and(|length| length <= MAX_HEADER) && bytes.get(8) == Some(&b'{')
}

//! `vae inspect`: what is this? One file for each kind of answer.
//!
//! | file | what |
//! | --- | --- |
//! | `latents` | latents, and safetensors files that are none |
//! | `model` | a checkpoint: its modules, and the pipeline around it |
//! | `picture` | a picture file |

mod latents;
mod model;
mod picture;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Result, bail};

use vae::checkpoint::{CheckpointError, Weights};
use vae::latents::LatentsError;
use vae::picture::Format;

use super::args::InspectArgs;
use super::failure::Failure;
use super::jobs::{self, Input, Job};
use super::output::Target;
use super::ui::Ui;

pub fn run(args: &InspectArgs, ui: &Ui) -> Result<(), Failure> {
    let path = match (&args.file, &args.model) {
        (Some(path), _) => path,
        (None, Some(source)) => return model::inspect(source, args.revision.as_deref(), ui),
        (None, None) => return Err(Failure::Usage("name a FILE, or a --model".into())),
    };
    let input = Input::new(path);
    let target = match &args.output {
        Some(path) => {
            Format::from_path(path, 100).map_err(Failure::Usage)?;
            jobs::named(path, std::slice::from_ref(&input), ui)?
        }
        None => Target::Stdout,
    };
    jobs::run(&[Job { input, target }], ui, |job| inspect_file(args, job, ui))
}

fn inspect_file(args: &InspectArgs, job: &Job, ui: &Ui) -> Result<()> {
    if let Input::File(path) = &job.input
        && path.is_file()
        && is_safetensors(&start_of(path)?)
    {
        // It may have gigabytes, of which little is looked at.
        return match Weights::map(path) {
            Ok(file) => latents::inspect(job, file.bytes(), ui),
            Err(CheckpointError::Weights { reason, .. }) => Err(LatentsError::Format(reason).into()),
            Err(other) => Err(other.into()),
        };
    }
    let bytes = job.input.bytes()?;
    if is_safetensors(&bytes) {
        return latents::inspect(job, &bytes, ui);
    }
    if args.output.is_some() {
        bail!("-o is for the plates of latents, and this is no safetensors file");
    }
    picture::inspect(args, job, &bytes, ui)
}

/// The first bytes of a file.
fn start_of(path: &Path) -> Result<Vec<u8>> {
    let mut start = Vec::new();
    File::open(path)?.take(16).read_to_end(&mut start)?;
    Ok(start)
}

/// Whether a file starts as safetensors do: the header's length in eight bytes, then the header, which is JSON.
///
/// Asked before pictures, as a length of 19778 is `BM`, the start of a BMP file.
fn is_safetensors(bytes: &[u8]) -> bool {
    const LONGEST: u64 = 100_000_000; // of the headers that the format allows
    let length = bytes.first_chunk().map(|length| u64::from_le_bytes(*length));
    length.is_some_and(|length| length <= LONGEST) && bytes.get(8) == Some(&b'{')
}

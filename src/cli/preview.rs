//! `decode --preview`: the small decoder of the family that latents are from.

use anyhow::{Result, anyhow, bail};

use vae::checkpoint::evidence::describe;
use vae::checkpoint::families::FAMILIES;
use vae::checkpoint::{Family, NamedModel};
use vae::latents::Header;

use super::failure::Failure;
use super::jobs::{Input, Job};

/// Returns the model of the TAESD family that decodes the latents of all inputs. Inputs that cannot be read are left out.
///
/// # Errors
/// If an input does not state how it is scaled, or the inputs are of several families.
pub fn model(jobs: &[Job]) -> Result<&'static NamedModel, Failure> {
    let mut found: Option<(&NamedModel, &Input)> = None;
    for job in jobs {
        let Some(model) = model_of(&job.input).map_err(|e| Failure::Usage(e.to_string()))? else { continue };
        match found {
            Some((other, input)) if other != model => {
                return Err(Failure::Usage(format!(
                    "--preview: {} is for {}, and {} for {}: decode them one after the other",
                    input.name(),
                    other.name,
                    job.input.name(),
                    model.name
                )));
            }
            _ => found = Some((model, &job.input)),
        }
    }
    found.map(|(model, _)| model).ok_or_else(|| Failure::Usage("--preview: no input can be read".into()))
}

/// Returns the model for one input; `None` if that cannot be read.
fn model_of(input: &Input) -> Result<Option<&'static NamedModel>> {
    let name = input.name();
    let Some(path) = input.path() else {
        bail!("--preview cannot read the header of stdin: name the small decoder with --model, such as taesd")
    };
    let Ok(header) = Header::open(path) else { return Ok(None) };
    let Ok([_, channels, _, _]) = header.shape() else { return Ok(None) };
    let families =
        || FAMILIES.iter().filter(|family| family.latent_channels == channels && family.tiny().is_some());
    let model = |family: &Family| family.tiny().and_then(Family::free_model);
    let Some(scaling) = header.provenance().ok().flatten().and_then(|provenance| provenance.scaling) else {
        let mut names: Vec<&str> = families().filter_map(model).map(|model| model.name).collect();
        names.dedup();
        bail!(
            "--preview: {name} does not state how its latents are scaled; name the small decoder with --model: {}",
            names.join(", ")
        )
    };
    let found = families().find(|family| family.scaling().as_ref() == Some(&scaling)).and_then(model);
    found.map(Some).ok_or_else(|| {
        anyhow!(
            "--preview: no small decoder is known for {name}, with {channels} channels and scaled by {}",
            describe(&scaling)
        )
    })
}

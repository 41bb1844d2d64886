//! Whether latents to decode are scaled, and warnings if they look otherwise.

use anyhow::{Result, bail};
use candle_core::Tensor;

use vae::latents::summary::{looks_scaled, usual_rms};
use vae::latents::{Latents, Provenance};
use vae::model::{Config, Scaling, UnknownScaling};
use vae::statistics::Statistics;

use super::args::DecodeArgs;
use super::memory::Size;

/// How far the rms must be from the limit between scaled and unscaled, as a factor, to contradict an assumption.
const CLEAR: f64 = 1.2;

/// The same to contradict the metadata or an option. Flat pictures have weaker latents than most.
const VERY_CLEAR: f64 = 2.0;

/// How much larger than usual, both for scaled and unscaled latents, an rms can be without a warning.
const FAR: f64 = 4.0;

/// Undoes the scaling.
///
/// # Errors
/// If the latents are scaled, and neither their file nor the model states how.
pub fn unscale(latents: &Latents, config: &Config, args: &DecodeArgs) -> Result<Tensor> {
    Ok(match is_scaled(&latents.provenance, args) {
        true => scaling(&latents.provenance, config)?.unscale(&latents.tensor)?,
        false => latents.tensor.clone(),
    })
}

/// Whether latents are scaled. The metadata of the file decides. Without it, they count as scaled, unless `--unscaled` is
/// given.
fn is_scaled(provenance: &Provenance, args: &DecodeArgs) -> bool {
    provenance.scaled.unwrap_or(!args.unscaled)
}

/// How latents are scaled, or would be: as the metadata of the file states, or else as the model.
fn scaling<'a>(provenance: &'a Provenance, config: &'a Config) -> Result<&'a Scaling, UnknownScaling> {
    provenance.scaling.as_ref().map_or_else(|| config.scaling(), Ok)
}

/// Returns the width and height of the decoded picture of latents of this shape.
///
/// # Errors
/// Those of [`unscale`], or if the latents have another number of channels than those of the model.
pub fn picture_size(
    [_, channels, height, width]: [usize; 4],
    provenance: &Provenance,
    config: &Config,
    args: &DecodeArgs,
) -> Result<Size> {
    let patch = if is_scaled(provenance, args) { scaling(provenance, config)?.patch } else { 1 };
    let decoded = config.latent_channels * patch * patch;
    if channels != decoded {
        bail!("the latents have {channels} channels, but the model decodes {decoded}");
    }
    let step = patch * config.downscale();
    Ok((width * step, height * step))
}

/// Returns a warning if the values do not look as they should, or if the metadata contradicts an option.
pub fn check(latents: &Latents, config: &Config, args: &DecodeArgs) -> Result<Option<String>> {
    let scaled = is_scaled(&latents.provenance, args);
    let word = |scaled: bool| if scaled { "scaled" } else { "unscaled" };
    let is_stated = latents.provenance.scaled.is_some();
    if is_stated && (args.scaled && !scaled || args.unscaled && scaled) {
        let (stated, option) = (word(scaled), word(!scaled));
        return Ok(Some(format!("its metadata states that the latents are {stated}; --{option} is ignored")));
    }
    let Ok(scaling) = scaling(&latents.provenance, config) else { return Ok(None) };
    let rms = Statistics::of(&latents.tensor.flatten_all()?.to_vec1::<f32>()?).rms();
    let unscaled = usual_rms(scaling);
    let usual =
        format!("rms {rms:.2}; scaled latents of this model have about 1, unscaled ones about {unscaled:.2}");
    let is_assumed = !is_stated && !args.scaled && !args.unscaled;
    let margin = if is_assumed { CLEAR } else { VERY_CLEAR };
    let looks = looks_scaled(rms, scaling, margin).filter(|_| config.latent_channels == 4);
    Ok(match looks {
        Some(looks) if looks != scaled => {
            let reason = match (is_stated, is_assumed) {
                (true, _) => format!("its metadata states that they are {}", word(scaled)),
                (_, true) => "the file does not state it; --unscaled or --scaled decides".into(),
                (_, false) => format!("--{} is given", word(scaled)),
            };
            let (looks, decoded) = (word(looks), word(scaled));
            Some(format!("the latents look {looks} ({usual}), but are decoded as {decoded}: {reason}"))
        }
        None if rms > FAR * unscaled.max(1.0) => {
            Some(format!("the latents are unusually large ({usual}); check whether they are of this model"))
        }
        _ => None,
    })
}

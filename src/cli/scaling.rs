//! Whether latents to decode are scaled, and warnings if they look otherwise.

use anyhow::{Result, bail};
use candle_core::Tensor;

use vae::latents::Latents;
use vae::latents::summary::{looks_scaled, usual_rms};
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

/// Undoes the scaling, or scales, to get what the network decodes: unscaled latents, or for the TAESD family scaled ones.
///
/// # Errors
/// If the latents are not such, and neither their file nor the model states how they are scaled.
pub fn for_network(latents: &Latents, config: &Config, args: &DecodeArgs) -> Result<Tensor> {
    Ok(match (is_scaled(latents, args), config.latents_are_scaled()) {
        (true, false) => scaling(latents, config)?.unscale(&latents.tensor)?,
        (false, true) => scaling(latents, config)?.scale(&latents.tensor)?,
        _ => latents.tensor.clone(),
    })
}

/// Whether latents are scaled. The metadata of the file decides. Without it, they count as scaled, unless `--unscaled` is
/// given.
pub fn is_scaled(latents: &Latents, args: &DecodeArgs) -> bool {
    latents.provenance.scaled.unwrap_or(!args.unscaled)
}

/// How latents are scaled, or would be: as the metadata of the file states, or else as the model.
fn scaling<'a>(latents: &'a Latents, config: &'a Config) -> Result<&'a Scaling, UnknownScaling> {
    latents.provenance.scaling.as_ref().map_or_else(|| config.scaling(), Ok)
}

/// Returns the width and height of the decoded picture.
///
/// # Errors
/// Those of [`for_network`], or if the latents have another number of channels than those of the model.
pub fn picture_size(latents: &Latents, config: &Config, args: &DecodeArgs) -> Result<Size> {
    let (_, channels, height, width) = latents.tensor.dims4()?;
    let is_scaled = is_scaled(latents, args) && !config.latents_are_scaled();
    let patch = if is_scaled { scaling(latents, config)?.patch } else { 1 };
    let decoded = config.latent_channels * patch * patch;
    if channels != decoded {
        bail!("the latents have {channels} channels, but the model decodes {decoded}");
    }
    let step = patch * config.downscale();
    Ok((width * step, height * step))
}

/// Returns a warning if `model`, of the TAESD family, does not decode the latents of the VAE that these are from.
pub fn check_family(latents: &Latents, config: &Config, model: &str) -> Option<String> {
    let (theirs, ours) = (latents.provenance.scaling.as_ref()?, config.scaling.as_ref()?);
    (theirs != ours).then(|| {
        format!(
            "these latents are scaled by {}, but {model} decodes those that are scaled by {}; if the picture looks \
             wrong, name the right model with --model",
            theirs.factor, ours.factor
        )
    })
}

/// Returns a warning if the values do not look as they should, or if the metadata contradicts an option.
pub fn check(latents: &Latents, config: &Config, args: &DecodeArgs) -> Result<Option<String>> {
    let scaled = is_scaled(latents, args);
    let word = |scaled: bool| if scaled { "scaled" } else { "unscaled" };
    let is_stated = latents.provenance.scaled.is_some();
    if is_stated && (args.scaled && !scaled || args.unscaled && scaled) {
        let (stated, option) = (word(scaled), word(!scaled));
        return Ok(Some(format!("its metadata states that the latents are {stated}; --{option} is ignored")));
    }
    let Ok(scaling) = scaling(latents, config) else { return Ok(None) };
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

//! Whether latents to decode are scaled, and warnings if they look otherwise.

use anyhow::Result;
use candle_core::Tensor;

use vae::latents::summary::{looks_scaled, usual_rms};
use vae::latents::{Latents, Scaling};
use vae::model::{self, Config};
use vae::statistics::Statistics;

use super::args::DecodeArgs;

/// How far the rms must be from the limit between scaled and unscaled, as a factor, to contradict an assumption.
const CLEAR: f64 = 1.2;

/// The same to contradict the metadata or an option. Flat pictures have weaker latents than most.
const VERY_CLEAR: f64 = 2.0;

/// How much larger than usual, both for scaled and unscaled latents, an rms can be without a warning.
const FAR: f64 = 4.0;

/// Undoes the scaling.
pub fn unscale(latents: &Latents, config: &Config, args: &DecodeArgs) -> Result<Tensor> {
    let scaling = scaling(latents, config, args);
    Ok(match scaling.scaled {
        true => model::unscale(&latents.tensor, scaling.factor, scaling.shift)?,
        false => latents.tensor.clone(),
    })
}

/// The metadata of the file decides whether latents are scaled, and by which factor. Without metadata, they count as
/// scaled by the model's factor, unless `--unscaled` is given.
fn scaling(latents: &Latents, config: &Config, args: &DecodeArgs) -> Scaling {
    latents.provenance.scaling.unwrap_or(Scaling {
        factor: config.scaling_factor,
        shift: config.shift_factor.unwrap_or(0.0),
        scaled: !args.unscaled,
    })
}

/// Returns a warning if the values do not look as they should, or if the metadata contradicts an option.
pub fn check(latents: &Latents, config: &Config, args: &DecodeArgs) -> Result<Option<String>> {
    let Scaling { factor, scaled, .. } = scaling(latents, config, args);
    let word = |scaled: bool| if scaled { "scaled" } else { "unscaled" };
    let is_stated = latents.provenance.scaling.is_some();
    if is_stated && (args.scaled && !scaled || args.unscaled && scaled) {
        let (stated, option) = (word(scaled), word(!scaled));
        return Ok(Some(format!("its metadata states that the latents are {stated}; --{option} is ignored")));
    }
    let rms = Statistics::of(&latents.tensor.flatten_all()?.to_vec1::<f32>()?).rms();
    let usual = usual_rms(factor);
    let usual =
        format!("rms {rms:.2}; scaled latents of this model have about 1, unscaled ones about {usual:.2}");
    let is_assumed = !is_stated && !args.scaled && !args.unscaled;
    let margin = if is_assumed { CLEAR } else { VERY_CLEAR };
    let looks = looks_scaled(rms, factor, margin).filter(|_| config.latent_channels == 4);
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
        None if rms > FAR * usual_rms(factor).max(1.0) => {
            Some(format!("the latents are unusually large ({usual}); check whether they are of this model"))
        }
        _ => None,
    })
}

//! Whether latents to decode are scaled, and warnings if latents look otherwise than they should.

use anyhow::{Result, bail};
use candle_core::Tensor;

use vae::checkpoint::Family;
use vae::checkpoint::evidence::describe;
use vae::latents::summary::{looks_scaled, usual_rms};
use vae::latents::{Latents, Provenance};
use vae::model::{Config, Scaling, UnknownScaling};
use vae::picture::Picture;
use vae::statistics::Statistics;

use super::args::DecodeArgs;
use super::memory::Size;
use super::session::Session;

/// How far the rms must be from the limit between scaled and unscaled, as a factor, to contradict an assumption.
const CLEAR: f64 = 1.2;

/// The same to contradict the metadata or an option. Flat pictures have weaker latents than most.
const VERY_CLEAR: f64 = 2.0;

/// How much larger than usual, both for scaled and unscaled latents, an rms can be without a warning.
const FAR: f64 = 4.0;

/// The standard deviations of scaled latents, relative to the usual one, that are far off. Those of photographs are between
/// 0.6 and 1.2 or so. Too close to tell are the factors of Stable Diffusion 1 and XL, whose ratio is 1.4.
const FAR_OFF: (f64, f64) = (0.35, 1.8);

/// The least standard deviation of a picture's values (0..255) for a warning about its latents. Photographs have about 60.
/// The latents of flat pictures are weak, or far from zero.
const LEAST_CONTRAST: f64 = 32.0;

/// The least number of latent pixels for such a warning: those of 256×256 pixels.
const LEAST_PIXELS: usize = 32 * 32;

/// Undoes the scaling, or scales, to get what the network decodes: unscaled latents, or for the TAESD family scaled ones.
///
/// # Errors
/// If the latents are not such, and neither their file nor the model states how they are scaled.
pub fn for_network(latents: &Latents, config: &Config, args: &DecodeArgs) -> Result<Tensor> {
    Ok(match (is_scaled(&latents.provenance, args), config.latents_are_scaled()) {
        (true, false) => scaling(&latents.provenance, config)?.unscale(&latents.tensor)?,
        (false, true) => scaling(&latents.provenance, config)?.scale(&latents.tensor)?,
        _ => latents.tensor.clone(),
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

/// Whether the scaling of the model is needed to decode these latents.
pub fn needs_that_of_model(provenance: &Provenance, config: &Config, args: &DecodeArgs) -> bool {
    is_scaled(provenance, args) != config.latents_are_scaled() && provenance.scaling.is_none()
}

/// Returns the width and height of the decoded picture of latents of this shape.
///
/// # Errors
/// Those of [`for_network`], or if the latents have another number of channels than those of the model.
pub fn picture_size(
    [_, channels, height, width]: [usize; 4],
    provenance: &Provenance,
    config: &Config,
    args: &DecodeArgs,
) -> Result<Size> {
    let is_scaled = is_scaled(provenance, args) && !config.latents_are_scaled();
    let patch = if is_scaled { scaling(provenance, config)?.patch } else { 1 };
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
    let scaled = is_scaled(&latents.provenance, args);
    let word = |scaled: bool| if scaled { "scaled" } else { "unscaled" };
    let is_stated = latents.provenance.scaled.is_some();
    if is_stated && (args.scaled && !scaled || args.unscaled && scaled) {
        let (stated, option) = (word(scaled), word(!scaled));
        return Ok(Some(format!("its metadata states that the latents are {stated}; --{option} is ignored")));
    }
    if let (Some(stated), Some(option)) = (&latents.provenance.scaling, args.model.scaling.first())
        && config.scaling.as_ref().is_some_and(|scaling| scaling != stated)
    {
        let stated = describe(stated);
        return Ok(Some(format!(
            "its metadata states that the latents are scaled by {stated}; {option} is ignored"
        )));
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

/// Returns a warning if the latents that were encoded from a picture are far from what the scaling promises: a standard
/// deviation of about 1. Nothing is said about flat pictures, and about unscaled latents (without `scaling`).
pub fn check_encoded(
    latents: &Tensor,
    picture: &Picture,
    scaling: Option<&Scaling>,
    session: &Session,
) -> Result<Option<String>> {
    let Some(scaling) = scaling else { return Ok(None) };
    let (_, channels, height, width) = latents.dims4()?;
    let pixels = height * width * scaling.patch * scaling.patch;
    if pixels < LEAST_PIXELS || Statistics::of(&picture.values()).std < LEAST_CONTRAST {
        return Ok(None);
    }
    let std = |channel| -> Result<f64> {
        Ok(Statistics::of(&latents.narrow(1, channel, 1)?.flatten_all()?.to_vec1::<f32>()?).std)
    };
    let stds = (0..channels).map(std).collect::<Result<Vec<_>>>()?;
    let found = relative_std(&stds, scaling, scaling);
    if !is_far_off(found) {
        return Ok(None);
    }
    let checkpoint = session.checkpoint()?;
    let others = Family::fitting(checkpoint.config()).into_iter().filter_map(|family| {
        let other = family.scaling().filter(|other| other.patch == scaling.patch && other != scaling)?;
        let std = relative_std(&stds, scaling, &other);
        (!is_far_off(std)).then_some((family.name, std))
    });
    let likely = others.min_by(|a, b| a.1.ln().abs().total_cmp(&b.1.ln().abs()));
    let advice = match likely {
        Some((name, std)) => format!("that of {name} would give {std:.2}; --family decides"),
        None => "no known family fits; check the model".into(),
    };
    let evidence = checkpoint.recognition().evidence.as_ref();
    let evidence = evidence.map_or(String::new(), |evidence| format!(", according to {evidence}"));
    Ok(Some(format!(
        "the latents have {found:.2} times the standard deviation that is usual for their scaling ({}{evidence}): {advice}",
        describe(scaling)
    )))
}

fn is_far_off(std: f64) -> bool {
    !(FAR_OFF.0..=FAR_OFF.1).contains(&std)
}

/// Returns the standard deviation relative to the usual one of latents that would be scaled in another way. `stds` are those
/// of the channels as they are scaled.
fn relative_std(stds: &[f64], scaling: &Scaling, other: &Scaling) -> f64 {
    // With statistics, each channel has a standard deviation of `factor`; without, the factor gives all together one of 1.
    let usual = |scaling: &Scaling| if scaling.statistics.is_some() { scaling.factor } else { 1.0 };
    let divisor = |scaling: &Scaling, channel: usize| {
        scaling.statistics.as_ref().and_then(|s| s.std.get(channel).copied()).unwrap_or(1.0) / scaling.factor
    };
    let square =
        |(channel, std): (usize, &f64)| (std * divisor(scaling, channel) / divisor(other, channel)).powi(2);
    let squares: f64 = stds.iter().enumerate().map(square).sum();
    (squares / stds.len() as f64).sqrt() / usual(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standard_deviation_is_compared_with_that_of_the_right_scaling() {
        let family = |name: &str| Family::named(name).and_then(Family::scaling).expect("its numbers");
        let (flux1, sd3, playground) = (family("flux1"), family("sd3"), family("playground"));
        // Latents of FLUX.1 that were scaled as Stable Diffusion 3's.
        let stds = [1.5305 / 0.3611; 16];
        assert!(is_far_off(relative_std(&stds, &sd3, &sd3)));
        assert!((relative_std(&stds, &sd3, &flux1) - 1.0).abs() < 1e-12);
        assert!((relative_std(&[1.0; 16], &flux1, &sd3) - 1.5305 / 0.3611).abs() < 1e-12);
        // Playground's have half the standard deviation of others.
        assert!((relative_std(&[0.5; 4], &playground, &playground) - 1.0).abs() < 1e-12);
        let unscaled = [8.4927, 5.9022, 6.5498, 5.2299];
        let one = Scaling::new(1.0, 0.0);
        assert!((relative_std(&unscaled, &one, &playground) - 1.0).abs() < 1e-12);
        assert!(is_far_off(relative_std(&unscaled, &one, &one)) && is_far_off(f64::NAN));
    }
}

//! Recipes: the model and the settings that a result depends on. A result stores its recipe and the identity of its
//! input, so that a later run can find out whether it would make the same again. Nothing is stored that differs between
//! two runs of the same command, such as a time or a folder.

use std::collections::BTreeMap;

use anyhow::Result;

use vae::picture::{Background, Format, PREPROCESSING_VERSION};

use super::args::{DecodeArgs, EncodeArgs, Encoding, IccChoice, RoundtripArgs, ThemeChoice};
use super::input::InputBytes;
use super::levels::Levels;
use super::session::Session;

/// What a file states about itself: texts by key.
pub type Stored = BTreeMap<String, String>;

/// A part of what a result depends on: texts by key.
#[derive(Debug, Clone, PartialEq)]
pub struct Recipe(BTreeMap<&'static str, String>);

impl Recipe {
    /// Returns what latents of `vae encode` depend on, except the model.
    pub fn of_encode(args: &EncodeArgs, session: &Session) -> Self {
        let mut recipe = Self::of_device(session);
        recipe.encoding(&args.encoding);
        recipe.set("scaled", !args.unscaled);
        recipe.set("save_dtype", args.save_dtype.dtype().as_str());
        recipe
    }

    /// Returns what pictures of `vae decode` depend on, except the model.
    pub fn of_decode(args: &DecodeArgs, session: &Session) -> Self {
        let mut recipe = Self::of_device(session);
        let scaling = match args {
            DecodeArgs { unscaled: true, .. } => "unscaled",
            DecodeArgs { scaled: true, .. } => "scaled",
            _ => "default",
        };
        recipe.set("scaling", scaling);
        recipe.set("size", if args.original_size { "original" } else { "decoded" });
        if args.original_size {
            recipe.set("preprocessing", PREPROCESSING_VERSION);
        }
        recipe
    }

    /// Returns what pictures of `vae roundtrip` depend on, except the model.
    pub fn of_roundtrip(args: &RoundtripArgs, session: &Session) -> Self {
        let mut recipe = Self::of_device(session);
        recipe.encoding(&args.encoding);
        recipe.set(
            "noise",
            match &args.noise {
                None => "0".to_string(),
                Some(Levels::One(level)) => level.to_string(),
                Some(Levels::Sweep(levels)) => format!("{levels:?}"),
            },
        );
        if let Some(Levels::Sweep(_)) = args.noise {
            recipe.set("theme", if let Some(ThemeChoice::Dark) = args.theme { "dark" } else { "light" });
        }
        recipe
    }

    /// Returns what depends on the model. It is opened, and downloaded if necessary.
    pub fn of_model(session: &Session) -> Result<Self> {
        let checkpoint = session.checkpoint()?;
        let config = checkpoint.config();
        let mut recipe = Self(BTreeMap::new());
        recipe.set("model_sha256", checkpoint.sha256()?);
        recipe.set("architecture_sha256", config.architecture_sha256());
        if let Some(scaling) = &config.scaling {
            recipe.set("scaling_factor", scaling.factor);
            recipe.set("shift_factor", scaling.shift);
            if let Some(statistics) = &scaling.statistics {
                recipe.set("latents_mean", format!("{:?}", statistics.mean));
                recipe.set("latents_std", format!("{:?}", statistics.std));
            }
        }
        Ok(recipe)
    }

    /// The device that was chosen, and its precision. The CPU or a safer precision may have computed a picture instead; the
    /// key `precision` of latents states which.
    fn of_device(session: &Session) -> Self {
        let (device, precision) = session.device_and_precision();
        Self([("device", device.to_string()), ("compute_dtype", precision.to_string())].into())
    }

    fn encoding(&mut self, encoding: &Encoding) {
        let Encoding { seed: _, mean, multiple, background: Background([r, g, b]), icc } = encoding;
        self.set("posterior", if *mean { "mean" } else { "sample" });
        if !mean {
            self.set("seed", encoding.seed());
        }
        self.set("multiple", multiple);
        self.set("background", format!("#{r:02x}{g:02x}{b:02x}"));
        self.set("icc", if *icc == IccChoice::Convert { "convert" } else { "keep" });
        self.set("preprocessing", PREPROCESSING_VERSION);
    }

    /// Adds a setting or a result.
    pub fn set(&mut self, key: &'static str, value: impl ToString) {
        self.0.insert(key, value.to_string());
    }

    /// Adds the format of a picture, if its settings matter.
    pub fn set_format(&mut self, format: Format) {
        if let Format::Jpeg { quality } = format {
            self.set("quality", quality);
        }
    }

    /// Returns the complete recipe with the identity of the input, as a result stores it.
    pub fn complete(&self, session: &Session, bytes: &mut InputBytes) -> Result<Stored> {
        let model = Self::of_model(session)?;
        let parts = self.0.clone().into_iter().chain(model.0).chain(bytes.describe()?);
        Ok(parts.map(|(key, value)| (key.to_string(), value)).collect())
    }

    /// Returns how what a result states differs from this recipe. Keys that are not in the recipe are not compared.
    pub fn difference(&self, stored: &Stored) -> Option<String> {
        let mut changed = Vec::new();
        let mut missing = None;
        for (&key, now) in &self.0 {
            match (key, stored.get(key)) {
                (_, Some(before)) if before == now => {}
                ("model_sha256", Some(_)) => changed.push("the model is another one".to_string()),
                ("architecture_sha256", Some(_)) => {
                    changed.push("the architecture in the config of the model is another one".to_string());
                }
                (_, Some(before)) => changed.push(format!("the {} was {before} and is {now}", label(key))),
                (_, None) => missing = Some(format!("it does not state the {}", label(key))),
            }
        }
        if changed.is_empty() { missing } else { Some(changed.join(", ")) }
    }
}

/// The words for a key in messages.
fn label(key: &str) -> String {
    match key {
        "architecture_sha256" => "architecture of the model".into(),
        "background" => "background colour".into(),
        "icc" => "treatment of colour profiles".into(),
        "compute_dtype" => "precision".into(),
        "item" => "number in the batch".into(),
        "noise" => "noise level".into(),
        "posterior" => "draw from the posterior".into(),
        "preprocessing" => "version of the preprocessing".into(),
        "quality" => "JPEG quality".into(),
        "save_dtype" => "number format".into(),
        "scaled" => "scaling of the latents".into(),
        other => other.replace('_', " "),
    }
}

/// Returns the description that a picture carries: its recipe as a line of JSON.
pub fn to_json(stored: &Stored) -> String {
    serde_json::Value::from_iter(stored.clone()).to_string()
}

/// Parses the description of a picture. Returns `None` if it is not a recipe.
pub fn from_json(description: &str) -> Option<Stored> {
    serde_json::from_str(description).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(pairs: &[(&'static str, &str)]) -> Recipe {
        Recipe(pairs.iter().map(|&(key, value)| (key, value.to_string())).collect())
    }

    fn stored(pairs: &[(&'static str, &str)]) -> Stored {
        recipe(pairs).0.into_iter().map(|(key, value)| (key.to_string(), value)).collect()
    }

    #[test]
    fn a_difference_names_every_setting_that_changed() {
        let now = recipe(&[("multiple", "32"), ("seed", "7"), ("posterior", "sample")]);
        let difference = |pairs| now.difference(&stored(pairs));
        assert_eq!(
            difference(&[("multiple", "32"), ("seed", "7"), ("posterior", "sample"), ("x", "y")]),
            None
        );
        assert_eq!(
            difference(&[("multiple", "8"), ("seed", "0"), ("posterior", "sample")]).as_deref(),
            Some("the multiple was 8 and is 32, the seed was 0 and is 7")
        );
        assert_eq!(
            difference(&[("multiple", "32"), ("posterior", "mean")]).as_deref(),
            Some("the draw from the posterior was mean and is sample")
        );
        assert_eq!(
            difference(&[("seed", "7"), ("posterior", "sample")]).as_deref(),
            Some("it does not state the multiple")
        );
    }

    #[test]
    fn a_description_is_json() {
        let stored = stored(&[("seed", "7"), ("noise", "0.5")]);
        assert_eq!(to_json(&stored), r#"{"noise":"0.5","seed":"7"}"#);
        assert_eq!(from_json(&to_json(&stored)), Some(stored));
        assert_eq!(from_json("a holiday"), None);
        assert_eq!(from_json("[1]"), None);
    }
}

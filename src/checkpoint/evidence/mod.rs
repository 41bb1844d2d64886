//! Which family a checkpoint belongs to, and how its latents are scaled.
//!
//! Names and shapes of the tensors do not tell Stable Diffusion 1 from XL, nor Stable Diffusion 3 from FLUX.1, and the
//! wrong factor gives washed-out pictures. So the scaling is taken from the first of these that says something:
//!
//! 1. the options `--family`, `--scaling-factor` and `--shift-factor`;
//! 2. the config in the file, or `config.json`, or statistics among the weights;
//! 3. tensors of the diffusion model in the same file;
//! 4. the first layer of the encoder ([`fingerprint`](super::fingerprint));
//! 5. `modelspec.architecture` in the metadata;
//! 6. the repository on the hub, or the name of the model;
//! 7. the name of the file.
//!
//! Without any, the scaling is unknown. Nothing is guessed. If a later one contradicts the one that decided, that is a warning.
//!
//! | file | what |
//! | --- | --- |
//! | `hints` | 3 to 7 |

mod hints;

use std::fmt;
use std::path::Path;

use crate::model::{Config, Scaling};

use super::Contents;
use super::families::{Family, HalfPrecision, NamedModel};
use super::fingerprint::Table;
use hints::{Hint, hints};

/// What the options say about the scaling.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Overrides {
    /// `--family`
    pub family: Option<&'static Family>,
    /// `--scaling-factor`
    pub scaling_factor: Option<f64>,
    /// `--shift-factor`
    pub shift_factor: Option<f64>,
}

/// What is known about a checkpoint.
pub struct Clues<'a> {
    /// The config. Its scaling is that of `config.json` or of the weights, or `None`.
    pub config: &'a Config,
    /// Where the config was stated, [`Evidence::ConfigJson`] or [`Evidence::Metadata`]. `None` if it follows from the shapes.
    pub config_from: Option<Evidence>,
    /// All tensors of the file, including those that are not the VAE's, and its metadata.
    pub contents: &'a Contents,
    /// The weights of the encoder's first layer `[c, 3, 3, 3]`.
    pub first_layer: Option<Vec<f32>>,
    /// The model as `--model` names it.
    pub named: Option<&'static NamedModel>,
    /// The repository on the hub.
    pub repository: Option<&'a str>,
    /// The weights file.
    pub file: Option<&'a Path>,
}

/// What decided the scaling of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evidence {
    /// Options of the command line, as they were given.
    Options(String),
    /// `config.json`.
    ConfigJson,
    /// The config in the metadata of the file, which `vae convert-model` writes.
    Metadata,
    /// Statistics among the weights, or a network that only one family has.
    Weights,
    /// A tensor of the diffusion model in the same file.
    Companion(String),
    /// The first layer of the encoder is that of this model or family.
    Fingerprint(String),
    /// `modelspec.architecture` in the metadata.
    Architecture(String),
    /// The repository on the hub.
    Repository(String),
    /// The model's name.
    Name(&'static str),
    /// The name of the file.
    FileName(String),
}

/// What was found out about a checkpoint.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Recognition {
    /// The families it can belong to: one if that is known. Several with the same scaling if only the scaling is known, or
    /// with different ones if nothing is.
    pub families: Vec<&'static Family>,
    /// The scaling; `None` if it is unknown.
    pub scaling: Option<Scaling>,
    /// What decided the scaling.
    pub evidence: Option<Evidence>,
    /// What is known about f16.
    pub half_precision: HalfPrecision,
    /// The licence of the weights, if the family or the model is known.
    pub licence: Option<&'static str>,
    /// Evidence that contradicts what decided.
    pub warnings: Vec<String>,
    /// What the options replace.
    pub notes: Vec<String>,
}

/// The option `--family` or `--shift-factor` does not fit the checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Misfit(String);

/// Finds out what `clues` say, and applies the options.
///
/// # Errors
/// [`Misfit`] if an option does not fit the checkpoint.
pub fn recognize(clues: &Clues, table: &Table, overrides: &Overrides) -> Result<Recognition, Misfit> {
    let hints = hints(clues, table);
    let (scaling, evidence) = match (&clues.config.scaling, hints.first()) {
        (Some(scaling), _) => {
            (Some(scaling.clone()), Some(clues.config_from.clone().unwrap_or(Evidence::Weights)))
        }
        (None, Some(hint)) => (hint.family.scaling(), Some(hint.evidence.clone())),
        (None, None) => (None, None),
    };
    let hint = hints.iter().find(|hint| agrees(hint.family, scaling.as_ref()));
    let mut found = match hint {
        Some(hint) => Recognition::of(vec![hint.family], hint.model),
        None => {
            let fitting = Family::fitting(clues.config).into_iter();
            Recognition::of(fitting.filter(|family| agrees(family, scaling.as_ref())).collect(), None)
        }
    };
    (found.scaling, found.evidence) = (scaling, evidence);
    match *overrides == Overrides::default() {
        true => found.warnings = contradictions(&hints, &found),
        false => found.apply(overrides, clues.config)?,
    }
    Ok(found)
}

/// Whether latents of the family have this scaling, as far as both are known.
fn agrees(family: &Family, scaling: Option<&Scaling>) -> bool {
    match (scaling, family.scaling()) {
        (Some(scaling), Some(other)) => *scaling == other,
        _ => true,
    }
}

/// Warnings about evidence that contradicts the scaling.
fn contradictions(hints: &[Hint], found: &Recognition) -> Vec<String> {
    let Some((scaling, evidence)) = found.scaling.as_ref().zip(found.evidence.as_ref()) else {
        return Vec::new();
    };
    let others = hints.iter().filter(|hint| !agrees(hint.family, Some(scaling)));
    let warning = |hint: &Hint| {
        let (name, other) = (hint.family.name, hint.family.scaling());
        let other = other.as_ref().map_or(String::new(), |other| format!(" ({})", describe(other)));
        format!(
            "latents are scaled by {}, according to {evidence}, but {} speaks of {name}{other}; if the latter is right, add --family {name}",
            describe(scaling),
            hint.evidence
        )
    };
    others.map(warning).collect()
}

/// A scaling in a few words: `0.3611, shift 0.1159`.
pub fn describe(scaling: &Scaling) -> String {
    let mut text = scaling.factor.to_string();
    if scaling.shift != 0.0 {
        text += &format!(", shift {}", scaling.shift);
    }
    if scaling.statistics.is_some() {
        text += ", with statistics of each channel";
    }
    text
}

impl Recognition {
    fn of(families: Vec<&'static Family>, model: Option<&'static NamedModel>) -> Self {
        let half = families.first().map(|family| family.half_precision);
        let half = half.filter(|half| families.iter().all(|family| family.half_precision == *half));
        let licence = families.first().map(|family| family.licence);
        let licence = licence.filter(|licence| families.iter().all(|family| family.licence == *licence));
        Self {
            half_precision: model.map_or(half.unwrap_or(HalfPrecision::Unknown), NamedModel::half_precision),
            licence: model.map(NamedModel::licence).or(licence),
            families,
            ..Self::default()
        }
    }

    /// Replaces what was found by what the options say.
    fn apply(&mut self, overrides: &Overrides, config: &Config) -> Result<(), Misfit> {
        let &Overrides { family, scaling_factor, shift_factor } = overrides;
        let before = self.scaling.clone().zip(self.evidence.clone());
        if let Some(family) = family {
            let family = if config.latents_are_scaled() { family.tiny().unwrap_or(family) } else { family };
            check_fit(family, config)?;
            let scaling = family.scaling().or_else(|| self.scaling.take());
            let missing =
                || Misfit(format!("--family {}: its statistics are not among the weights", family.name));
            *self = Self { scaling: Some(scaling.ok_or_else(missing)?), ..Self::of(vec![family], None) };
        }
        if let Some(factor) = scaling_factor {
            self.scaling.get_or_insert(Scaling::new(factor, 0.0)).factor = factor;
        }
        if let Some(shift) = shift_factor {
            let scaling = self.scaling.as_mut();
            let missing =
                || Misfit("--shift-factor needs --scaling-factor, because the factor is unknown".into());
            scaling.ok_or_else(missing)?.shift = shift;
        }
        let options = [
            family.map(|family| format!("--family {}", family.name)),
            scaling_factor.map(|factor| format!("--scaling-factor {factor}")),
            shift_factor.map(|shift| format!("--shift-factor {shift}")),
        ];
        let options = options.into_iter().flatten().collect::<Vec<_>>().join(" ");
        if let (Some(now), Some((before, evidence))) = (&self.scaling, before)
            && *now != before
        {
            self.notes.push(format!(
                "latents are scaled by {} ({options}) instead of {}, which is according to {evidence}",
                describe(now),
                describe(&before)
            ));
        }
        self.evidence = Some(Evidence::Options(options));
        Ok(())
    }

    /// The names of the families: `sd1 or sd2`; `None` if there is none.
    pub fn family(&self) -> Option<String> {
        let names: Vec<_> = self.families.iter().map(|family| family.name).collect();
        (!names.is_empty()).then(|| names.join(" or "))
    }

    /// Why the scaling is unknown, and what to do.
    pub fn refusal(&self, model: &str, config: &Config) -> String {
        let candidates = self.families.iter().map(|family| match family.scaling() {
            Some(scaling) => format!("{} ({})", family.name, describe(&scaling)),
            None => format!("{} (if its statistics were among the weights)", family.name),
        });
        let candidates = candidates.collect::<Vec<_>>().join(", ");
        let (channels, downscale) = (config.latent_channels, config.downscale());
        let fit = match candidates.as_str() {
            "" => "no known family has them".to_string(),
            _ => format!("it can be that of {candidates}, and nothing in the file says which"),
        };
        format!(
            "the scaling factor of {model} is unknown: it has {channels} latent channels at 1/{downscale} of the picture's sides; {fit}; \
             add --family NAME or --scaling-factor N (and --shift-factor N)"
        )
    }
}

/// Fails if VAEs of the family have another network or other latents than this one.
fn check_fit(family: &Family, config: &Config) -> Result<(), Misfit> {
    if family.fits(config) {
        return Ok(());
    }
    let fitting = Family::fitting(config);
    let names = fitting.iter().map(|family| family.name).collect::<Vec<_>>().join(", ");
    Err(Misfit(format!(
        "--family {} ({} latent channels at 1/{} of the picture's sides) does not fit the model, which has {} at 1/{}{}",
        family.name,
        family.latent_channels,
        family.downscale,
        config.latent_channels,
        config.downscale(),
        if names.is_empty() { String::new() } else { format!("; these fit: {names}") }
    )))
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Options(options) => write!(f, "{options}"),
            Self::ConfigJson => write!(f, "config.json"),
            Self::Metadata => write!(f, "the config in the file"),
            Self::Weights => write!(f, "the weights"),
            Self::Companion(tensor) => write!(f, "the diffusion model in the same file (tensor `{tensor}`)"),
            Self::Fingerprint(name) => write!(f, "the encoder's first layer, which is that of {name}"),
            Self::Architecture(text) => write!(f, "the metadata (modelspec.architecture: {text})"),
            Self::Repository(id) => write!(f, "the repository {id}"),
            Self::Name(name) => write!(f, "the name {name}"),
            Self::FileName(name) => write!(f, "the file's name, {name}"),
        }
    }
}

impl Evidence {
    /// One word for the kind of evidence.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Options(_) => "options",
            Self::ConfigJson => "config.json",
            Self::Metadata => "metadata",
            Self::Weights => "weights",
            Self::Companion(_) => "companion",
            Self::Fingerprint(_) => "fingerprint",
            Self::Architecture(_) => "modelspec",
            Self::Repository(_) => "repository",
            Self::Name(_) => "name",
            Self::FileName(_) => "file-name",
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::checkpoint::contents::Entry;

    use super::*;

    const COMPANION: &str = "model.diffusion_model.input_blocks.2.1.transformer_blocks.0.attn2.to_k.weight";

    /// Evidence for a different family from each source, of which the first `count` are left out. Without `json`, the config
    /// has no scaling.
    fn recognized(json: Option<f64>, left_out: usize, overrides: &Overrides) -> Result<Recognition, Misfit> {
        let text = format!(
            r#"{{"_class_name": "AutoencoderKL", "block_out_channels": [32, 32, 32, 32], "scaling_factor": {}}}"#,
            json.unwrap_or(1.0)
        );
        let mut config = Config::from_json(&text).expect("a config");
        config.scaling = config.scaling.filter(|_| json.is_some());
        let layer: Vec<f32> = (0..27 * 4).map(|i| (i as f32).sin()).collect();
        let row =
            crate::checkpoint::fingerprint::Fingerprint::of(&layer).expect("finite").row("sdxl-fp16-fix");
        let table = Table::parse(&row.to_string()).expect("a row");
        let companion = Entry { name: COMPANION.into(), dtype: "F16".into(), shape: vec![320, 1024] };
        let architecture = ("modelspec.architecture".to_string(), "stable-diffusion-v1".to_string());
        let contents = Contents {
            tensors: Some(companion).filter(|_| left_out < 1).into_iter().collect(),
            metadata: Some(architecture).filter(|_| left_out < 3).into_iter().collect(),
        };
        let clues = Clues {
            config: &config,
            config_from: json.map(|_| Evidence::ConfigJson),
            contents: &contents,
            first_layer: Some(layer).filter(|_| left_out < 2),
            named: None,
            repository: Some("playgroundai/playground-v2.5-1024px-aesthetic").filter(|_| left_out < 4),
            file: Some(Path::new("sdxl.safetensors")).filter(|_| left_out < 5),
        };
        recognize(&clues, &table, overrides)
    }

    fn overrides(family: Option<&str>, scaling_factor: Option<f64>, shift_factor: Option<f64>) -> Overrides {
        Overrides { family: family.and_then(Family::named), scaling_factor, shift_factor }
    }

    #[test]
    fn the_strongest_evidence_decides() {
        let kinds: Vec<_> = (0..6)
            .map(|left_out| {
                let found = recognized(None, left_out, &Overrides::default()).expect("no options");
                let kind = found.evidence.as_ref().map(Evidence::kind);
                let factor = found.scaling.as_ref().map(|scaling| scaling.factor);
                (kind, found.family(), factor, found.half_precision)
            })
            .collect();
        let name = |name: &str| Some(name.to_string());
        use HalfPrecision::{Overflows, Unknown, Works};
        assert_eq!(kinds[0], (Some("companion"), name("sd2"), Some(0.18215), Works));
        assert_eq!(kinds[1], (Some("fingerprint"), name("sdxl"), Some(0.13025), Works), "the fixed one");
        assert_eq!(kinds[2], (Some("modelspec"), name("sd1"), Some(0.18215), Works));
        assert_eq!(kinds[3], (Some("repository"), name("playground"), Some(0.5), Unknown));
        assert_eq!(kinds[4], (Some("file-name"), name("sdxl"), Some(0.13025), Overflows));
        assert_eq!((kinds[5].0, kinds[5].2), (None, None), "nothing is guessed");
        let found = recognized(Some(0.13025), 0, &Overrides::default()).expect("no options");
        assert_eq!(found.evidence, Some(Evidence::ConfigJson));
        assert_eq!(found.family(), name("sdxl"), "of the hints, the one that agrees with the config");
    }

    #[test]
    fn evidence_that_contradicts_the_decisive_one_is_a_warning() {
        let found = recognized(Some(0.18215), 1, &Overrides::default()).expect("no options");
        assert_eq!(found.warnings.len(), 3, "{:?}", found.warnings);
        for text in ["0.18215", "config.json", "sdxl", "0.13025", "--family sdxl"] {
            assert!(found.warnings[0].contains(text), "no {text} in {}", found.warnings[0]);
        }
        assert!(found.warnings[1].contains("playground") && found.warnings[2].contains("sdxl.safetensors"));
        let alone = recognized(Some(0.18215), 5, &Overrides::default()).expect("no options");
        assert_eq!((alone.warnings.len(), alone.family().as_deref()), (0, Some("sd1 or sd2")));
        assert_eq!(alone.licence, None, "the two have different licences");
    }

    #[test]
    fn options_replace_all_evidence_with_a_note() {
        let found = recognized(Some(0.18215), 0, &overrides(Some("sdxl"), None, None)).expect("it fits");
        assert_eq!(found.scaling, Some(Scaling::new(0.13025, 0.0)));
        assert_eq!(found.evidence, Some(Evidence::Options("--family sdxl".into())));
        assert!(
            found.notes[0].contains("0.18215") && found.notes[0].contains("config.json"),
            "{:?}",
            found.notes
        );
        assert_eq!((found.notes.len(), found.warnings.len()), (1, 0));
        let same = recognized(Some(0.18215), 0, &overrides(Some("sd2"), None, None)).expect("it fits");
        assert!(same.notes.is_empty(), "nothing is replaced: {:?}", same.notes);
        let both = recognized(None, 5, &overrides(Some("sd1"), Some(0.2), Some(-0.1))).expect("numbers");
        assert_eq!(both.scaling, Some(Scaling::new(0.2, -0.1)));
        let factor = recognized(None, 5, &overrides(None, Some(0.2), None)).expect("a number");
        assert_eq!(factor.scaling, Some(Scaling::new(0.2, 0.0)));
    }

    #[test]
    fn options_that_do_not_fit_are_refused() {
        let refused = |family, factor, shift| {
            recognized(None, 5, &overrides(family, factor, shift)).expect_err("it does not fit").to_string()
        };
        let wrong = refused(Some("flux1"), None, None);
        assert!(wrong.contains("flux1 (16 latent channels") && wrong.contains("sdxl"), "{wrong}");
        assert!(refused(Some("x4-upscaler"), None, None).contains("1/4"));
        assert!(refused(Some("taesd"), None, None).contains("these fit: sd1"));
        assert!(refused(None, None, Some(0.1)).contains("--scaling-factor"));
    }

    #[test]
    fn an_unknown_scaling_names_the_candidates_and_the_options() {
        let found = recognized(None, 5, &Overrides::default()).expect("no options");
        let json = r#"{"_class_name": "AutoencoderKL", "block_out_channels": [32, 32, 32, 32]}"#;
        let refusal = found.refusal("x.safetensors", &Config::from_json(json).expect("a config"));
        for text in [
            "x.safetensors",
            "sd1 (0.18215)",
            "sdxl (0.13025)",
            "playground (0.5",
            "--family",
            "--scaling-factor",
        ] {
            assert!(refusal.contains(text), "no {text} in {refusal}");
        }
        assert!(!refusal.contains("flux1"), "{refusal}");
    }
}

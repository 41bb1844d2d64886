//! `vae models`: the models that have names.

use std::fmt::{self, Write};

use serde::Serialize;

use vae::checkpoint::families::{HalfPrecision, Numbers, Repository};
use vae::checkpoint::hub::Cached;
use vae::checkpoint::{Family, Hub, NamedModel, built_in};
use vae::numbers::bytes;

use super::failure::Failure;
use super::ui::Ui;

/// The JSON of one model.
#[derive(Serialize)]
struct ModelRow {
    name: &'static str,
    family: &'static str,
    title: &'static str,
    latent_channels: usize,
    downscale: usize,
    scaling_factor: Option<f64>,
    shift_factor: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latents_mean: Option<&'static [f64]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latents_std: Option<&'static [f64]>,
    half_precision: HalfPrecision,
    licence: &'static str,
    gated: bool,
    /// In the order in which they are tried.
    repositories: &'static [Repository],
    #[serde(skip_serializing_if = "Option::is_none")]
    /// What `vae` would use without asking the hub.
    cached: Option<Cached>,
}

pub fn run(ui: &Ui) -> Result<(), Failure> {
    let hub = Hub::from_env();
    let built_in = Family::named(built_in::NAME).map(family_row);
    let rows: Vec<_> = built_in.into_iter().chain(NamedModel::all().map(|model| row(model, &hub))).collect();
    if ui.json() {
        return rows.iter().try_for_each(|row| ui.object(row)).map_err(Failure::Output);
    }
    let text = table(&rows).map_err(|e| Failure::Output(e.into()))?;
    ui.print(&rows, &text).map_err(Failure::Output)
}

fn row(model: &NamedModel, hub: &Hub) -> ModelRow {
    ModelRow {
        name: model.name,
        half_precision: model.half_precision(),
        licence: model.licence(),
        gated: model.is_gated(),
        repositories: model.repositories,
        cached: hub.cached(model.repositories),
        ..family_row(model.family())
    }
}

/// The row of a model without repositories.
fn family_row(family: &'static Family) -> ModelRow {
    let (factor, shift, statistics) = match family.numbers {
        Numbers::Factor { factor, shift } => (Some(factor), Some(shift), None),
        Numbers::Statistics { factor, mean, std } => (Some(factor), None, Some((mean, std))),
        Numbers::InWeights => (None, None, None),
    };
    ModelRow {
        name: family.name,
        family: family.name,
        title: family.title,
        latent_channels: family.latent_channels,
        downscale: family.downscale,
        scaling_factor: factor,
        shift_factor: shift,
        latents_mean: statistics.map(|(mean, _)| mean),
        latents_std: statistics.map(|(_, std)| std),
        half_precision: family.half_precision,
        licence: family.licence,
        gated: false,
        repositories: &[],
        cached: None,
    }
}

fn table(rows: &[ModelRow]) -> Result<String, fmt::Error> {
    let mut text = String::new();
    line(
        &mut text,
        ["name", "latents", "scale", "f16", "licence", "access", "in the cache", "repositories"],
    )?;
    for row in rows {
        let latents = format!("{} × 1/{}", row.latent_channels, row.downscale);
        let (access, cached) = match &row.cached {
            _ if row.repositories.is_empty() => ("built in", String::new()),
            cached => (
                if row.gated { "gated" } else { "free" },
                cached.as_ref().map_or("no".into(), |cached| bytes(cached.bytes)),
            ),
        };
        let f16 = row.half_precision.words();
        let repositories = row.repositories.iter().map(|r| r.id).collect::<Vec<_>>().join(", ");
        line(
            &mut text,
            [row.name, &latents, &row.scale(), f16, row.licence, access, &cached, &repositories],
        )?;
    }
    if rows.iter().any(|row| row.gated) {
        text += "gated: accept the terms on the repository's page, and set HF_TOKEN or run `hf auth login`\n";
    }
    Ok(text)
}

fn line(text: &mut String, columns: [&str; 8]) -> fmt::Result {
    let [name, latents, scale, f16, licence, access, cached, repositories] = columns;
    writeln!(
        text,
        "{name:<14} {latents:<9} {scale:<21} {f16:<9} {licence:<25} {access:<8} {cached:<12} {repositories}"
    )
}

impl ModelRow {
    /// The scaling in a few words.
    fn scale(&self) -> String {
        match (self.scaling_factor, self.shift_factor) {
            (None, _) => "among the weights".into(),
            (Some(factor), None) => format!("{factor}, per channel"),
            (Some(factor), Some(0.0)) => factor.to_string(),
            (Some(factor), Some(shift)) => format!("{factor}, shift {shift}"),
        }
    }
}

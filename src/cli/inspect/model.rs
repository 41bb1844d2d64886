//! Describes a checkpoint: its modules, their parameters, its family, and the pipeline that it is part of. Reads no tensors but
//! the first layer of the encoder.

use std::fmt::Write;

use anyhow::{Result, anyhow};
use serde::Serialize;

use vae::checkpoint::evidence::{self, Evidence};
use vae::checkpoint::families::HalfPrecision;
use vae::checkpoint::modules::ModuleRow;
use vae::checkpoint::pipeline::Component;
use vae::checkpoint::{Checkpoint, Hub, Pipeline, Recognition, Source, Variant};
use vae::escape::one_line;
use vae::numbers::grouped;

use crate::cli::args::InspectArgs;
use crate::cli::failure::Failure;
use crate::cli::hub::{check_options, hub, open};
use crate::cli::ui::Ui;

#[derive(Serialize)]
struct ModelReport<'a> {
    kind: &'static str,
    model: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<&'a str>,
    sha256: &'a str,
    dtypes: Vec<&'a str>,
    parameters: usize,
    latent_channels: usize,
    /// The ratio of the picture's sides to those of the latents.
    downscale: usize,
    /// The families that it can belong to, the only one if it is known.
    families: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    licence: Option<&'static str>,
    /// What is known about f16.
    half_precision: HalfPrecision,
    /// What decided the scaling.
    #[serde(skip_serializing_if = "Option::is_none")]
    evidence: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    evidence_text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scaling_factor: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shift_factor: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latents_mean: Option<&'a [f64]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latents_std: Option<&'a [f64]>,
    modules: Vec<ModuleRow<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pipeline: Option<Pipeline>,
}

pub fn inspect(source: &Source, args: &InspectArgs, ui: &Ui) -> Result<(), Failure> {
    let revision = args.revision.as_deref();
    check_options(source, revision, args.refresh)?;
    let hub = hub(args.refresh, ui);
    let checkpoint = open(source, revision, Variant::Full, &hub, &args.scaling.overrides(), ui)?;
    if args.fingerprint {
        return print_fingerprint(&checkpoint, source, ui);
    }
    let found = checkpoint.recognition();
    let (contents, modules, config) =
        (checkpoint.weights().contents(), checkpoint.modules(), checkpoint.config());
    let scaling = config.scaling.as_ref();
    let statistics = scaling.and_then(|scaling| scaling.statistics.as_ref());
    let report = ModelReport {
        kind: "model",
        model: &checkpoint.origin().model,
        revision: checkpoint.origin().revision.as_deref(),
        sha256: checkpoint.sha256().map_err(|e| Failure::Model(e.into()))?,
        dtypes: contents.dtypes(),
        parameters: contents.parameters(),
        latent_channels: config.latent_channels,
        downscale: config.downscale(),
        families: found.families.iter().map(|family| family.name).collect(),
        licence: found.licence,
        half_precision: found.half_precision,
        evidence: found.evidence.as_ref().map(Evidence::kind),
        evidence_text: found.evidence.as_ref().map(Evidence::to_string),
        scaling_factor: scaling.map(|scaling| scaling.factor),
        shift_factor: scaling.map(|scaling| scaling.shift).filter(|&shift| shift != 0.0),
        latents_mean: statistics.map(|statistics| statistics.mean.as_slice()),
        latents_std: statistics.map(|statistics| statistics.std.as_slice()),
        modules: modules.rows(),
        pipeline: checkpoint.pipeline(&Hub { progress: None, ..hub }),
    };
    let text =
        describe(&report, found, config.network.class(), &modules.to_string()).map_err(Failure::Output)?;
    ui.print(&report, &text).map_err(Failure::Output)
}

fn describe(report: &ModelReport, found: &Recognition, class: &str, modules: &str) -> Result<String> {
    let mut text = modules.to_string();
    writeln!(text, "\n{}: {class}", one_line(report.model))?;
    if let Some(revision) = report.revision {
        writeln!(text, "  revision    {revision}")?;
    }
    writeln!(text, "  parameters  {}, {}", grouped(report.parameters), report.dtypes.join(" and "))?;
    writeln!(text, "  SHA-256     {}", report.sha256)?;
    let (step, channels) = (report.downscale, report.latent_channels);
    let scaling = match (&found.scaling, &found.evidence) {
        (Some(scaling), Some(evidence)) => {
            format!("scaled by {}, according to {evidence}", evidence::describe(scaling))
        }
        _ => "whose scaling is unknown (--family or --scaling-factor states it)".into(),
    };
    writeln!(text, "  latents     [n, {channels}, h/{step}, w/{step}], {}", one_line(&scaling))?;
    let family = found.families.iter().map(|family| format!("{} ({})", family.name, family.title));
    let family = family.collect::<Vec<_>>().join(" or ");
    writeln!(text, "  family      {}", if family.is_empty() { "unknown" } else { &family })?;
    writeln!(text, "  licence     {}", found.licence.unwrap_or("unknown"))?;
    writeln!(text, "  f16         {}", found.half_precision.words())?;
    if let Some(pipeline) = &report.pipeline {
        writeln!(text, "part of a {}; → marks the component that vae loads", one_line(&pipeline.class))?;
        for component in &pipeline.components {
            let mark = if component.loaded { "→" } else { " " };
            let Component { name, class, library, .. } = component;
            let line = format!("{mark} {name:<24}{class} ({library})");
            writeln!(text, "{}", one_line(&line))?;
        }
    }
    Ok(text)
}

/// Prints the row of the encoder for the table of fingerprints.
fn print_fingerprint(checkpoint: &Checkpoint, source: &Source, ui: &Ui) -> Result<(), Failure> {
    let missing = || {
        Failure::Model(anyhow!(
            "{}: its encoder has no first layer [c, 3, 3, 3] of floats",
            checkpoint.origin().model
        ))
    };
    let fingerprint = checkpoint.fingerprint().ok_or_else(missing)?;
    let name = match (source, checkpoint.recognition().families.as_slice()) {
        (Source::Named(model), _) => model.name,
        (_, [family]) => family.name,
        _ => "NAME",
    };
    let row = fingerprint.row(name).to_string();
    ui.print(&serde_json::json!({ "fingerprint": row }), &row).map_err(Failure::Output)
}

//! Describes a checkpoint: its modules, their parameters, and the pipeline that it is part of. Reads no tensors.

use std::fmt::Write;

use anyhow::Result;
use serde::Serialize;

use vae::checkpoint::modules::ModuleRow;
use vae::checkpoint::pipeline::Component;
use vae::checkpoint::{Checkpoint, Hub, Pipeline, Source, Variant};
use vae::escape::one_line;
use vae::numbers::grouped;

use crate::cli::args::InspectArgs;
use crate::cli::failure::Failure;
use crate::cli::hub::{check_options, hub};
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
    let checkpoint =
        Checkpoint::open(source, revision, Variant::Full, &hub).map_err(|e| Failure::Model(e.into()))?;
    if let Some(warning) = checkpoint.warning() {
        ui.note(&format!("warning: {warning}"));
    }
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
        scaling_factor: scaling.map(|scaling| scaling.factor),
        shift_factor: scaling.map(|scaling| scaling.shift).filter(|&shift| shift != 0.0),
        latents_mean: statistics.map(|statistics| statistics.mean.as_slice()),
        latents_std: statistics.map(|statistics| statistics.std.as_slice()),
        modules: modules.rows(),
        pipeline: checkpoint.pipeline(&Hub { progress: None, ..hub }),
    };
    let text = describe(&report, config.network.class(), &modules.to_string()).map_err(Failure::Output)?;
    ui.print(&report, &text).map_err(Failure::Output)
}

fn describe(report: &ModelReport, class: &str, modules: &str) -> Result<String> {
    let mut text = modules.to_string();
    writeln!(text, "\n{}: {class}", one_line(report.model))?;
    if let Some(revision) = report.revision {
        writeln!(text, "  revision    {revision}")?;
    }
    writeln!(text, "  parameters  {}, {}", grouped(report.parameters), report.dtypes.join(" and "))?;
    writeln!(text, "  SHA-256     {}", report.sha256)?;
    let (step, channels) = (report.downscale, report.latent_channels);
    let scaling = match report.scaling_factor {
        Some(factor) if report.latents_std.is_some() => format!("scaled by {factor} and each channel's std"),
        Some(factor) => format!("scaled by {factor}"),
        None => "whose scaling is unknown".into(),
    };
    writeln!(text, "  latents     [n, {channels}, h/{step}, w/{step}], {scaling}")?;
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

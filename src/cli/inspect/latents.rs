//! Describes latents by statistics and plates, and other safetensors files by a list of tensors.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::{Result, bail};
use serde::Serialize;

use vae::checkpoint::Contents;
use vae::checkpoint::contents::Entry;
use vae::escape::one_line;
use vae::latents::plates::sheet;
use vae::latents::safetensors::find_latents;
use vae::latents::summary::{BINS, Evidence};
use vae::latents::{Latents, LatentsError, Summary};
use vae::numbers::{column, grouped};
use vae::picture::Format;

use crate::cli::jobs::Job;
use crate::cli::output::Destination;
use crate::cli::ui::Ui;

/// The text lists this many tensors of a file without latents.
const MAX_LISTED: usize = 20;

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum LatentsReport<'a> {
    Latents {
        input: String,
        #[serde(flatten)]
        tensor: &'a Entry,
        metadata: &'a BTreeMap<String, String>,
        #[serde(flatten)]
        summary: Summary,
        #[serde(skip_serializing_if = "Option::is_none")]
        output: Option<String>,
    },
    Safetensors {
        input: String,
        parameters: usize,
        dtypes: Vec<&'a str>,
        #[serde(flatten)]
        contents: &'a Contents,
    },
}

/// Describes a safetensors file with these contents. `read` reads the latents, and is called if it has some.
pub fn inspect(
    job: &Job,
    contents: &Contents,
    read: impl FnOnce() -> Result<(String, Latents)>,
    ui: &Ui,
) -> Result<()> {
    let shapes: Vec<_> = contents.tensors.iter().map(|t| (t.name.as_str(), t.shape.as_slice())).collect();
    let latents = match find_latents(&shapes) {
        Ok(_) => read(),
        Err(e) => Err(e.into()),
    };
    let (name, latents) = match latents {
        Ok(found) => found,
        Err(other) => match other.downcast_ref() {
            Some(LatentsError::Tensor(reason)) if job.destination == Destination::Stdout => {
                return print_contents(job, contents, reason, ui);
            }
            _ => return Err(other),
        },
    };
    let Some(tensor) = contents.tensors.iter().find(|tensor| tensor.name == name) else {
        bail!("the header does not list `{name}`");
    };
    let output = match &job.destination {
        Destination::Named(path) => {
            let format = Format::from_path(path, 95).map_err(anyhow::Error::msg)?;
            job.destination.write(&sheet(&latents.tensor)?.to_file_bytes(format)?)?;
            job.destination.name()
        }
        _ => None,
    };
    let summary = Summary::of(&latents)?;
    let text = describe(&job.input.name(), tensor, contents, &summary)?;
    if let Some(output) = &output {
        ui.note(&format!("{} → {output}", job.input.name()));
    }
    let (input, metadata) = (job.input.name(), &contents.metadata);
    ui.print(&LatentsReport::Latents { input, tensor, metadata, summary, output }, &text)
}

fn describe(input: &str, tensor: &Entry, contents: &Contents, summary: &Summary) -> Result<String> {
    let mut text = format!("{}: latents\n", one_line(input));
    writeln!(text, "  tensor    {} {:?}, {}", one_line(&tensor.name), tensor.shape, tensor.dtype)?;
    let rms = summary.rms;
    let scaled = match (summary.scaled, summary.evidence) {
        (Some(true), Evidence::Metadata) => format!("yes, according to the metadata (rms {rms:.3})"),
        (Some(false), Evidence::Metadata) => format!("no, according to the metadata (rms {rms:.3})"),
        (Some(true), _) => format!("probably yes (rms {rms:.3}; scaled SD latents ≈ 1, unscaled ≈ 5.5)"),
        (Some(false), _) => format!("probably no (rms {rms:.3}; scaled SD latents ≈ 1, unscaled ≈ 5.5)"),
        (None, _) => format!("unknown (rms {rms:.3})"),
    };
    writeln!(text, "  scaled    {scaled}")?;
    for (i, (key, value)) in contents.metadata.iter().enumerate() {
        let label = if i == 0 { "metadata" } else { "" };
        writeln!(text, "  {label:<10}{}: {}", one_line(key), one_line(value))?;
    }
    writeln!(
        text,
        "  {:<8}{:>10}{:>10}{:>10}{:>10}{:>8}{:>8}  {:<BINS$}",
        "channel", "mean", "std", "min", "max", "NaN", "Inf", "min to max"
    )?;
    for (j, channel) in summary.channels.iter().enumerate() {
        let v = channel.values;
        let bars = bars(&channel.histogram);
        writeln!(
            text,
            "  {j:<8}{:>10}{:>10}{:>10}{:>10}{:>8}{:>8}  {bars}",
            column(v.mean),
            column(v.std),
            column(v.min.into()),
            column(v.max.into()),
            v.nan,
            v.inf
        )?;
    }
    Ok(text)
}

/// Draws a histogram in one line. Bins that are not empty have a visible bar.
fn bars(counts: &[usize]) -> String {
    const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let max = counts.iter().copied().max().unwrap_or(0).max(1);
    counts.iter().map(|count| BARS[(count * 8).div_ceil(max)]).collect()
}

/// Prints what a safetensors file without latents contains.
fn print_contents(job: &Job, contents: &Contents, reason: &str, ui: &Ui) -> Result<()> {
    let (dtypes, parameters) = (contents.dtypes(), contents.parameters());
    let name = one_line(&job.input.name());
    let mut text = format!("{name}: safetensors, but not latents: {reason}\n");
    writeln!(text, "  {}", totals(contents))?;
    for (key, value) in &contents.metadata {
        writeln!(text, "  {}: {}", one_line(key), one_line(value))?;
    }
    list(&mut text, contents, &name)?;
    let input = job.input.name();
    ui.print(&LatentsReport::Safetensors { input, parameters, dtypes, contents }, &text)
}

/// How many tensors and values a file has, and of which types.
pub fn totals(contents: &Contents) -> String {
    let (count, dtypes) = (contents.tensors.len(), contents.dtypes());
    let count = if count == 1 { "1 tensor".into() } else { format!("{count} tensors") };
    let types = if dtypes.is_empty() { String::new() } else { format!(", {}", dtypes.join(" and ")) };
    format!("{count}, {} values{types}", grouped(contents.parameters()))
}

/// Adds the first tensors of the file `name`, a line each.
pub fn list(text: &mut String, contents: &Contents, name: &str) -> Result<()> {
    let tensors = &contents.tensors;
    for tensor in tensors.iter().take(MAX_LISTED) {
        writeln!(text, "  {} {:?}, {}", one_line(&tensor.name), tensor.shape, tensor.dtype)?;
    }
    if tensors.len() > MAX_LISTED {
        writeln!(text, "  and {} more (listed by --json)", tensors.len() - MAX_LISTED)?;
    }
    if tensors.iter().any(|t| t.name == "encoder.conv_in.weight" || t.name == "decoder.conv_in.weight") {
        writeln!(text, "These look like VAE weights: `vae inspect --model {name}` prints the modules.")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bin_with_one_value_is_visible() {
        assert_eq!(bars(&[1, 0, 500, 1000, 1000]), "▁ ▄██");
        assert_eq!(bars(&[0, 0]), "  ");
    }
}

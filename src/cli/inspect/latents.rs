//! Latents: their numbers, and their channels as plates. Any other safetensors file: what it holds.

use std::fmt::Write;

use anyhow::{Result, bail};
use serde::Serialize;

use vae::checkpoint::Contents;
use vae::checkpoint::contents::Entry;
use vae::latents::plates::sheet;
use vae::latents::summary::Evidence;
use vae::latents::{Latents, LatentsError, Summary};
use vae::numbers::{column, grouped};
use vae::picture::Format;

use crate::cli::jobs::Job;
use crate::cli::output::Target;
use crate::cli::ui::Ui;

/// Tensors of a file without latents that people are shown.
const SHOWN: usize = 20;

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Record<'a> {
    Latents {
        input: String,
        #[serde(flatten)]
        tensor: &'a Entry,
        metadata: &'a std::collections::BTreeMap<String, String>,
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

pub fn inspect(job: &Job, bytes: &[u8], ui: &Ui) -> Result<()> {
    let contents = Contents::of_file(bytes).map_err(LatentsError::Format)?;
    let (name, latents) = match Latents::peek(bytes) {
        Ok(found) => found,
        Err(LatentsError::Tensor(reason)) if job.target == Target::Stdout => {
            return print_contents(job, &contents, &reason, ui);
        }
        Err(other) => return Err(other.into()),
    };
    let Some(tensor) = contents.tensors.iter().find(|tensor| tensor.name == name) else {
        bail!("its header does not list `{name}`");
    };
    let output = match &job.target {
        Target::Named(path) => {
            let format = Format::from_path(path, 95).map_err(anyhow::Error::msg)?;
            job.target.write(&sheet(&latents.tensor)?.to_file_bytes(format)?)?;
            Some(job.target.name())
        }
        _ => None,
    };
    let summary = Summary::of(&latents)?;
    let text = words(&job.input.name(), tensor, &contents, &summary)?;
    if let Some(output) = &output {
        ui.note(&format!("{} → {output}", job.input.name()));
    }
    let (input, metadata) = (job.input.name(), &contents.metadata);
    ui.print(&Record::Latents { input, tensor, metadata, summary, output }, &text)
}

fn words(input: &str, tensor: &Entry, contents: &Contents, summary: &Summary) -> Result<String> {
    let mut text = format!("{input}: latents\n");
    writeln!(text, "  tensor    {} {:?}, {}", tensor.name, tensor.shape, tensor.dtype)?;
    let told = match (summary.scaled, summary.evidence) {
        (Some(true), Evidence::Metadata) => "yes, its metadata say",
        (Some(false), Evidence::Metadata) => "no, its metadata say",
        (Some(true), _) => "it looks so: scaled latents of SD have an rms of about 1, unscaled ones of 5.5",
        (Some(false), _) => "it looks not: scaled latents of SD have an rms of about 1, unscaled ones of 5.5",
        (None, _) => "cannot be told",
    };
    writeln!(text, "  scaled    {told} (rms {:.3})", summary.rms)?;
    for (i, (key, value)) in contents.metadata.iter().enumerate() {
        writeln!(text, "  {:<10}{key}: {value}", if i == 0 { "metadata" } else { "" })?;
    }
    let bins = vae::latents::summary::BINS;
    writeln!(
        text,
        "  {:<8}{:>10}{:>10}{:>10}{:>10}{:>8}{:>8}  {:<bins$}",
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

/// A histogram of one line; what is not empty is seen.
fn bars(counts: &[usize]) -> String {
    const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = counts.iter().copied().max().unwrap_or(0).max(1);
    counts.iter().map(|count| BARS[(count * 8).div_ceil(most)]).collect()
}

fn print_contents(job: &Job, contents: &Contents, reason: &str, ui: &Ui) -> Result<()> {
    let (tensors, dtypes) = (&contents.tensors, contents.dtypes());
    let parameters = contents.parameters();
    let mut text = format!("{}: safetensors, but no latents: {reason}\n", job.input.name());
    writeln!(text, "  {} tensors, {} values, {}", tensors.len(), grouped(parameters), dtypes.join(" and "))?;
    for (key, value) in &contents.metadata {
        writeln!(text, "  {key}: {value}")?;
    }
    for tensor in tensors.iter().take(SHOWN) {
        writeln!(text, "  {} {:?}, {}", tensor.name, tensor.shape, tensor.dtype)?;
    }
    if tensors.len() > SHOWN {
        writeln!(text, "  and {} more, which --json lists", tensors.len() - SHOWN)?;
    }
    if tensors.iter().any(|t| t.name == "encoder.conv_in.weight" || t.name == "decoder.conv_in.weight") {
        let name = job.input.name();
        writeln!(text, "It looks like a VAE's weights: `vae inspect --model {name}` shows its modules.")?;
    }
    let input = job.input.name();
    ui.print(&Record::Safetensors { input, parameters, dtypes, contents }, &text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_value_is_seen_beside_many() {
        assert_eq!(bars(&[1, 0, 500, 1000, 1000]), "▁ ▄██");
        assert_eq!(bars(&[0, 0]), "  ");
    }
}

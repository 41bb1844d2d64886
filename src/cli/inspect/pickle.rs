//! Describes a pickle: its tensors, and the functions that Python would import, with the dangerous ones marked.

use std::fmt::Write;
use std::io::{Read, Seek, SeekFrom};

use anyhow::{Result, bail};
use serde::Serialize;

use vae::checkpoint::Contents;
use vae::checkpoint::pickle::{Container, Pickle};
use vae::escape::one_line;

use crate::cli::args::InspectArgs;
use crate::cli::jobs::Job;
use crate::cli::ui::Ui;

use super::latents::{list, totals};

#[derive(Serialize)]
struct PickleReport<'a> {
    input: String,
    kind: &'static str,
    globals: Vec<GlobalReport>,
    parameters: usize,
    dtypes: Vec<&'a str>,
    #[serde(flatten)]
    contents: &'a Contents,
    /// Why a file that names something dangerous has no tensors.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// A function or class that the file names.
#[derive(Serialize)]
struct GlobalReport {
    name: String,
    dangerous: bool,
}

/// Describes `file`. Nothing in it is executed.
pub fn inspect(
    args: &InspectArgs,
    job: &Job,
    mut file: impl Read + Seek,
    container: Container,
    ui: &Ui,
) -> Result<()> {
    if args.output.is_some() {
        bail!("-o writes the plates of latents, but this is not a safetensors file");
    }
    let len = file.seek(SeekFrom::End(0))?;
    file.rewind()?;
    let pickle = Pickle::read(file, len, container)?;
    let (contents, error) = match pickle.contents() {
        Ok(contents) => (contents, None),
        // What a file wants to run matters more than what is wrong with it.
        Err(reason) if pickle.dangerous().next().is_some() => (Contents::default(), Some(reason)),
        Err(reason) => bail!("cannot be read as a checkpoint of PyTorch: {reason}"),
    };
    let report = PickleReport {
        input: job.input.name(),
        kind: "pickle",
        globals: pickle
            .globals
            .iter()
            .map(|global| GlobalReport { name: global.to_string(), dangerous: global.is_dangerous() })
            .collect(),
        parameters: contents.parameters(),
        dtypes: contents.dtypes(),
        contents: &contents,
        error,
    };
    ui.print(&report, &describe(&report)?)
}

fn describe(report: &PickleReport) -> Result<String> {
    let PickleReport { contents, globals, .. } = report;
    let name = one_line(&report.input);
    let kind = if report.error.is_none() { "a checkpoint of PyTorch, which is a pickle" } else { "a pickle" };
    let mut text = format!("{name}: {kind}; nothing in it was executed\n");
    let names = |dangerous: bool| -> Vec<String> {
        let names = globals.iter().filter(|global| global.dangerous == dangerous);
        names.map(|global| one_line(&global.name)).collect()
    };
    if !names(true).is_empty() {
        writeln!(text, "  DANGEROUS: loading it in Python can run code with {}", names(true).join(", "))?;
    }
    if !names(false).is_empty() {
        writeln!(text, "  globals: {}", names(false).join(", "))?;
    }
    match &report.error {
        Some(reason) => writeln!(text, "  no tensors: {}", one_line(reason))?,
        None => writeln!(text, "  {}", totals(contents))?,
    }
    list(&mut text, contents, &name)?;
    Ok(text)
}

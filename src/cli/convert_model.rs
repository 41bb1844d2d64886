//! `vae convert-model`: writes the VAE of a model as a new file, or as a folder for diffusers.

use std::fs;
use std::io::{IsTerminal, Write, stdout};
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use serde::Serialize;

use vae::checkpoint::convert::{Conversion, ConvertError, Layout, config_json};
use vae::checkpoint::{Checkpoint, Variant};
use vae::numbers::grouped;

use super::args::ConvertModelArgs;
use super::failure::Failure;
use super::hub::{check_options, hub, open};
use super::output::Destination;
use super::paths::{FileId, folder_of, shown};
use super::temporary::remove_leftovers;
use super::ui::{StdoutClosed, Ui};

const WEIGHTS: &str = "diffusion_pytorch_model.safetensors";

/// What was written.
#[derive(Serialize)]
struct ConvertReport<'a> {
    kind: &'static str,
    model: &'a str,
    output: String,
    layout: &'static str,
    tensors: usize,
    /// Bytes of the values.
    bytes: u64,
    /// Tensors of the checkpoint that are not in the output.
    left_out: usize,
}

/// Where the result goes.
enum Target<'a> {
    /// One file, or stdout.
    File(Destination),
    /// A new folder in the layout of diffusers.
    Folder(&'a Path),
}

pub fn run(args: &ConvertModelArgs, ui: &Ui) -> Result<(), Failure> {
    let target = target(args, ui)?;
    let revision = args.revision.as_deref();
    check_options(&args.model, revision, args.refresh)?;
    let (hub, overrides) = (hub(args.refresh, ui), args.scaling.overrides());
    let checkpoint = open(&args.model, revision, Variant::Full, &hub, &overrides, ui)?;
    if let Some(id) = FileId::of(&args.output)
        && checkpoint.weights().path().and_then(FileId::of) == Some(id)
    {
        let name = shown(&args.output);
        return Err(Failure::Usage(format!("the output {name} is the model itself: use another -o")));
    }
    let conversion = Conversion::new(&checkpoint, args.layout.layout(), args.dtype.map(|d| d.dtype()))
        .map_err(|e| Failure::Model(e.into()))?;
    let output = match &target {
        Target::File(destination) => {
            write_file(&conversion, destination, false)?;
            destination.name().unwrap_or_default()
        }
        Target::Folder(folder) => {
            let has = |half: &str| checkpoint.tensors().stored().keys().any(|name| name.starts_with(half));
            if !(has("encoder.") && has("decoder.")) {
                let message = "the model has only one half, and diffusers would fill the other with random numbers: write one \
                               file with -o NAME.safetensors";
                return Err(Failure::Model(anyhow!(message)));
            }
            let config = config_json(&checkpoint).map_err(|e| Failure::Model(e.into()))?;
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot create the folder {}", shown(folder)))
                .map_err(Failure::Output)?;
            write_file(&conversion, &Destination::Named(folder.join(WEIGHTS)), true).inspect_err(|_| {
                let _ = fs::remove_dir(folder); // it is empty
            })?;
            // The config comes last: a folder without it is not taken for a model.
            let path = Destination::Named(folder.join("config.json"));
            path.write(config.as_bytes()).map_err(Failure::Output)?;
            shown(folder)
        }
    };
    report(args, &checkpoint, &conversion, output, ui)
}

/// Checks the output. Only a file of this name is replaced, and a folder must be new.
fn target<'a>(args: &'a ConvertModelArgs, ui: &Ui) -> Result<Target<'a>, Failure> {
    let usage = |message: String| Err(Failure::Usage(message));
    let path = args.output.as_path();
    if path == Path::new("-") {
        return match ui.json() {
            true => usage("-o - and --json both write to stdout: name a file with -o".into()),
            false if stdout().is_terminal() => {
                usage("stdout is a terminal: redirect it, or name a file with -o".into())
            }
            false => Ok(Target::File(Destination::Stdout)),
        };
    }
    let name = shown(path);
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
    match extension.as_deref() {
        Some("safetensors" | "sft") if !path.is_dir() => Ok(Target::File(Destination::Named(path.into()))),
        Some(other @ ("ckpt" | "pt" | "pth" | "bin" | "gguf" | "onnx" | "json" | "npz")) => usage(format!(
            "{name}: .{other} files are not written; name a .safetensors file or a new folder with -o"
        )),
        _ if path.exists() && !is_empty_folder(path) => {
            usage(format!("{name} exists already; name a .safetensors file or a new folder with -o"))
        }
        _ if args.layout.layout() != Layout::Diffusers => usage(format!(
            "{name} is a folder for diffusers, which reads only its own names; name a .safetensors file with -o, or leave out \
             --layout"
        )),
        _ => Ok(Target::Folder(path)),
    }
}

fn is_empty_folder(path: &Path) -> bool {
    fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
}

fn write_file(conversion: &Conversion, destination: &Destination, has_config: bool) -> Result<(), Failure> {
    destination.path().map(folder_of).into_iter().for_each(remove_leftovers);
    let content = |to: &mut dyn Write| -> Result<()> { Ok(conversion.write(has_config, to)?) };
    destination.write_by(content).map_err(|e| failure(e, destination))
}

/// A tensor that cannot be converted is a fault of the model, anything else of the output.
fn failure(error: anyhow::Error, destination: &Destination) -> Failure {
    match error.downcast_ref() {
        Some(ConvertError::Write(e)) if e.get_ref().is_some_and(|e| e.is::<StdoutClosed>()) => {
            Failure::Output(StdoutClosed.into())
        }
        Some(ConvertError::Write(_)) | None => {
            Failure::Output(error.context(format!("cannot write {}", destination.name().unwrap_or_default())))
        }
        Some(_) => Failure::Model(error),
    }
}

fn report(
    args: &ConvertModelArgs,
    checkpoint: &Checkpoint,
    conversion: &Conversion,
    output: String,
    ui: &Ui,
) -> Result<(), Failure> {
    let model = &checkpoint.origin().model;
    let (tensors, bytes, left_out) = (conversion.tensors(), conversion.bytes(), conversion.left_out());
    let others = match left_out {
        0 => String::new(),
        n => format!(", without {} others of the checkpoint", grouped(n)),
    };
    let megabytes = bytes as f64 / 1e6;
    ui.note(&format!("{model} → {output}  {tensors} tensors, {megabytes:.1} MB{others}"));
    let layout = match args.layout.layout() {
        Layout::Diffusers => "diffusers",
        Layout::Ldm => "ldm",
    };
    let report = ConvertReport { kind: "conversion", model, output, layout, tensors, bytes, left_out };
    ui.object(&report).map_err(Failure::Output)
}

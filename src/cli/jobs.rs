//! Pairs inputs with destinations, and runs a command on each pair.

use std::collections::HashMap;
use std::fs;
use std::io::{Read, stdin};
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::args::OutputArgs;
use super::failure::Failure;
use super::message::message;
use super::output::Destination;
use super::record::Record;
use super::ui::Ui;

/// Where one input comes from.
#[derive(Debug, Clone)]
pub enum Input {
    /// A file.
    File(PathBuf),
    /// Standard input.
    Stdin,
    /// The built-in sample picture.
    Sample,
}

impl Input {
    /// Returns the file at `path`, or standard input for `-`.
    pub fn new(path: &Path) -> Self {
        if path == Path::new("-") { Self::Stdin } else { Self::File(path.to_path_buf()) }
    }

    /// Returns the name that messages and JSON use.
    pub fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Stdin => "-".into(),
            Self::Sample => "sample".into(),
        }
    }

    /// Returns the name without folder and extension, from which output names are formed.
    fn stem(&self) -> String {
        match self {
            Self::File(path) => path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            Self::Stdin => "stdin".into(),
            Self::Sample => "sample".into(),
        }
    }

    /// Reads the whole input.
    pub fn bytes(&self) -> Result<Vec<u8>> {
        match self {
            Self::File(path) if path.is_dir() => bail!("this is a folder: name the files in it"),
            Self::File(path) => Ok(fs::read(path)?),
            Self::Stdin => {
                let mut bytes = Vec::new();
                stdin().lock().read_to_end(&mut bytes)?;
                Ok(bytes)
            }
            Self::Sample => Ok(vae::picture::SAMPLE_PNG.to_vec()),
        }
    }
}

/// One input and the destination of its result.
#[derive(Debug)]
pub struct Job {
    pub input: Input,
    pub destination: Destination,
}

/// How results are named by default.
pub struct Naming {
    /// For a single input.
    pub alone: fn(stem: &str) -> String,
    /// In `--out-dir`.
    pub in_folder: fn(stem: &str) -> String,
}

/// Pairs every input with its destination. Creates the folder of `--out-dir`, and reads no input.
///
/// Without inputs, the sample picture is used.
pub fn plan(inputs: &[PathBuf], output: &OutputArgs, naming: &Naming, ui: &Ui) -> Result<Vec<Job>, Failure> {
    let inputs = match inputs {
        [] => vec![Input::Sample],
        paths => self::inputs(paths)?,
    };
    if let Some(folder) = &output.out_dir {
        return plan_folder(inputs, folder, output.overwrite, naming);
    }
    let [input] = <[Input; 1]>::try_from(inputs)
        .map_err(|all| Failure::Usage(format!("{} inputs need --out-dir DIR", all.len())))?;
    let destination = match &output.output {
        Some(path) => named_destination(path, std::slice::from_ref(&input), ui)?,
        None => Destination::fresh(Path::new(&(naming.alone)(&input.stem()))),
    };
    Ok(vec![Job { input, destination }])
}

/// Returns the inputs at `paths`, of which only one may be stdin.
pub fn inputs(paths: &[PathBuf]) -> Result<Vec<Input>, Failure> {
    let inputs: Vec<Input> = paths.iter().map(|p| Input::new(p)).collect();
    if inputs.iter().filter(|i| matches!(i, Input::Stdin)).count() > 1 {
        return Err(Failure::Usage("`-` (stdin) can be given only once".into()));
    }
    Ok(inputs)
}

/// Returns the destination that the user named for the result of `inputs`.
pub fn named_destination(path: &Path, inputs: &[Input], ui: &Ui) -> Result<Destination, Failure> {
    if path != Path::new("-") {
        for input in inputs {
            check_output_path(path, input)?;
        }
        return Ok(Destination::Named(path.to_path_buf()));
    }
    if ui.json() {
        return Err(Failure::Usage("-o - and --json both write to stdout: name a file with -o".into()));
    }
    Ok(Destination::Stdout)
}

fn plan_folder(
    inputs: Vec<Input>,
    folder: &Path,
    overwrite: bool,
    naming: &Naming,
) -> Result<Vec<Job>, Failure> {
    fs::create_dir_all(folder)
        .map_err(|e| Failure::Usage(format!("cannot create the folder {}: {e}", folder.display())))?;
    let destination = if overwrite { Destination::Named } else { Destination::Kept };
    let mut owners: HashMap<PathBuf, String> = HashMap::new();
    let mut jobs = Vec::with_capacity(inputs.len());
    for input in inputs {
        let path = folder.join((naming.in_folder)(&input.stem()));
        if let Some(other) = owners.insert(path.clone(), input.name()) {
            return Err(Failure::Usage(format!(
                "{other} and {} have the same output, {}: rename one, or run the command once for each with different --out-dir",
                input.name(),
                path.display()
            )));
        }
        jobs.push(Job { input, destination: destination(path) });
    }
    Ok(jobs)
}

/// Fails early if the folder of an output is missing, or if the output would overwrite the input.
fn check_output_path(path: &Path, input: &Input) -> Result<(), Failure> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if path.is_dir() {
        return Err(Failure::Usage(format!("{} is a folder: use --out-dir", path.display())));
    }
    if !folder.is_dir() {
        return Err(Failure::Usage(format!("the output folder {} does not exist", folder.display())));
    }
    if let (Input::File(input), Ok(output)) = (input, fs::canonicalize(path))
        && fs::canonicalize(input).is_ok_and(|input| input == output)
        && output.is_file()
    {
        return Err(Failure::Usage(format!("{} is the input: name another output", path.display())));
    }
    Ok(())
}

/// The error of an input whose record has been printed already.
#[derive(Debug, thiserror::Error)]
#[error("already reported")]
pub struct AlreadyReported;

/// Runs `work` on every job. If an input fails, reports the error and continues with the next.
///
/// `work` reports its own result. If its error is a [`Failure`], such as a missing model, the run ends.
pub fn run(jobs: &[Job], ui: &Ui, mut work: impl FnMut(&Job) -> Result<()>) -> Result<(), Failure> {
    let mut failed = Vec::new();
    for job in jobs {
        let input = job.input.name();
        ui.start(&input);
        if let Err(error) = work(job) {
            let error = error.downcast::<Failure>().map_or_else(Ok, Err)?;
            if !error.is::<AlreadyReported>() {
                let error = Some(message(&error));
                let record = Record { input: input.clone(), error, ..Record::default() };
                ui.report(&record).map_err(Failure::Output)?;
            }
            failed.push(input);
        }
        ui.step();
    }
    ui.finish();
    if failed.is_empty() { Ok(()) } else { Err(Failure::Inputs { failed, of: jobs.len() }) }
}

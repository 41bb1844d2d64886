//! Inputs → outputs: what the results are called, what may be replaced, and the loop over many.

use std::collections::HashMap;
use std::fs;
use std::io::{Read, stdin};
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use vae::picture::{Background, Picture};

use super::args::OutputArgs;
use super::failure::Failure;
use super::output::Target;
use super::record::Record;
use super::ui::Ui;

/// Something to read.
#[derive(Debug, Clone)]
pub enum Input {
    /// A file.
    File(PathBuf),
    /// Standard input.
    Stdin,
    /// The picture that comes with the program.
    Sample,
}

impl Input {
    /// The file at `path`; `-` is standard input.
    pub fn new(path: &Path) -> Self {
        if path == Path::new("-") { Self::Stdin } else { Self::File(path.to_path_buf()) }
    }

    /// What people call it.
    pub fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Stdin => "-".into(),
            Self::Sample => "sample".into(),
        }
    }

    /// The name without folder and extension, for results to be named after.
    fn stem(&self) -> String {
        match self {
            Self::File(path) => path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            Self::Stdin => "stdin".into(),
            Self::Sample => "sample".into(),
        }
    }

    /// All of its bytes.
    pub fn bytes(&self) -> Result<Vec<u8>> {
        match self {
            Self::File(path) if path.is_dir() => bail!("it is a folder: name the files in it"),
            Self::File(path) => Ok(fs::read(path)?),
            Self::Stdin => {
                let mut bytes = Vec::new();
                stdin().lock().read_to_end(&mut bytes)?;
                Ok(bytes)
            }
            Self::Sample => Ok(vae::picture::SAMPLE_PNG.to_vec()),
        }
    }

    /// Its bytes as a picture.
    pub fn picture(&self, background: Background) -> Result<Picture> {
        Ok(Picture::from_bytes(&self.bytes()?, background)?)
    }
}

/// One input and the place for its result.
#[derive(Debug)]
pub struct Job {
    pub input: Input,
    pub target: Target,
}

/// What results are called where the user does not say.
pub struct Naming {
    /// For a single input.
    pub alone: fn(stem: &str) -> String,
    /// In `--out-dir`.
    pub in_folder: fn(stem: &str) -> String,
}

/// Pairs every input with its target. Nothing is read or written but a missing `--out-dir` made.
///
/// No inputs at all stand for the sample picture.
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
    let target = match &output.output {
        Some(path) => named(path, std::slice::from_ref(&input), ui)?,
        None => Target::Fresh(free_name(Path::new(&(naming.alone)(&input.stem())))),
    };
    Ok(vec![Job { input, target }])
}

/// What is to be read.
pub fn inputs(paths: &[PathBuf]) -> Result<Vec<Input>, Failure> {
    let inputs: Vec<Input> = paths.iter().map(|p| Input::new(p)).collect();
    if inputs.iter().filter(|i| matches!(i, Input::Stdin)).count() > 1 {
        return Err(Failure::Usage("`-` (stdin) can be read only once".into()));
    }
    Ok(inputs)
}

/// The target that the user named for what becomes of `inputs`.
pub fn named(path: &Path, inputs: &[Input], ui: &Ui) -> Result<Target, Failure> {
    if path != Path::new("-") {
        for input in inputs {
            check_place(path, input)?;
        }
        return Ok(Target::Named(path.to_path_buf()));
    }
    if ui.json() {
        return Err(Failure::Usage("-o - and --json both want stdout: name a file with -o".into()));
    }
    Ok(Target::Stdout)
}

fn plan_folder(
    inputs: Vec<Input>,
    folder: &Path,
    overwrite: bool,
    naming: &Naming,
) -> Result<Vec<Job>, Failure> {
    fs::create_dir_all(folder)
        .map_err(|e| Failure::Usage(format!("cannot make the folder {}: {e}", folder.display())))?;
    let mut owners: HashMap<PathBuf, String> = HashMap::new();
    let mut jobs = Vec::with_capacity(inputs.len());
    for input in inputs {
        let path = folder.join((naming.in_folder)(&input.stem()));
        if let Some(other) = owners.insert(path.clone(), input.name()) {
            return Err(Failure::Usage(format!(
                "{other} and {} would both become {}: write them into two folders",
                input.name(),
                path.display()
            )));
        }
        jobs.push(Job { input, target: if overwrite { Target::Named(path) } else { Target::Kept(path) } });
    }
    Ok(jobs)
}

/// A named output must have a folder to be in; better said before a minute of work than after it.
/// And it must not be the input: a picture is not given up for its latents.
fn check_place(path: &Path, input: &Input) -> Result<(), Failure> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if path.is_dir() {
        return Err(Failure::Usage(format!("{} is a folder: use --out-dir", path.display())));
    }
    if !folder.is_dir() {
        return Err(Failure::Usage(format!("there is no folder {} to write into", folder.display())));
    }
    if let (Input::File(input), Ok(place)) = (input, fs::canonicalize(path))
        && fs::canonicalize(input).is_ok_and(|input| input == place)
        && place.is_file()
    {
        return Err(Failure::Usage(format!("{} is the input: name another output", path.display())));
    }
    Ok(())
}

/// `path`, or `name-1.ext`, `name-2.ext` and so on: the first that is not there.
pub fn free_name(path: &Path) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let extension = path.extension().unwrap_or_default().to_string_lossy().into_owned();
    let numbered = |i: usize| path.with_file_name(format!("{stem}-{i}.{extension}"));
    if !path.exists() {
        return path.to_path_buf();
    }
    (1..).map(numbered).find(|p| !p.exists()).expect("there are more numbers than files")
}

/// An input that failed, and whose record says so already.
#[derive(Debug, thiserror::Error)]
#[error("reported already")]
pub struct Reported;

/// Works through the jobs; an input that fails is reported, and the rest goes on.
///
/// `work` reports what it did. A [`Failure`] in it (no model, a wrong option) ends the run.
pub fn run(jobs: &[Job], ui: &Ui, mut work: impl FnMut(&Job) -> Result<()>) -> Result<(), Failure> {
    let mut failed = Vec::new();
    for job in jobs {
        let input = job.input.name();
        ui.start(&input);
        if let Err(error) = work(job) {
            let error = error.downcast::<Failure>().map_or_else(Ok, Err)?;
            if !error.is::<Reported>() {
                let error = Some(format!("{error:#}"));
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

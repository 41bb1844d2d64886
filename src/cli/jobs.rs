//! Pairs inputs with destinations, and runs a command on each pair.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, IsTerminal, stdin};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};

use super::args::OutputArgs;
use super::collisions;
use super::failure::{Failure, Tally};
use super::input::InputBytes;
use super::interrupt;
use super::message::message;
use super::output::{Destination, FolderError};
use super::paths::{FileId, folder_of, shown};
use super::read::{Wanted, read};
use super::record::Record;
use super::temporary::{Claim, end_last_claim, remove_leftovers};
use super::ui::{StdoutClosed, Ui};

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
            Self::File(path) => shown(path),
            Self::Stdin => "-".into(),
            Self::Sample => "sample".into(),
        }
    }

    /// Returns the file, if it is one.
    pub fn path(&self) -> Option<&Path> {
        if let Self::File(path) = self { Some(path) } else { None }
    }

    /// Returns the name without folder and extension, from which output names are formed.
    pub fn stem(&self) -> OsString {
        match self {
            Self::File(path) => path.file_stem().unwrap_or_default().to_os_string(),
            Self::Stdin => "stdin".into(),
            Self::Sample => "sample".into(),
        }
    }

    /// Reads the whole input, or the start of what is not `wanted`.
    ///
    /// # Errors
    /// If it cannot be read, is larger than a picture can be, or does not fit into memory.
    pub fn bytes(&self, wanted: Wanted) -> Result<Vec<u8>> {
        match self {
            Self::File(path) if path.is_dir() => bail!("this is a folder: name the files in it"),
            Self::File(path) => {
                let file = File::open(path)?;
                let length = file.metadata()?.len();
                read(file, length, wanted)
            }
            Self::Stdin => read(stdin().lock(), 0, wanted),
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
    /// For a single input: this name, or as in `--out-dir`.
    pub alone: Option<&'static str>,
    /// In `--out-dir`: what follows the stem of the input.
    pub suffix: &'static str,
    /// The number of pictures that come of an input file, and so of outputs.
    pub pictures: fn(&Path) -> usize,
}

impl Naming {
    /// Returns the name in `--out-dir`.
    fn in_folder(&self, input: &Input) -> OsString {
        let mut name = input.stem();
        name.push(self.suffix);
        name
    }
}

/// Pairs every input with its destination. Creates the folder of `--out-dir`, and reads no input, apart from headers.
/// Removes what killed runs have left in the output folder.
///
/// Without inputs, the sample picture is used.
///
/// # Errors
/// [`Failure::Usage`] if outputs are missing, [`Failure::Collisions`] if two are the same file, or one is an input that would
/// be replaced, and [`Failure::Output`] if the folder cannot be created.
pub fn plan(inputs: &[PathBuf], output: &OutputArgs, naming: &Naming, ui: &Ui) -> Result<Vec<Job>, Failure> {
    let inputs = match inputs {
        [] => vec![Input::Sample],
        paths => self::inputs(paths)?,
    };
    let is_new = output.out_dir.as_ref().filter(|folder| !folder.exists());
    let jobs = match &output.out_dir {
        Some(folder) => plan_folder(inputs, folder, output.overwrite, naming)?,
        None => vec![plan_single(inputs, output, naming, ui)?],
    };
    collisions::check(&jobs, naming.pictures).inspect_err(|_| {
        is_new.map(fs::remove_dir); // only the new folder, which is empty
    })?;
    if let Some(path) = jobs.first().and_then(|job| job.destination.path()) {
        remove_leftovers(folder_of(path));
    }
    Ok(jobs)
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
    if io::stdout().is_terminal() {
        let message = "stdout is a terminal and the result is binary: redirect it, or name a file with -o";
        return Err(Failure::Usage(message.into()));
    }
    Ok(Destination::Stdout)
}

fn plan_single(inputs: Vec<Input>, output: &OutputArgs, naming: &Naming, ui: &Ui) -> Result<Job, Failure> {
    let [input] = <[Input; 1]>::try_from(inputs)
        .map_err(|all| Failure::Usage(format!("{} inputs need --out-dir DIR", all.len())))?;
    let destination = match (&output.output, naming.alone) {
        (Some(path), _) => named_destination(path, std::slice::from_ref(&input), ui)?,
        (None, Some(name)) => Destination::fresh(Path::new(name)),
        (None, None) => Destination::fresh(Path::new(&naming.in_folder(&input))),
    };
    Ok(Job { input, destination })
}

fn plan_folder(
    inputs: Vec<Input>,
    folder: &Path,
    overwrite: bool,
    naming: &Naming,
) -> Result<Vec<Job>, Failure> {
    fs::create_dir_all(folder)
        .map_err(|e| Failure::Output(anyhow!("cannot create the folder {}: {e}", shown(folder))))?;
    let destination = if overwrite { Destination::Named } else { Destination::Kept };
    let job = |input: Input| {
        let path = folder.join(naming.in_folder(&input));
        Job { input, destination: destination(path) }
    };
    Ok(inputs.into_iter().map(job).collect())
}

/// Fails early if the folder of an output is missing, or if the output would overwrite the input.
fn check_output_path(path: &Path, input: &Input) -> Result<(), Failure> {
    let folder = folder_of(path);
    if path.is_dir() {
        return Err(Failure::Usage(format!("{} is a folder: use --out-dir", shown(path))));
    }
    if !folder.is_dir() {
        return Err(Failure::Usage(format!("the output folder {} does not exist", shown(folder))));
    }
    let input = input.path().and_then(FileId::of);
    if input.is_some() && input == FileId::of(path) {
        return Err(Failure::Usage(format!("{} is the input: name another output", shown(path))));
    }
    Ok(())
}

/// The error of an input whose record has been printed already.
#[derive(Debug, thiserror::Error)]
#[error("already reported")]
pub struct AlreadyReported;

/// The error of a job that another process works on.
#[derive(Debug, thiserror::Error)]
#[error("another process works on it")]
struct Busy;

/// When a job's turn is. A job that another process works on is left for the end, when its output usually exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// In the order of the inputs.
    First,
    /// At the end. Now the job waits for the other process.
    Last,
}

impl Turn {
    /// How often a job that waits is planned again.
    const PATIENCE: Duration = Duration::from_millis(50);

    /// Plans a job. If its plan is not that everything is done, claims its output, and then plans it again, because another process
    /// may have done it meanwhile.
    ///
    /// A claim that another process has ended can still look like one. So a job that waits does not wait for the claim
    /// alone, but is planned again and again.
    pub fn plan<P>(
        self,
        job: &Job,
        bytes: &mut InputBytes,
        mut plan: impl FnMut(&mut InputBytes) -> Result<P>,
        is_done: impl Fn(&P) -> bool,
    ) -> Result<(P, Claim)> {
        loop {
            let planned = plan(bytes)?;
            if is_done(&planned) {
                end_last_claim();
                return Ok((planned, Claim::none()));
            }
            match job.destination.claim()? {
                Some(claim) => {
                    let planned = plan(bytes)?;
                    if !is_done(&planned) {
                        return Ok((planned, claim));
                    }
                }
                None if self == Self::First && bytes.can_be_read_again() => return Err(Busy.into()),
                None => thread::sleep(Self::PATIENCE),
            }
        }
    }
}

/// Runs `work` on every job. If an input fails, reports the error and continues with the next.
///
/// `work` plans its job with [`Turn::plan`], and reports its own result. The run ends early if its error is a [`Failure`], such as a missing model, or if the
/// output folder takes no more files.
pub fn run(jobs: &[Job], ui: &Ui, mut work: impl FnMut(&Job, Turn) -> Result<()>) -> Result<(), Failure> {
    let resumes = jobs.iter().any(|job| matches!(job.destination, Destination::Kept(_)));
    *interrupt::tally() = Tally { of: jobs.len(), resumes, ..Tally::EMPTY };
    let mut failed = Vec::new();
    let mut queue: Vec<&Job> = jobs.iter().collect();
    for turn in [Turn::First, Turn::Last] {
        if turn == Turn::Last && !queue.is_empty() {
            ui.note(&format!(
                "note: waiting for other processes, which work on {} of the inputs",
                queue.len()
            ));
        }
        let mut busy = Vec::new();
        for job in queue {
            ui.start(&job.input.name());
            match work(job, turn) {
                Ok(()) => interrupt::tally().done += 1,
                Err(error) if error.is::<Busy>() => {
                    busy.push(job);
                    continue;
                }
                Err(error) => {
                    let error = report(job, error, ui);
                    end_last_claim(); // its output does not exist, so that other processes wait for the claim
                    interrupt::tally().failed += 1;
                    failed.push(job.input.name());
                    end_early(error)?;
                }
            }
            ui.step();
        }
        queue = busy;
    }
    ui.finish();
    if failed.is_empty() { Ok(()) } else { Err(Failure::Inputs { failed, of: jobs.len() }) }
}

/// Reports an error of one input, unless it ends the run by itself. Returns it, or the error of the report.
fn report(job: &Job, error: anyhow::Error, ui: &Ui) -> anyhow::Error {
    if error.is::<Failure>() || error.is::<StdoutClosed>() || error.is::<AlreadyReported>() {
        return error;
    }
    let record = Record { input: job.input.name(), error: Some(message(&error)), ..Record::default() };
    ui.report(&record).map_or_else(|e| Failure::Output(e).into(), |()| error)
}

/// Fails if an error ends the run. It has been reported unless it is a [`Failure`].
fn end_early(error: anyhow::Error) -> Result<(), Failure> {
    if error.is::<StdoutClosed>() {
        return Err(Failure::Output(error));
    }
    if error.is::<FolderError>() {
        return Err(Failure::Stopped(*interrupt::tally()));
    }
    error.downcast::<Failure>().map_or(Ok(()), Err)
}

//! The terminal: messages and progress on stderr, results on stdout.

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use vae::escape;

use super::args::Verbosity;
use super::record::Record;

/// The user's terminal.
pub struct Ui {
    quiet: bool,
    verbose: bool,
    json: bool,
    bar: ProgressBar,
}

impl Ui {
    pub fn new(verbosity: &Verbosity) -> Self {
        let &Verbosity { quiet, verbose, json } = verbosity;
        Self { quiet, verbose, json, bar: ProgressBar::hidden() }
    }

    /// Whether JSON goes to stdout.
    pub fn json(&self) -> bool {
        self.json
    }

    /// Whether progress is shown.
    pub fn shows_progress(&self) -> bool {
        !self.quiet
    }

    /// Returns the same terminal with a progress bar for many inputs, or with a spinner for one.
    pub fn with_bar(&self, inputs: usize) -> Self {
        let (bar, template) = match (self.quiet, inputs) {
            (true, _) => (ProgressBar::hidden(), ""),
            (_, 1) => (ProgressBar::new_spinner(), "{spinner} {msg} {elapsed}"),
            _ => (ProgressBar::new(inputs as u64), "{bar:30} {pos}/{len}  {msg}  {elapsed}, {eta} left"),
        };
        let bar = bar.with_style(ProgressStyle::with_template(template).expect("a valid template"));
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar, ..*self }
    }

    /// Shows the input that is being processed.
    pub fn start(&self, input: &str) {
        self.bar.set_message(escape::one_line(input));
    }

    /// Advances the progress bar by one input.
    pub fn step(&self) {
        self.bar.inc(1);
    }

    /// Removes the progress bar.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }

    /// Runs `work` with the progress bar hidden, so that `work` may write to the terminal.
    pub fn suspend<T>(&self, work: impl FnOnce() -> T) -> T {
        self.bar.suspend(work)
    }

    /// Prints a message of one line to stderr, unless -q is given.
    pub fn note(&self, message: &str) {
        if !self.quiet {
            self.suspend(|| write_stderr(message));
        }
    }

    /// Prints a message of one line to stderr, if -v is given.
    pub fn detail(&self, message: &str) {
        if self.verbose {
            self.note(message);
        }
    }

    /// Prints a line of a table that was asked for to stderr, also with -q.
    pub fn row(&self, line: &str) {
        self.suspend(|| write_stderr(line));
    }

    /// Prints a result to stdout: `result` as a line of JSON with `--json`, and `text` otherwise. `text` has lines of its
    /// own, so names in it must be escaped already.
    pub fn print(&self, result: &impl Serialize, text: &str) -> Result<()> {
        if self.json {
            self.object(result)
        } else {
            write_stdout((escape::lines(text.trim_end()) + "\n").as_bytes())
        }
    }

    /// Prints `result` to stdout as a line of JSON, if `--json` is given.
    pub fn object(&self, result: &impl Serialize) -> Result<()> {
        if self.json {
            let line = serde_json::to_string(result)? + "\n";
            self.suspend(|| write_stdout(line.as_bytes()))?;
        }
        Ok(())
    }

    /// Reports the result of one input.
    pub fn report(&self, record: &Record) -> Result<()> {
        for warning in &record.warnings {
            self.note(&format!("warning: {}: {warning}", record.input));
        }
        match &record.output {
            Some(output) if record.skipped => {
                let why = match record.checked {
                    true => "already made from this input with these settings",
                    false => "already exists, kept",
                };
                self.note(&format!("{} → {output}: {why}", record.input));
            }
            None if record.error.is_some() => {}
            _ => record.lines(self.verbose).iter().for_each(|line| self.note(line)),
        }
        if let Some(error) = &record.error {
            self.suspend(|| write_stderr(&format!("error: {}: {error}", record.input)));
        }
        self.object(record)
    }
}

/// Prints a message of one line to stderr. Errors are ignored, so that a closed stderr does not stop the run.
pub fn write_stderr(message: &str) {
    let line = escape::one_line(message.trim_end()) + "\n";
    let _ = io::stderr().write_all(line.as_bytes());
}

/// The error of a stdout whose reader has gone, such as `head`. The run ends quietly.
#[derive(Debug, thiserror::Error)]
#[error("stdout is closed")]
pub struct StdoutClosed;

/// Writes to stdout. Refuses to write binary data to a terminal.
///
/// # Errors
/// [`StdoutClosed`] among others.
pub fn write_stdout(bytes: &[u8]) -> Result<()> {
    let mut stdout = io::stdout().lock();
    if stdout.is_terminal() && std::str::from_utf8(bytes).is_err() {
        bail!("stdout is a terminal and the result is binary: redirect it, or name a file with -o");
    }
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Err(StdoutClosed.into()),
        result => result.context("cannot write stdout"),
    }
}

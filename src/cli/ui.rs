//! The terminal: messages and progress on stderr, results on stdout.

use std::time::Duration;

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::args::Verbosity;
use super::record::Record;
use super::streams::{escaped, write_stderr, write_stdout};

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
        let bar = match (self.quiet, inputs) {
            (true, _) => ProgressBar::hidden(),
            (_, 1) => ProgressBar::new_spinner().with_style(
                ProgressStyle::with_template("{spinner} {msg} {elapsed}").expect("a valid template"),
            ),
            _ => ProgressBar::new(inputs as u64).with_style(
                ProgressStyle::with_template("{bar:30} {pos}/{len}  {msg}  {elapsed}, {eta} to go")
                    .expect("a valid template"),
            ),
        };
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar, ..*self }
    }

    /// Shows the input that is being processed.
    pub fn start(&self, input: &str) {
        self.bar.set_message(input.to_string());
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

    /// Prints a message to stderr, unless -q is given.
    pub fn note(&self, message: &str) {
        if !self.quiet {
            self.suspend(|| write_stderr(message));
        }
    }

    /// Prints a result to stdout: `result` as a line of JSON with `--json`, and `text` otherwise.
    pub fn print(&self, result: &impl Serialize, text: &str) -> Result<()> {
        if self.json { self.object(result) } else { write_stdout(escaped(text).as_bytes()) }
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
        match &record.output {
            Some(output) if record.skipped => {
                self.note(&format!("{} → {output}: exists already, kept", record.input));
            }
            None if record.error.is_some() => {}
            _ => self.note(&record.line(self.verbose)),
        }
        if let Some(error) = &record.error {
            self.suspend(|| write_stderr(&format!("error: {}: {error}", record.input)));
        }
        self.object(record)
    }
}

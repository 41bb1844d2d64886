//! The errors that end a run, and their exit codes.

use std::process::ExitCode;

use super::message::message;
use super::ui::write_stderr;

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Some inputs failed. Each has been reported, and all others are done.
    #[error("{} of {of} inputs failed: {}", failed.len(), failed.join(", "))]
    Inputs {
        /// The inputs that failed.
        failed: Vec<String>,
        /// The number of all inputs.
        of: usize,
    },
    /// The command line is invalid.
    #[error("{0}")]
    Usage(String),
    /// The model could not be loaded.
    #[error("{}", message(.0))]
    Model(anyhow::Error),
    /// This machine or this build computes wrong results.
    #[error("{0}")]
    SelfTest(String),
    /// A result could not be written.
    #[error("{}", message(.0))]
    Output(anyhow::Error),
}

impl Failure {
    /// Prints the error to stderr, unless it is about a single input, which has been reported already.
    pub fn print(&self) {
        if !matches!(self, Self::Inputs { of: 1, .. }) {
            write_stderr(&format!("error: {self}"));
        }
        if matches!(self, Self::Usage(_)) {
            write_stderr("");
            write_stderr("For more information, try '--help'.");
        }
    }

    /// Returns 1 for a failed input, output or self-test, 2 for invalid usage, and 3 for a missing model.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Inputs { .. } | Self::SelfTest(_) | Self::Output(_) => 1,
            Self::Usage(_) => 2,
            Self::Model(_) => 3,
        })
    }
}

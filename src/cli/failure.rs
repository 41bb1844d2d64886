//! What ends a run, and its exit code.

use std::process::ExitCode;

use super::output::write_stderr;

/// Why a run did not do all that it was told to.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Some inputs failed; each has been reported, and the rest is done.
    #[error("{} of {of} inputs failed: {}", failed.len(), failed.join(", "))]
    Inputs {
        /// The inputs that failed.
        failed: Vec<String>,
        /// How many there were.
        of: usize,
    },
    /// The command line asks for what cannot be.
    #[error("{0}\n\nFor more information, try '--help'.")]
    Usage(String),
    /// The model could not be had.
    #[error("{0:#}")]
    Model(anyhow::Error),
    /// This machine or this build does not compute rightly.
    #[error("{0}")]
    SelfTest(String),
    /// stdout could not be written.
    #[error("{0:#}")]
    Output(anyhow::Error),
}

impl Failure {
    /// Tells a person, on stderr. A single input that failed has been reported already.
    pub fn print(&self) {
        if !matches!(self, Self::Inputs { of: 1, .. }) {
            write_stderr(&format!("error: {self}"));
        }
    }

    /// 1: an input, the output or the self-test failed, 2: usage, 3: no model.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Inputs { .. } | Self::SelfTest(_) | Self::Output(_) => 1,
            Self::Usage(_) => 2,
            Self::Model(_) => 3,
        })
    }
}

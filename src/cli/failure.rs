//! The errors that end a run, and their exit codes.

use std::fmt;
use std::process::ExitCode;

use super::message::message;
use super::ui::{StdoutClosed, write_stderr};

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
    /// No more outputs can be written, so the run has ended early. The reason has been reported.
    #[error("{0}")]
    Stopped(Tally),
    /// The command line is invalid.
    #[error("{0}")]
    Usage(String),
    /// Outputs would replace each other or an input.
    #[error("{}; {advice}", conflicts.join("; "))]
    Collisions {
        /// The first conflicts, and how many more there are.
        conflicts: Vec<String>,
        /// What to do.
        advice: &'static str,
    },
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
    /// Prints the error to stderr, unless it is about a single input, which has been reported already, or about a closed
    /// stdout.
    pub fn print(&self) {
        match self {
            Self::Inputs { of: 1, .. } | Self::Stopped(Tally { of: 1, .. }) => {}
            _ if self.is_closed_stdout() => {}
            Self::Collisions { conflicts, advice } => {
                conflicts.iter().for_each(|conflict| write_stderr(&format!("error: {conflict}")));
                write_stderr(advice);
            }
            _ => write_stderr(&format!("error: {self}")),
        }
    }

    /// Returns 1 for a failed input, output or self-test, 2 for invalid usage, and 3 for a missing model. A closed stdout
    /// gives 141, as a shell reports it of programs that end by SIGPIPE: the run is not complete.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Output(_) if self.is_closed_stdout() => 128 + 13,
            Self::Inputs { .. } | Self::Stopped(_) | Self::SelfTest(_) | Self::Output(_) => 1,
            Self::Usage(_) | Self::Collisions { .. } => 2,
            Self::Model(_) => 3,
        })
    }

    fn is_closed_stdout(&self) -> bool {
        matches!(self, Self::Output(error) if error.is::<StdoutClosed>())
    }
}

/// How many inputs of a run are done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// The inputs whose outputs exist.
    pub done: usize,
    /// The inputs that failed.
    pub failed: usize,
    /// All inputs.
    pub of: usize,
    /// Whether the same command skips the outputs that exist.
    pub resumes: bool,
}

impl Tally {
    /// The tally of no inputs.
    pub const EMPTY: Self = Self { done: 0, failed: 0, of: 0, resumes: false };
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let &Self { done, failed, of, resumes } = self;
        write!(f, "{done} of {of} inputs are done, ")?;
        if failed > 0 {
            write!(f, "{failed} failed, ")?;
        }
        write!(f, "{} remain", of - done - failed)?;
        if resumes {
            write!(f, "; the same command resumes")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_counts_what_remains() {
        let tally = Tally { done: 3, failed: 0, of: 40, resumes: false };
        assert_eq!(tally.to_string(), "3 of 40 inputs are done, 37 remain");
        let tally = Tally { failed: 1, resumes: true, ..tally };
        assert_eq!(
            tally.to_string(),
            "3 of 40 inputs are done, 1 failed, 36 remain; the same command resumes"
        );
    }
}

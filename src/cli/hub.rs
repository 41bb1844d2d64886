//! The hub as the command line uses it.

use vae::checkpoint::{Hub, Refresh, Source};

use super::failure::Failure;
use super::progress;
use super::ui::Ui;

/// Returns the hub of the environment, with progress bars. `refresh` is whether `--refresh` is given.
pub fn hub(refresh: bool, ui: &Ui) -> Hub {
    let refresh = if refresh { Refresh::Always } else { Refresh::Daily };
    Hub { progress: progress::downloads(ui), refresh, ..Hub::from_env() }
}

/// Fails if an option for models on the hub is given with another model.
pub fn check_options(source: &Source, revision: Option<&str>, refresh: bool) -> Result<(), Failure> {
    let option = match (revision, refresh) {
        (Some(_), _) => "--revision",
        (_, true) => "--refresh",
        _ => return Ok(()),
    };
    match source {
        Source::Tiny | Source::Path(_) => Err(Failure::Usage(format!("{option} is for models on the hub"))),
        Source::Named(_) | Source::Hub(_) => Ok(()),
    }
}

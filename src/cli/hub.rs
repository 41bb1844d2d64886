//! The hub as the command line uses it.

use vae::checkpoint::evidence::describe;
use vae::checkpoint::{Checkpoint, Hub, Overrides, Refresh, Source, Variant};

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

/// Opens a model, and prints what the user should know about it: warnings, and with -v the evidence for its scaling.
pub fn open(
    source: &Source,
    revision: Option<&str>,
    variant: Variant,
    hub: &Hub,
    overrides: &Overrides,
    ui: &Ui,
) -> Result<Checkpoint, Failure> {
    let checkpoint = ui
        .suspend(|| Checkpoint::open_with(source, revision, variant, hub, overrides))
        .map_err(|e| Failure::Model(e.into()))?;
    let found = checkpoint.recognition();
    for warning in checkpoint.warning().into_iter().chain(found.warnings.iter().map(String::as_str)) {
        ui.note(&format!("warning: {warning}"));
    }
    found.notes.iter().for_each(|note| ui.note(&format!("note: {note}")));
    let model = &checkpoint.origin().model;
    let family = found.family().map_or(String::new(), |family| format!("; family {family}"));
    ui.detail(&match (&found.scaling, &found.evidence) {
        (Some(scaling), Some(evidence)) => {
            format!("{model}: latents scaled by {}, according to {evidence}{family}", describe(scaling))
        }
        _ => format!("{model}: the scaling of its latents is unknown"),
    });
    Ok(checkpoint)
}

//! Notes about options that are given and have no effect.

use vae::picture::Format;

use super::args::{Encoding, Quality};
use super::output::Destination;
use super::ui::Ui;

/// Prints a note if `--quality` is given and no output is a JPEG.
pub fn check_quality<'a>(quality: &Quality, outputs: impl IntoIterator<Item = &'a Destination>, ui: &Ui) {
    let is_jpeg = |output: &Destination| {
        matches!(output.picture_format(quality.value()), Ok(Format::Jpeg { .. })) && output.path().is_some()
    };
    if quality.quality.is_some() && !outputs.into_iter().any(is_jpeg) {
        ui.note("note: --quality has no effect, because no output is a JPEG");
    }
}

/// Prints a note if `--seed` is given and nothing is random: `noise` is whether noise is added.
pub fn check_seed(encoding: &Encoding, noise: bool, ui: &Ui) {
    if encoding.seed.is_some() && encoding.mean && !noise {
        ui.note("note: --seed has no effect with --mean");
    }
}

/// Prints a note if `--theme` is given and there is no `figure`.
pub fn check_theme(is_given: bool, figure: bool, ui: &Ui) {
    if is_given && !figure {
        ui.note("note: --theme has no effect without a figure: --figure draws one");
    }
}

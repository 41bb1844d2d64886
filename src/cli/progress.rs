//! The progress bar of a download: size, speed, remaining time.

use std::sync::Arc;

use indicatif::{ProgressBar, ProgressStyle};

use vae::checkpoint::Progress;
use vae::escape;

use super::ui::{Ui, write_stderr};

/// Draws on stderr if that is a terminal.
struct DownloadBar(ProgressBar);

/// Returns the progress report of downloads, or nothing under -q.
pub fn downloads(ui: &Ui) -> Option<Arc<dyn Progress>> {
    let bar = ProgressBar::hidden();
    let style =
        ProgressStyle::with_template("{msg}\n{bar:40} {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left");
    bar.set_style(style.expect("the template is valid"));
    ui.shows_progress().then(|| Arc::new(DownloadBar(bar)) as Arc<dyn Progress>)
}

impl Progress for DownloadBar {
    fn start(&self, file: &str, total: Option<u64>, done: u64) {
        self.0.set_draw_target(indicatif::ProgressDrawTarget::stderr());
        self.0.reset();
        self.0.set_message(escape::one_line(file));
        self.0.set_length(total.unwrap_or(0));
        self.0.set_position(done);
        self.0.reset_eta();
    }

    fn advance(&self, bytes: u64) {
        self.0.inc(bytes);
    }

    fn finish(&self) {
        self.0.finish_and_clear();
    }

    fn note(&self, message: &str) {
        self.0.suspend(|| write_stderr(&format!("note: {message}")));
    }
}

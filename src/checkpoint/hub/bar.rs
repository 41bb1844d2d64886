//! The progress bar of a download: size, speed, time to go.

use hf_hub::api::Progress;
use indicatif::{ProgressBar, ProgressStyle};

/// Drawn on stderr, or not at all.
pub struct Bar(ProgressBar);

impl Bar {
    /// A bar with `title`; hidden unless `visible`.
    pub fn new(visible: bool, title: &str) -> Self {
        let bar = if visible { ProgressBar::new(0) } else { ProgressBar::hidden() };
        let style = ProgressStyle::with_template(
            "{msg}\n{bar:40} {bytes}/{total_bytes}  {bytes_per_sec}  {eta} to go",
        );
        bar.set_style(style.expect("the template is valid"));
        bar.set_message(title.to_string());
        Self(bar)
    }
}

impl Progress for Bar {
    fn init(&mut self, size: usize, _file: &str) {
        self.0.set_length(size as u64);
        self.0.set_position(0);
    }

    fn update(&mut self, size: usize) {
        self.0.inc(size as u64);
    }

    fn finish(&mut self) {
        self.0.finish_and_clear();
    }
}

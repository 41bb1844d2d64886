//! Displays pictures in the terminal: with the protocol of kitty, iTerm2 or sixel, or as half-block characters.

use std::io::{IsTerminal, stdout};

use image::imageops::FilterType;
use image::{DynamicImage, RgbImage};

use super::args::ShowArgs;
use super::output::Destination;
use super::ui::Ui;

/// Where results are displayed.
pub enum Screen {
    /// On stdout, which is a terminal.
    Terminal,
    /// Nowhere: `--show` is absent or not possible.
    None,
}

/// Larger pictures are shrunk to this many pixels on their longer side before they are sent to the terminal.
const MAX_SIDE: u32 = 2048;

impl Screen {
    /// Opens the screen for `--show`. Prints a note if nothing can be displayed.
    pub fn open<'a>(args: &ShowArgs, all: impl IntoIterator<Item = &'a Destination>, ui: &Ui) -> Self {
        let why = if !args.show {
            return Self::None;
        } else if ui.json() || all.into_iter().any(|one| *one == Destination::Stdout) {
            "stdout is used for output"
        } else if !stdout().is_terminal() {
            "stdout is not a terminal"
        } else {
            return Self::Terminal;
        };
        ui.note(&format!("note: {why}, so --show has no effect"));
        Self::None
    }

    /// Removes the outputs that the user did not name: a result that is displayed is written only to a named output.
    pub fn replace_unnamed<'a>(&self, all: impl IntoIterator<Item = &'a mut Destination>) {
        if matches!(self, Self::Terminal) {
            let is_unnamed = |one: &&mut Destination| matches!(one, Destination::Fresh(_));
            all.into_iter().filter(is_unnamed).for_each(|one| *one = Destination::Nowhere);
        }
    }

    /// Displays RGB bytes. If that fails, prints a warning.
    pub fn show(&self, rgb: &[u8], (width, height): (usize, usize), ui: &Ui) {
        if matches!(self, Self::None) {
            return;
        }
        let image = RgbImage::from_raw(width as u32, height as u32, rgb.to_vec());
        let mut image = DynamicImage::from(image.expect("three bytes per pixel"));
        if image.width().max(image.height()) > MAX_SIDE {
            image = image.resize(MAX_SIDE, MAX_SIDE, FilterType::Triangle);
        }
        let (columns, rows) = match viuer::terminal_size() {
            (0, _) | (_, 0) => (80, 24),
            size => size,
        };
        let (across, down) = cells(image.width(), image.height(), columns, rows.saturating_sub(1));
        let config = viuer::Config {
            absolute_offset: false,
            width: Some(across),
            height: Some(down),
            use_kitty: has_kitty(env),
            use_sixel: has_sixel(env),
            ..viuer::Config::default()
        };
        if let Err(error) = ui.suspend(|| viuer::print(&image, &config)) {
            ui.note(&format!("warning: cannot display the picture: {error}"));
        }
    }
}

fn env(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

/// Whether the terminal has kitty's protocol. Others are not queried, because the wait for an answer has no timeout.
fn has_kitty(env: impl Fn(&str) -> String) -> bool {
    ["kitty", "ghostty"].iter().any(|name| env("TERM").contains(name) || env("TERM_PROGRAM").contains(name))
        || !env("KITTY_WINDOW_ID").is_empty()
}

/// Whether the terminal answers a query for sixel support.
fn has_sixel(env: impl Fn(&str) -> String) -> bool {
    ["foot", "mlterm", "contour", "yaft"].iter().any(|name| env("TERM").starts_with(name))
        || ["XTERM_VERSION", "WT_SESSION", "VTE_VERSION"].iter().any(|name| !env(name).is_empty())
}

/// Returns the columns and rows for a picture, at most those of the terminal. A cell is twice as high as wide and holds
/// one pixel across and two down, so that small pictures are not enlarged.
fn cells(width: u32, height: u32, columns: u16, rows: u16) -> (u32, u32) {
    let (width, height) = (f64::from(width), f64::from(height));
    let scale = (f64::from(columns) / width).min(2.0 * f64::from(rows) / height).min(1.0);
    let whole = |length: f64| (length.round() as u32).max(1);
    (whole(width * scale), whole(height * scale / 2.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_fit_the_terminal_and_keep_their_proportions() {
        assert_eq!(cells(768, 512, 80, 23), (69, 23));
        assert_eq!(cells(2048, 256, 80, 23), (80, 5));
        assert_eq!(cells(96, 1024, 80, 23), (4, 23));
        assert_eq!(cells(20, 10, 80, 23), (20, 5));
        assert_eq!(cells(1, 100_000, 80, 23), (1, 23));
        assert_eq!(cells(100, 100, 80, 0), (1, 1));
    }

    #[test]
    fn only_terminals_that_answer_are_queried() {
        let with = |name: &'static str, value: &'static str| {
            move |key: &str| if key == name { value.to_string() } else { String::new() }
        };
        assert!(has_kitty(with("TERM", "xterm-kitty")) && has_kitty(with("KITTY_WINDOW_ID", "1")));
        assert!(has_kitty(with("TERM_PROGRAM", "ghostty")));
        assert!(has_sixel(with("TERM", "foot-extra")) && has_sixel(with("WT_SESSION", "x")));
        for term in ["dumb", "xterm-256color", "linux", "screen", ""] {
            assert!(!has_kitty(with("TERM", term)) && !has_sixel(with("TERM", term)), "{term}");
        }
    }
}

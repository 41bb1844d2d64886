//! Pictures in the terminal: as the terminal draws them (kitty, iTerm2, sixel), else of half-block characters.

use std::io::{IsTerminal, stdout};

use image::imageops::FilterType;
use image::{DynamicImage, RgbImage};

use super::args::ShowArgs;
use super::output::Target;
use super::ui::Ui;

/// Where results are displayed, or nowhere.
pub enum Screen {
    /// stdout is a terminal, and free.
    Terminal,
    /// Not asked for, or not possible.
    None,
}

/// Pictures are sent to the terminal at most this many pixels long.
const LONGEST: u32 = 2048;

impl Screen {
    /// Says why nothing is displayed where that is so: stdout carries data, or is no terminal.
    pub fn open<'a>(args: &ShowArgs, targets: impl IntoIterator<Item = &'a Target>, ui: &Ui) -> Self {
        let why = if !args.show {
            return Self::None;
        } else if ui.json() || targets.into_iter().any(|target| *target == Target::Stdout) {
            "stdout carries data"
        } else if !stdout().is_terminal() {
            "stdout is no terminal"
        } else {
            return Self::Terminal;
        };
        ui.note(&format!("note: {why}, so --show shows nothing"));
        Self::None
    }

    /// What is displayed is written only where the user said so: takes the place of names that the program chose.
    pub fn replace_unnamed<'a>(&self, targets: impl IntoIterator<Item = &'a mut Target>) {
        if matches!(self, Self::Terminal) {
            let unnamed = targets.into_iter().filter(|target| matches!(target, Target::Fresh(_)));
            unnamed.for_each(|target| *target = Target::Nowhere);
        }
    }

    /// Displays RGB bytes. Where that fails, the work goes on.
    pub fn show(&self, rgb: &[u8], (width, height): (usize, usize), ui: &Ui) {
        if matches!(self, Self::None) {
            return;
        }
        let image = RgbImage::from_raw(width as u32, height as u32, rgb.to_vec());
        let mut image = DynamicImage::from(image.expect("three bytes a pixel"));
        if image.width().max(image.height()) > LONGEST {
            image = image.resize(LONGEST, LONGEST, FilterType::Triangle);
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
            use_kitty: speaks_kitty(env),
            use_sixel: answers_sixel(env),
            ..viuer::Config::default()
        };
        if let Err(error) = ui.suspend(|| viuer::print(&image, &config)) {
            ui.note(&format!("warning: the terminal did not take the picture: {error}"));
        }
    }
}

fn env(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

/// Terminals with kitty's protocol. Others are not asked: one that never answers would be waited for without end.
fn speaks_kitty(env: impl Fn(&str) -> String) -> bool {
    ["kitty", "ghostty"].iter().any(|name| env("TERM").contains(name) || env("TERM_PROGRAM").contains(name))
        || !env("KITTY_WINDOW_ID").is_empty()
}

/// Terminals that may draw sixels, and answer when they are asked whether they do.
fn answers_sixel(env: impl Fn(&str) -> String) -> bool {
    ["foot", "mlterm", "contour", "yaft"].iter().any(|name| env("TERM").starts_with(name))
        || ["XTERM_VERSION", "WT_SESSION", "VTE_VERSION"].iter().any(|name| !env(name).is_empty())
}

/// Columns and rows for a picture, the terminal's or fewer. A cell is twice as high as wide, and holds one pixel
/// across and two down, so that small pictures are not enlarged.
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
    fn only_terminals_that_answer_are_asked() {
        let with = |name: &'static str, value: &'static str| {
            move |asked: &str| if asked == name { value.to_string() } else { String::new() }
        };
        assert!(speaks_kitty(with("TERM", "xterm-kitty")) && speaks_kitty(with("KITTY_WINDOW_ID", "1")));
        assert!(speaks_kitty(with("TERM_PROGRAM", "ghostty")));
        assert!(answers_sixel(with("TERM", "foot-extra")) && answers_sixel(with("WT_SESSION", "x")));
        for term in ["dumb", "xterm-256color", "linux", "screen", ""] {
            assert!(!speaks_kitty(with("TERM", term)) && !answers_sixel(with("TERM", term)), "{term}");
        }
    }
}

//! The tutorial's sweep: the original, and one decoded picture for each level of noise.

use super::canvas::Rect;
use super::page::{Measure, Page};
use super::roundtrip::shrunk;
use super::text::short;
use super::{Canvas, FigureError, Theme};
use crate::metrics::psnr;
use crate::picture::Picture;

/// Pictures are shown at most this many pixels long.
const LONGEST: usize = 512;

/// A sweep that grows level by level. Only what is shown of a picture is kept.
#[derive(Debug)]
pub struct Sweep<'a> {
    name: &'a str,
    original: &'a Picture,
    levels: usize,
    size: (usize, usize),
    shown: Vec<(Picture, (String, String))>,
}

impl<'a> Sweep<'a> {
    /// Begins a sweep over so many levels.
    ///
    /// # Errors
    /// [`FigureError::TooLarge`] where the figure cannot be made, before any of the work is done.
    pub fn new(name: &'a str, original: &'a Picture, levels: usize) -> Result<Self, FigureError> {
        let (width, height) = (original.width(), original.height());
        let size = match LONGEST / width.max(height) {
            0 => shrunk(width, height, LONGEST, LONGEST),
            factor => (width * factor, height * factor),
        };
        let mut sweep = Self { name, original, levels, size, shown: Vec::new() };
        let page = sweep.page();
        Canvas::new(page.width, page.height, [0; 3])?;
        sweep.keep(original, ("Original".into(), String::new())); // its second line depends on the layout
        Ok(sweep)
    }

    /// Adds what was decoded at a level. Returns its PSNR, infinite where it equals the original.
    pub fn add(&mut self, level: f64, decoded: &Picture) -> f64 {
        let psnr = psnr(self.original, decoded);
        let quality = if psnr.is_finite() { format!("PSNR {psnr:.2} dB") } else { "equal".into() };
        self.keep(decoded, (format!("Noise {}", short(level)), quality));
        psnr
    }

    /// The figure.
    pub fn draw(&self, theme: Theme) -> Result<Canvas, FigureError> {
        self.page().paint(theme)
    }

    fn keep(&mut self, picture: &Picture, caption: (String, String)) {
        let smaller = self.size.0 < picture.width() || self.size.1 < picture.height();
        let shown = if smaller { picture.resize(self.size.0, self.size.1) } else { picture.clone() };
        self.shown.push((shown, caption));
    }

    fn page(&self) -> Page<'_> {
        let ((width, height), cells) = (self.size, self.levels + 1);
        let cols = columns(cells, width, height);
        let measure = Measure::for_width(cols * width);
        let (cell, gap) = (width.max(20 * measure.unit), measure.gap());
        let line = measure.caption() + height;
        let rows = cells.div_ceil(cols);
        let mut page = Page {
            width: cols * (cell + gap) - gap + 2 * measure.margin(),
            height: rows * (line + gap) - gap + 2 * measure.margin(),
            measure,
            items: Vec::new(),
        };
        for (i, (picture, (title, detail))) in self.shown.iter().enumerate() {
            let (x, y) = (i % cols * (cell + gap), i / cols * (line + gap));
            let rect = Rect { x: measure.margin() + x, y: measure.margin() + y, width, height };
            let detail = if i == 0 { self.size_and_name(measure, cell) } else { detail.clone() };
            page.captioned(picture, rect, (title.clone(), detail));
        }
        page
    }

    fn size_and_name(&self, measure: Measure, width: usize) -> String {
        let size = format!(" · {} × {}", self.original.width(), self.original.height());
        measure.detail().fit(self.name, &size, width as f32)
    }
}

/// How many columns give a figure about twice as wide as high, without many empty cells.
fn columns(cells: usize, width: usize, height: usize) -> usize {
    let cost = |cols: usize| {
        let rows = cells.div_ceil(cols);
        let (width, height) = (cols as f64 * (width + 40) as f64, rows as f64 * (height + 100) as f64);
        let empty = (rows * cols - cells) as f64 / cells as f64;
        (width / height / 2.2).ln().abs() + empty
    };
    (1..=cells).min_by(|&a, &b| cost(a).total_cmp(&cost(b))).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_wide_with_few_empty_cells() {
        assert_eq!(columns(7, 512, 341), 4);
        assert_eq!(columns(7, 512, 512), 4);
        assert_eq!(columns(7, 512, 128), 3);
        assert_eq!(columns(7, 128, 512), 7);
        assert_eq!(columns(2, 512, 512), 2);
    }

    #[test]
    fn what_is_too_large_is_refused_before_any_work() {
        let picture = Picture::from_rgb8(512, 512, &[0; 512 * 512 * 3]);
        assert!(Sweep::new("a", &picture, 100).is_ok());
        assert!(matches!(Sweep::new("a", &picture, 1000), Err(FigureError::TooLarge { .. })));
    }
}

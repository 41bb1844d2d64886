//! The tutorial's sweep: the original and one decoded picture per noise level.

use crate::metrics::psnr;
use crate::numbers::short;
use crate::picture::Picture;

use super::canvas::Rect;
use super::page::{Caption, Measure, Page, quality};
use super::roundtrip::fit_within;
use super::{Canvas, FigureError, Theme};

/// The longest side of a shown picture in pixels.
const MAX_SIDE: usize = 512;

/// A sweep to which decoded pictures are added level by level. It keeps them at the size at which it shows them.
#[derive(Debug)]
pub struct Sweep<'a> {
    name: &'a str,
    original: &'a Picture,
    levels: usize,
    size: (usize, usize),
    shown: Vec<(Picture, Option<Caption>)>, // the original's caption depends on the layout
}

impl<'a> Sweep<'a> {
    /// Starts a sweep over a number of levels. `name` is that of the original picture.
    ///
    /// # Errors
    /// [`FigureError::TooLarge`] if the figure will be too large to draw.
    pub fn new(name: &'a str, original: &'a Picture, levels: usize) -> Result<Self, FigureError> {
        let (width, height) = (original.width(), original.height());
        let size = match MAX_SIDE / width.max(height) {
            0 => fit_within(width, height, MAX_SIDE, MAX_SIDE),
            factor => (width * factor, height * factor),
        };
        let mut sweep = Self { name, original, levels, size, shown: Vec::new() };
        let page = sweep.page();
        Canvas::new(page.width, page.height, [0; 3])?;
        sweep.keep(original, None);
        Ok(sweep)
    }

    /// Adds the picture that was decoded at a noise level. Returns its PSNR in dB, infinite if it equals the original.
    pub fn add(&mut self, level: f64, decoded: &Picture) -> f64 {
        let psnr = psnr(self.original, decoded);
        let caption = Caption { title: format!("Noise {}", short(level)), detail: quality(psnr) };
        self.keep(decoded, Some(caption));
        psnr
    }

    /// Draws the figure with all pictures that have been added.
    pub fn draw(&self, theme: Theme) -> Result<Canvas, FigureError> {
        self.page().paint(theme)
    }

    fn keep(&mut self, picture: &Picture, caption: Option<Caption>) {
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
        for (i, (picture, caption)) in self.shown.iter().enumerate() {
            let (x, y) = (i % cols * (cell + gap), i / cols * (line + gap));
            let rect = Rect { x: measure.margin() + x, y: measure.margin() + y, width, height };
            let original = || Caption::original(self.name, self.original, measure, cell);
            page.captioned(picture, rect, caption.clone().unwrap_or_else(original));
        }
        page
    }
}

/// Returns the number of columns for a figure about twice as wide as high, without many empty cells.
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
    fn a_figure_is_wide_with_few_empty_cells() {
        assert_eq!(columns(7, 512, 341), 4);
        assert_eq!(columns(7, 512, 512), 4);
        assert_eq!(columns(7, 512, 128), 3);
        assert_eq!(columns(7, 128, 512), 7);
        assert_eq!(columns(2, 512, 512), 2);
    }

    #[test]
    fn a_figure_that_will_be_too_large_is_refused_at_the_start() {
        let picture = Picture::from_rgb8(512, 512, &[0; 512 * 512 * 3]);
        assert!(Sweep::new("a", &picture, 100).is_ok());
        assert!(matches!(Sweep::new("a", &picture, 1000), Err(FigureError::TooLarge { .. })));
    }
}

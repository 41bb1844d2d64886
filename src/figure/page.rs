//! The layout of a figure, which fixes the place of every item, and its painting.

use crate::escape::one_line;
use crate::picture::Picture;

use super::canvas::Rect;
use super::text::{Line, TextStyle, Weight};
use super::{Canvas, FigureError, Theme};

/// The lengths of a figure in pixels. All are proportional to `unit`, so that figures of all widths look similar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measure {
    /// Half the font size of a title in pixels.
    pub unit: usize,
}

impl Measure {
    /// Returns the lengths for a figure whose rows of pictures have a total width of `width` pixels, without gaps.
    pub fn for_width(width: usize) -> Self {
        Self { unit: ((width + 72) / 144).max(8) }
    }

    /// The margin around the figure.
    pub fn margin(self) -> usize {
        3 * self.unit
    }

    /// The gap between pictures.
    pub fn gap(self) -> usize {
        3 * self.unit
    }

    /// The style of titles.
    pub fn title(self) -> TextStyle {
        TextStyle { size: 2.0 * self.unit as f32, weight: Weight::SemiBold }
    }

    /// The style of details, the text below titles and plates.
    pub fn detail(self) -> TextStyle {
        TextStyle { size: 1.65 * self.unit as f32, weight: Weight::Regular }
    }

    /// The distance from the top of a caption to the top of the picture below it.
    pub fn caption(self) -> usize {
        self.unit * 11 / 2
    }
}

/// A title with a detail below it.
#[derive(Debug, Clone)]
pub struct Caption {
    pub title: String,
    pub detail: String,
}

impl Caption {
    /// The caption of an original picture with its name and size, fitted to a width in pixels.
    pub fn original(name: &str, picture: &Picture, measure: Measure, width: usize) -> Self {
        let size = format!(" · {} × {}", picture.width(), picture.height());
        let detail = measure.detail().fit(&one_line(name), &size, width as f32);
        Self { title: "Original".into(), detail }
    }
}

/// Writes a PSNR in dB, which is infinite for equal pictures.
pub fn quality(psnr: f64) -> String {
    if psnr.is_finite() { format!("PSNR {psnr:.2} dB") } else { "equal".into() }
}

/// Something on a page.
#[derive(Debug)]
pub enum Item<'a> {
    /// A picture that fills a rectangle, with a hairline around it.
    Picture(&'a Picture, Rect),
    Title(Line),
    Detail(Line),
    /// A gradient from black on the left to white on the right.
    Ramp(Rect),
}

/// A figure before it is painted, its size in pixels.
#[derive(Debug)]
pub struct Page<'a> {
    pub width: usize,
    pub height: usize,
    pub measure: Measure,
    pub items: Vec<Item<'a>>,
}

impl<'a> Page<'a> {
    /// Adds a caption with its upper left corner at `x`, `y`.
    pub fn caption(&mut self, x: usize, y: usize, Caption { title, detail }: Caption) {
        let unit = self.measure.unit;
        self.items.push(Item::Title(Line { text: title, x, baseline: y + unit * 8 / 5 }));
        self.items.push(Item::Detail(Line { text: detail, x, baseline: y + unit * 42 / 10 }));
    }

    /// Adds a caption at the upper left corner of `rect`, and below it a picture of the size of `rect`.
    pub fn captioned(&mut self, picture: &'a Picture, rect: Rect, caption: Caption) {
        self.caption(rect.x, rect.y, caption);
        self.items.push(Item::Picture(picture, Rect { y: rect.y + self.measure.caption(), ..rect }));
    }

    /// Paints all items.
    ///
    /// # Errors
    /// [`FigureError::TooLarge`], before any memory is allocated.
    pub fn paint(&self, theme: Theme) -> Result<Canvas, FigureError> {
        let mut canvas = Canvas::new(self.width, self.height, theme.page())?;
        let hairline = self.measure.unit.div_ceil(12);
        for item in &self.items {
            match item {
                Item::Picture(picture, rect) => {
                    canvas.fill(with_border(*rect, hairline), theme.rule());
                    canvas.paste_into(picture, *rect);
                }
                Item::Title(line) => self.measure.title().write(&mut canvas, line, theme.ink()),
                Item::Detail(line) => self.measure.detail().write(&mut canvas, line, theme.muted()),
                Item::Ramp(rect) => {
                    canvas.fill(with_border(*rect, hairline), theme.rule());
                    for x in 0..rect.width {
                        let level = (x as f32 / (rect.width - 1).max(1) as f32 * 255.0).round() as u8;
                        canvas.fill(Rect { x: rect.x + x, width: 1, ..*rect }, [level; 3]);
                    }
                }
            }
        }
        Ok(canvas)
    }
}

/// `rect` with a border of `line` pixels on all sides. The margin has room for it.
fn with_border(rect: Rect, line: usize) -> Rect {
    let (x, y) = (rect.x.saturating_sub(line), rect.y.saturating_sub(line));
    Rect { x, y, width: rect.width + 2 * line, height: rect.height + 2 * line }
}

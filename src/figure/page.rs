//! A layout: where everything of a figure goes. Painting follows it and decides nothing.

use super::canvas::Rect;
use super::text::{Type, Weight};
use super::{Canvas, FigureError, Theme};
use crate::picture::Picture;

/// Lengths of a figure, all in proportion to one: letters look alike however wide the figure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measure {
    /// Half the size of a title in pixels.
    pub unit: usize,
}

impl Measure {
    /// For a figure whose pictures in one row are `width` pixels wide together.
    pub fn for_width(width: usize) -> Self {
        Self { unit: ((width + 72) / 144).max(8) }
    }

    /// Around the figure.
    pub fn margin(self) -> usize {
        3 * self.unit
    }

    /// Between pictures.
    pub fn gap(self) -> usize {
        3 * self.unit
    }

    /// Titles.
    pub fn title(self) -> Type {
        Type { size: 2.0 * self.unit as f32, weight: Weight::SemiBold }
    }

    /// What stands under a title, or under a plate.
    pub fn detail(self) -> Type {
        Type { size: 1.65 * self.unit as f32, weight: Weight::Regular }
    }

    /// From the top of a caption to that of the picture under it.
    pub fn caption(self) -> usize {
        self.unit * 11 / 2
    }
}

/// Something on a page.
#[derive(Debug)]
pub enum Item<'a> {
    /// A picture that fills a rectangle, with a hairline around it.
    Picture(&'a Picture, Rect),
    /// A title.
    Title(String, (usize, usize)),
    /// A line under a title, or under a plate.
    Detail(String, (usize, usize)),
    /// Black to white from left to right.
    Ramp(Rect),
}

/// A figure before it is painted.
#[derive(Debug)]
pub struct Page<'a> {
    /// Pixels across.
    pub width: usize,
    /// Pixels down.
    pub height: usize,
    /// Its lengths.
    pub measure: Measure,
    /// What is on it.
    pub items: Vec<Item<'a>>,
}

impl<'a> Page<'a> {
    /// Adds a title and a line under it, with the top of both at `y`; they end where a picture begins.
    pub fn caption(&mut self, x: usize, y: usize, title: String, detail: String) {
        let unit = self.measure.unit;
        self.items.push(Item::Title(title, (x, y + unit * 8 / 5)));
        self.items.push(Item::Detail(detail, (x, y + unit * 42 / 10)));
    }

    /// Adds a captioned picture whose upper left corner, with the caption, is at `x`, `y`.
    pub fn captioned(&mut self, picture: &'a Picture, rect: Rect, (title, detail): (String, String)) {
        self.caption(rect.x, rect.y, title, detail);
        self.items.push(Item::Picture(picture, Rect { y: rect.y + self.measure.caption(), ..rect }));
    }

    /// Paints it.
    ///
    /// # Errors
    /// [`FigureError::TooLarge`], before memory is taken for it.
    pub fn paint(&self, theme: Theme) -> Result<Canvas, FigureError> {
        let mut canvas = Canvas::new(self.width, self.height, theme.page())?;
        let line = self.measure.unit.div_ceil(12);
        for item in &self.items {
            match item {
                Item::Picture(picture, rect) => {
                    canvas.fill(around(*rect, line), theme.rule());
                    canvas.paste_into(picture, *rect);
                }
                Item::Title(text, at) => self.measure.title().write(&mut canvas, text, *at, theme.ink()),
                Item::Detail(text, at) => self.measure.detail().write(&mut canvas, text, *at, theme.muted()),
                Item::Ramp(rect) => {
                    canvas.fill(around(*rect, line), theme.rule());
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

fn around(rect: Rect, line: usize) -> Rect {
    Rect { x: rect.x - line, y: rect.y - line, width: rect.width + 2 * line, height: rect.height + 2 * line }
}

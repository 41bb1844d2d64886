//! A picture through the model and back: original, decoded and difference, and the latents between.
//!
//! ```text
//! Original            Decoded             Difference × 5
//! name · w × h        w × h · PSNR        mean, largest
//! [               ]   [               ]   [               ]
//!
//! Latent channels
//! [          ]   [          ]   [          ]   [          ]
//! −2.91 ▒ 3.05   …
//! ```
//!
//! Four plates of h/8 × w/8 at an enlargement of 6 are as wide as three pictures at 1, so the pictures are shown at
//! sixths of their size where they are large, and both rows end at one line.

use candle_core::Tensor;

use super::canvas::Rect;
use super::difference::Difference;
use super::page::{Item, Measure, Page};
use super::text::{short, signed};
use super::{Canvas, FigureError, Theme};
use crate::latents::plates::{Plate, plates};
use crate::metrics::psnr;
use crate::picture::Picture;

/// What the figure shows.
#[derive(Debug)]
pub struct Roundtrip<'a> {
    /// Of the original.
    pub name: &'a str,
    /// What was encoded.
    pub original: &'a Picture,
    /// What was decoded, of the same size.
    pub decoded: &'a Picture,
    /// `[1, c, h, w]`, as they were decoded.
    pub latents: &'a Tensor,
    /// The level of noise that was added to the latents.
    pub noise: Option<f64>,
}

impl Roundtrip<'_> {
    /// The figure.
    pub fn draw(&self, theme: Theme) -> Result<Canvas, FigureError> {
        let difference = Difference::between(self.original, self.decoded);
        let plates = plates(self.latents)?;
        self.page(&difference, &plates).paint(theme)
    }

    fn page<'a>(&'a self, difference: &'a Difference, plates: &'a [Plate]) -> Page<'a> {
        let (width, height) = shown_size(self.original.width(), self.original.height());
        let measure = Measure::for_width(3 * width);
        let Measure { unit } = measure;
        let cell = width.max(26 * unit); // captions need some width
        let content = 3 * cell + 2 * measure.gap();
        let mut page = Page { width: content + 2 * measure.margin(), height: 0, measure, items: Vec::new() };

        let top = measure.margin();
        let panels = [
            (self.original, self.original_caption(measure, cell)),
            (self.decoded, self.decoded_caption()),
            (&difference.picture, difference_caption(difference)),
        ];
        for (i, (picture, caption)) in panels.into_iter().enumerate() {
            let x = measure.margin() + i * (cell + measure.gap());
            page.captioned(picture, Rect { x, y: top, width, height }, caption);
        }

        let y = top + measure.caption() + height + 3 * unit;
        let (_, channels, rows, columns) = self.latents.dims4().expect("plates are made of four dimensions");
        let shape = format!(
            "{channels} × {rows} × {columns}, each from its least value (black) to its greatest (white)"
        );
        page.caption(measure.margin(), y, "Latent channels".into(), shape);
        let bottom = lay_plates(&mut page, plates, y + measure.caption(), content, height * 3 / 4);
        page.height = bottom + measure.margin();
        page
    }

    fn original_caption(&self, measure: Measure, width: usize) -> (String, String) {
        let size = format!(" · {} × {}", self.original.width(), self.original.height());
        ("Original".into(), measure.detail().fit(self.name, &size, width as f32))
    }

    fn decoded_caption(&self) -> (String, String) {
        let title = match self.noise {
            Some(level) => format!("Decoded, noise {}", short(level)),
            None => "Decoded".into(),
        };
        let quality = match psnr(self.original, self.decoded) {
            db if db.is_finite() => format!("PSNR {db:.2} dB"),
            _ => "equal".into(),
        };
        (title, format!("{} × {} · {quality}", self.decoded.width(), self.decoded.height()))
    }
}

fn difference_caption(difference: &Difference) -> (String, String) {
    let Difference { factor, told, .. } = difference;
    (format!("Difference × {factor}"), format!("absolute · mean {:.1}, max {}", told.mean, told.max))
}

/// Plates in rows of four (or eight, where there are many), each with its range under it. Returns where they end.
fn lay_plates<'a>(
    page: &mut Page<'a>,
    plates: &'a [Plate],
    top: usize,
    content: usize,
    tallest: usize,
) -> usize {
    let Measure { unit } = page.measure;
    let (gap, line) = (2 * unit, 3 * unit);
    let cell = |cols: usize| (content - (cols - 1) * gap) / cols;
    let cols = if plates.len() > 8 && cell(8) >= 15 * unit { 8 } else { 4 };
    let (columns, rows) = match plates.first() {
        Some(plate) => (plate.picture.width(), plate.picture.height()),
        None => return top,
    };
    let (width, height) = match (cell(cols) / columns).min(tallest / rows) {
        0 => shrunk(columns, rows, cell(cols), tallest),
        factor => (columns * factor, rows * factor),
    };
    let place = width.max(15 * unit).min(cell(cols)); // a range needs some width
    let mut y = top;
    for row in plates.chunks(cols) {
        for (i, plate) in row.iter().enumerate() {
            let x = page.measure.margin() + i * (content - place) / (cols - 1);
            page.items.push(Item::Picture(&plate.picture, Rect { x, y, width, height }));
            lay_range(page, plate, Rect { x, y: y + height, width: place, height: line });
        }
        y += height + line + gap;
    }
    y - gap
}

/// `least ▒▒▒ greatest`, under a plate.
fn lay_range(page: &mut Page, plate: &Plate, rect: Rect) {
    let Measure { unit } = page.measure;
    let (least, greatest) = (signed(plate.min), signed(plate.max));
    let width = |text: &str| page.measure.detail().width(text).ceil() as usize;
    let (left, right) = (rect.x + width(&least), rect.x + rect.width - width(&greatest));
    let baseline = rect.y + unit * 9 / 4;
    page.items.push(Item::Detail(least, (rect.x, baseline)));
    page.items.push(Item::Detail(greatest, (right, baseline)));
    if right > left + 2 * unit {
        let (x, width) = (left + unit * 3 / 4, right - left - unit * 3 / 2);
        page.items.push(Item::Ramp(Rect { x, y: baseline - unit, width, height: unit * 4 / 5 }));
    }
}

/// Pictures are shown at most this many pixels long.
const LONGEST: usize = 768;
/// Small ones are enlarged, in whole steps, to no more than this.
const ENLARGED: usize = 640;

/// How large a picture is shown.
fn shown_size(width: usize, height: usize) -> (usize, usize) {
    let longest = width.max(height);
    if longest <= LONGEST {
        let factor = (ENLARGED / longest).max(1);
        return (width * factor, height * factor);
    }
    match (1..6).rev().find(|sixths| longest * sixths / 6 <= LONGEST) {
        Some(sixths) => ((width * sixths).div_ceil(6), (height * sixths).div_ceil(6)),
        None => shrunk(width, height, LONGEST, LONGEST),
    }
}

/// The largest size of the same proportions within a box.
pub(super) fn shrunk(width: usize, height: usize, across: usize, down: usize) -> (usize, usize) {
    let scale = (across as f64 / width as f64).min(down as f64 / height as f64);
    let side = |s: usize| ((s as f64 * scale).round() as usize).max(1);
    (side(width), side(height))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_shown_crisp_and_in_proportion() {
        for ((width, height), wanted) in [
            ((32, 32), (640, 640)),
            ((96, 64), (576, 384)),
            ((256, 256), (512, 512)),
            ((384, 512), (384, 512)),
            ((768, 512), (768, 512)),
            ((1024, 672), (683, 448)),
            ((2048, 2048), (683, 683)),
            ((512, 2048), (171, 683)),
            ((6144, 1024), (768, 128)),
        ] {
            assert_eq!(shown_size(width, height), wanted, "{width}×{height}");
        }
    }
}

//! The roundtrip of a picture through the model: original, decoded, difference and latent channels.
//!
//! ```text
//! Original            Decoded             Difference × 5
//! name · w × h        w × h · PSNR        mean, max
//! [               ]   [               ]   [               ]
//!
//! Latent channels
//! [          ]   [          ]   [          ]   [          ]
//! −2.91 ▒ 3.05   …
//! ```
//!
//! Four plates of h/8 × w/8, enlarged 6 times, are as wide as three pictures of h × w. Large pictures are therefore
//! shown at a multiple of 1/6 of their size, so that both rows are equally wide.

use candle_core::Tensor;

use crate::latents::plates::{Plate, plates};
use crate::metrics::psnr;
use crate::numbers::{short, signed};
use crate::picture::Picture;

use super::canvas::Rect;
use super::difference::AmplifiedDifference;
use super::page::{Caption, Item, Measure, Page, quality};
use super::text::Line;
use super::{Canvas, FigureError, Theme};

/// Everything that the figure shows.
#[derive(Debug)]
pub struct Roundtrip<'a> {
    /// The name of the original.
    pub name: &'a str,
    /// The picture that was encoded.
    pub original: &'a Picture,
    /// The decoded picture, of the same size.
    pub decoded: &'a Picture,
    /// The decoded latents `[1, c, h, w]`.
    pub latents: &'a Tensor,
    /// The level of the noise that was added to the latents, if any.
    pub noise: Option<f64>,
}

impl Roundtrip<'_> {
    /// Draws the figure.
    ///
    /// # Errors
    /// [`FigureError::TooLarge`], or an error of candle if the latents do not have the stated shape.
    pub fn draw(&self, theme: Theme) -> Result<Canvas, FigureError> {
        let difference = AmplifiedDifference::between(self.original, self.decoded);
        let plates = plates(self.latents)?;
        self.page(&difference, &plates).paint(theme)
    }

    fn page<'a>(&'a self, difference: &'a AmplifiedDifference, plates: &'a [Plate]) -> Page<'a> {
        let (width, height) = shown_size(self.original.width(), self.original.height());
        let measure = Measure::for_width(3 * width);
        let Measure { unit } = measure;
        let cell = width.max(26 * unit); // captions need a minimum width
        let content = 3 * cell + 2 * measure.gap();
        let mut page = Page { width: content + 2 * measure.margin(), height: 0, measure, items: Vec::new() };

        let top = measure.margin();
        let panels = [
            (self.original, Caption::original(self.name, self.original, measure, cell)),
            (self.decoded, self.decoded_caption()),
            (&difference.picture, difference_caption(difference)),
        ];
        for (i, (picture, caption)) in panels.into_iter().enumerate() {
            let x = measure.margin() + i * (cell + measure.gap());
            page.captioned(picture, Rect { x, y: top, width, height }, caption);
        }

        let y = top + measure.caption() + height + 3 * unit;
        let (_, c, h, w) = self.latents.dims4().expect("latents with plates have four dimensions");
        let detail = format!("{c} × {h} × {w}, each from its least value (black) to its greatest (white)");
        page.caption(measure.margin(), y, Caption { title: "Latent channels".into(), detail });
        let bottom = add_plates(&mut page, plates, y + measure.caption(), height * 3 / 4);
        page.height = bottom + measure.margin();
        page
    }

    fn decoded_caption(&self) -> Caption {
        let noise = self.noise.map(|level| format!(", noise {}", short(level))).unwrap_or_default();
        let (width, height) = (self.decoded.width(), self.decoded.height());
        let quality = quality(psnr(self.original, self.decoded));
        Caption { title: format!("Decoded{noise}"), detail: format!("{width} × {height} · {quality}") }
    }
}

fn difference_caption(AmplifiedDifference { factor, difference, .. }: &AmplifiedDifference) -> Caption {
    let detail = format!("absolute · mean {:.1}, max {}", difference.mean, difference.max);
    Caption { title: format!("Difference × {factor}"), detail }
}

/// Adds plates of at most `max_height` pixels, each with its range below it, in rows of four, or of eight if there are
/// many. Rows are as wide as the page without its margins. Returns where the last row ends.
fn add_plates<'a>(page: &mut Page<'a>, plates: &'a [Plate], top: usize, max_height: usize) -> usize {
    let Measure { unit } = page.measure;
    let content = page.width - 2 * page.measure.margin();
    let (gap, line) = (2 * unit, 3 * unit);
    let cell = |cols: usize| (content - (cols - 1) * gap) / cols;
    let cols = if plates.len() > 8 && cell(8) >= 15 * unit { 8 } else { 4 };
    let (columns, rows) = match plates.first() {
        Some(plate) => (plate.picture.width(), plate.picture.height()),
        None => return top,
    };
    let (width, height) = match (cell(cols) / columns).min(max_height / rows) {
        0 => fit_within(columns, rows, cell(cols), max_height),
        factor => (columns * factor, rows * factor),
    };
    let place = width.max(15 * unit).min(cell(cols)); // a range needs a minimum width
    let mut y = top;
    for row in plates.chunks(cols) {
        for (i, plate) in row.iter().enumerate() {
            let x = page.measure.margin() + i * (content - place) / (cols - 1);
            page.items.push(Item::Picture(&plate.picture, Rect { x, y, width, height }));
            add_range(page, plate, Rect { x, y: y + height, width: place, height: line });
        }
        y += height + line + gap;
    }
    y - gap
}

/// Adds the range of a plate, `min ▒▒▒ max`. The ramp is omitted if there is no room for it.
fn add_range(page: &mut Page, plate: &Plate, rect: Rect) {
    let Measure { unit } = page.measure;
    let (min, max) = (signed(plate.min), signed(plate.max));
    let width = |text: &str| page.measure.detail().width(text).ceil() as usize;
    let left = rect.x + width(&min);
    let right = (rect.x + rect.width).saturating_sub(width(&max)).max(left);
    let baseline = rect.y + unit * 9 / 4;
    page.items.push(Item::Detail(Line { text: min, x: rect.x, baseline }));
    page.items.push(Item::Detail(Line { text: max, x: right, baseline }));
    if right > left + 2 * unit {
        let (x, width) = (left + unit * 3 / 4, right - left - unit * 3 / 2);
        page.items.push(Item::Ramp(Rect { x, y: baseline - unit, width, height: unit * 4 / 5 }));
    }
}

/// The longest side of a shown picture in pixels.
const MAX_SIDE: usize = 768;
/// The longest side of a small picture, in pixels, after its enlargement by a whole factor.
const MAX_ENLARGED: usize = 640;

/// Returns the width and height at which a picture is shown.
fn shown_size(width: usize, height: usize) -> (usize, usize) {
    let side = width.max(height);
    if side <= MAX_SIDE {
        let factor = (MAX_ENLARGED / side).max(1);
        return (width * factor, height * factor);
    }
    match (1..6).rev().find(|sixths| side * sixths / 6 <= MAX_SIDE) {
        Some(sixths) => ((width * sixths).div_ceil(6), (height * sixths).div_ceil(6)),
        None => fit_within(width, height, MAX_SIDE, MAX_SIDE),
    }
}

/// Returns the largest size with the proportions of `width` × `height` that fits into `max_width` × `max_height`.
pub(super) fn fit_within(width: usize, height: usize, max_width: usize, max_height: usize) -> (usize, usize) {
    let scale = (max_width as f64 / width as f64).min(max_height as f64 / height as f64);
    let side = |s: usize| ((s as f64 * scale).round() as usize).max(1);
    (side(width), side(height))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_keeps_its_proportions_and_sharp_edges() {
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

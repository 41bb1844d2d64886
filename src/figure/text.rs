//! Letters: the built-in font (Inter, see `assets/fonts`), and how captions and numbers are written.

use std::sync::LazyLock;

use ab_glyph::{Font, FontRef, Glyph, PxScale, ScaleFont, point};

use super::{Canvas, Rgb};

/// How heavy letters are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// For details.
    Regular,
    /// For titles.
    SemiBold,
}

static REGULAR: LazyLock<FontRef> =
    LazyLock::new(|| font(include_bytes!("../../assets/fonts/Inter-Regular.otf")));
static SEMI_BOLD: LazyLock<FontRef> =
    LazyLock::new(|| font(include_bytes!("../../assets/fonts/Inter-SemiBold.otf")));

fn font(file: &'static [u8]) -> FontRef<'static> {
    FontRef::try_from_slice(file).expect("the built-in font is a font")
}

/// A font at a size in pixels (of its em square).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Type {
    /// Height of the em square.
    pub size: f32,
    /// How heavy.
    pub weight: Weight,
}

impl Type {
    fn font(self) -> &'static FontRef<'static> {
        match self.weight {
            Weight::Regular => &REGULAR,
            Weight::SemiBold => &SEMI_BOLD,
        }
    }

    /// The glyphs of a line that starts at x 0 on a baseline at y 0, and its width.
    fn set(self, text: &str) -> (Vec<Glyph>, f32) {
        let font = self.font();
        let em = font.units_per_em().expect("the built-in font has an em square");
        let scale = PxScale::from(self.size * font.height_unscaled() / em);
        let scaled = font.as_scaled(scale);
        let mut x = 0.0;
        let mut glyphs = Vec::new();
        for letter in text.chars() {
            let id = match font.glyph_id(letter) {
                id if id.0 == 0 => font.glyph_id('?'), // a letter that the built-in font lacks
                id => id,
            };
            glyphs.push(id.with_scale_and_position(scale, point(x, 0.0)));
            x += scaled.h_advance(id);
        }
        (glyphs, x)
    }

    /// How wide a line is.
    pub fn width(self, text: &str) -> f32 {
        self.set(text).1
    }

    /// Writes a line.
    pub fn write(self, canvas: &mut Canvas, text: &str, (x, baseline): (usize, usize), colour: Rgb) {
        for glyph in self.set(text).0 {
            let Some(outline) = self.font().outline_glyph(glyph) else { continue }; // a space
            let bounds = outline.px_bounds();
            let (left, top) = (x as f32 + bounds.min.x, baseline as f32 + bounds.min.y);
            outline.draw(|column, row, share| {
                let (x, y) = (left + column as f32, top + row as f32);
                if x >= 0.0 && y >= 0.0 {
                    canvas.blend(x as usize, y as usize, colour, share.clamp(0.0, 1.0));
                }
            });
        }
    }

    /// `name` with its middle left out where `name` and `rest` together are wider than `width`.
    pub fn fit(self, name: &str, rest: &str, width: f32) -> String {
        let letters: Vec<char> = name.chars().collect();
        let shortened = |kept: usize| -> String {
            let (head, tail) = (kept.div_ceil(2), kept / 2);
            let ends = letters[..head].iter().chain(&['…']).chain(&letters[letters.len() - tail..]);
            ends.collect::<String>() + rest
        };
        let whole = name.to_string() + rest;
        if self.width(&whole) <= width {
            return whole;
        }
        (0..letters.len()).rev().map(shortened).find(|line| self.width(line) <= width).unwrap_or(shortened(0))
    }
}

/// A level of noise, shortly: `0.28`, not `0.28000000000000003`.
pub fn short(level: f64) -> String {
    let rounded = format!("{level:.2e}").parse().unwrap_or(level);
    format!("{rounded:?}").trim_end_matches(".0").to_string()
}

/// A value with a minus sign that is as wide as a plus sign.
pub fn signed(value: f32) -> String {
    let text = format!("{value:.2}");
    match text.strip_prefix('-') {
        Some("0.00") => "0.00".into(),
        Some(digits) => format!("−{digits}"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_shortly() {
        let levels = [0.0, 0.1, 0.28, 0.45999999999999996, 0.5, 1.0, 10.0, 1.0 / 3.0, 123.0, 1e-5];
        let wanted = ["0", "0.1", "0.28", "0.46", "0.5", "1", "10", "0.333", "123", "1e-5"];
        assert_eq!(levels.map(short), wanted);
        assert_eq!([-2.914, 3.0, -0.001, 0.0].map(signed), ["−2.91", "3.00", "0.00", "0.00"]);
    }

    #[test]
    fn long_names_lose_their_middle() {
        let type_ = Type { size: 16.0, weight: Weight::Regular };
        assert_eq!(type_.fit("fox.png", " · 768 × 512", 400.0), "fox.png · 768 × 512");
        let fitted = type_.fit("a-very-long-name-of-a-picture.png", " · 768 × 512", 200.0);
        assert!(
            fitted.starts_with("a-") && fitted.contains('…') && fitted.ends_with("g · 768 × 512"),
            "{fitted}"
        );
        assert!(type_.width(&fitted) <= 200.0);
        assert_eq!(type_.fit("name", " rest", 1.0), "… rest");
    }
}

//! Text in the built-in font (Inter, see `assets/fonts`), and how captions are written.

use std::sync::LazyLock;

use ab_glyph::{Font, FontRef, Glyph, PxScale, ScaleFont, point};

use super::{Canvas, Rgb};

/// The weight of a font.
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
    FontRef::try_from_slice(file).expect("the built-in font is valid")
}

/// A line of text on a canvas.
#[derive(Debug)]
pub struct Line {
    /// The text, without line breaks.
    pub text: String,
    /// The left end in pixels.
    pub x: usize,
    /// The baseline in pixels from the top.
    pub baseline: usize,
}

/// The built-in font at a size and a weight.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TextStyle {
    /// The font size, which is the height of the em square, in pixels.
    pub size: f32,
    /// The weight.
    pub weight: Weight,
}

impl TextStyle {
    fn font(self) -> &'static FontRef<'static> {
        match self.weight {
            Weight::Regular => &REGULAR,
            Weight::SemiBold => &SEMI_BOLD,
        }
    }

    /// Returns the glyphs of a line that starts at x = 0 on the baseline y = 0, and its width in pixels.
    fn lay_out(self, text: &str) -> (Vec<Glyph>, f32) {
        let font = self.font();
        let em = font.units_per_em().expect("the built-in font has an em square");
        let scale = PxScale::from(self.size * font.height_unscaled() / em);
        let scaled = font.as_scaled(scale);
        let mut x = 0.0;
        let mut glyphs = Vec::new();
        for letter in text.chars() {
            let id = match font.glyph_id(letter) {
                id if id.0 == 0 => font.glyph_id('?'), // not in the font
                id => id,
            };
            glyphs.push(id.with_scale_and_position(scale, point(x, 0.0)));
            x += scaled.h_advance(id);
        }
        (glyphs, x)
    }

    /// Returns the width of a line in pixels.
    pub fn width(self, text: &str) -> f32 {
        self.lay_out(text).1
    }

    /// Draws a line.
    pub fn write(self, canvas: &mut Canvas, line: &Line, colour: Rgb) {
        for glyph in self.lay_out(&line.text).0 {
            let Some(outline) = self.font().outline_glyph(glyph) else { continue }; // a space
            let bounds = outline.px_bounds();
            let (left, top) = (line.x as f32 + bounds.min.x, line.baseline as f32 + bounds.min.y);
            outline.draw(|column, row, coverage| {
                let (x, y) = (left + column as f32, top + row as f32);
                if x >= 0.0 && y >= 0.0 {
                    canvas.blend(x as usize, y as usize, colour, coverage.clamp(0.0, 1.0));
                }
            });
        }
    }

    /// Returns `name` followed by `rest`. If they are wider than `width` pixels, `…` replaces the middle of `name`.
    pub fn fit(self, name: &str, rest: &str, width: f32) -> String {
        let letters: Vec<char> = name.chars().collect();
        let shortened = |kept: usize| -> String {
            let (head, tail) = (kept.div_ceil(2), kept / 2);
            let ends = letters[..head].iter().chain(&['…']).chain(&letters[letters.len() - tail..]);
            ends.collect::<String>() + rest
        };
        let line = name.to_string() + rest;
        if self.width(&line) <= width {
            return line;
        }
        (0..letters.len()).rev().map(shortened).find(|line| self.width(line) <= width).unwrap_or(shortened(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_is_shortened_in_its_middle() {
        let style = TextStyle { size: 16.0, weight: Weight::Regular };
        assert_eq!(style.fit("fox.png", " · 768 × 512", 400.0), "fox.png · 768 × 512");
        let fitted = style.fit("a-very-long-name-of-a-picture.png", " · 768 × 512", 200.0);
        assert!(
            fitted.starts_with("a-") && fitted.contains('…') && fitted.ends_with("g · 768 × 512"),
            "{fitted}"
        );
        assert!(style.width(&fitted) <= 200.0);
        assert_eq!(style.fit("name", " rest", 1.0), "… rest");
    }
}

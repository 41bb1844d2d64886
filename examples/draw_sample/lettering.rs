//! Capital letters made of strokes, drawn with a round pen.

use tiny_skia::{Path, PathBuilder};

use crate::canvas::{Canvas, Pt, Tint};

/// The height of a capital in the units of [`glyph`].
const CAP: f32 = 10.0;

/// Letter width and strokes: `M`ove, `L`ine and `C`urve.
fn glyph(letter: char) -> (f32, &'static str) {
    match letter {
        'A' => (8.0, "M0 10 L4 0 L8 10 M1.5 6.5 L6.5 6.5"),
        'B' => (6.4, "M0 0 L0 10 L3.4 10 C7.4 10 7.4 4.8 3.4 4.8 L0 4.8 M0 0 L3 0 C6.6 0 6.6 4.8 3 4.8"),
        'C' => (
            7.6,
            "M7.6 1.8 C6.8 .6 5.8 0 4.6 0 C1.8 0 0 2.1 0 5 C0 7.9 1.8 10 4.6 10 C5.8 10 6.8 9.4 7.6 8.2",
        ),
        'E' => (5.6, "M5.6 0 L0 0 L0 10 L5.6 10 M0 4.8 L4.8 4.8"),
        'F' => (5.4, "M5.4 0 L0 0 L0 10 M0 4.9 L4.6 4.9"),
        'G' => (
            8.2,
            "M7.6 1.8 C6.8 .6 5.8 0 4.6 0 C1.8 0 0 2.1 0 5 C0 7.9 1.8 10 4.6 10 C6.2 10 7.4 9.3 8.2 8.2 L8.2 5.4 L5.2 5.4",
        ),
        'H' => (7.0, "M0 0 L0 10 M7 0 L7 10 M0 4.8 L7 4.8"),
        'I' => (0.4, "M.2 0 L.2 10"),
        'K' => (6.6, "M0 0 L0 10 M6.2 0 L0 6.2 M2.4 4 L6.6 10"),
        'L' => (5.2, "M0 0 L0 10 L5.2 10"),
        'M' => (8.8, "M0 10 L.6 0 L4.4 6.8 L8.2 0 L8.8 10"),
        'N' => (7.2, "M0 10 L0 0 L7.2 10 L7.2 0"),
        'O' => {
            (9.2, "M4.6 0 C7.4 0 9.2 2.1 9.2 5 C9.2 7.9 7.4 10 4.6 10 C1.8 10 0 7.9 0 5 C0 2.1 1.8 0 4.6 0")
        }
        'P' => (6.2, "M0 10 L0 0 L3 0 C7.2 0 7.2 5.6 3 5.6 L0 5.6"),
        'R' => (6.6, "M0 10 L0 0 L3 0 C7 0 7 5.4 3 5.4 L0 5.4 M3 5.4 L6.6 10"),
        'S' => (
            6.2,
            "M5.8 1.6 C5.2 .5 4.2 0 3.1 0 C1.4 0 .3 1 .3 2.5 C.3 5.7 6.2 4.2 6.2 7.4 C6.2 9 5 10 3.2 10 C1.7 10 .6 9.3 0 8",
        ),
        'T' => (7.2, "M0 0 L7.2 0 M3.6 0 L3.6 10"),
        'U' => (7.0, "M0 0 L0 6.4 C0 11.2 7 11.2 7 6.4 L7 0"),
        ',' => (0.8, "M.8 9.8 L.2 12"),
        _ => (3.6, ""),
    }
}

/// The strokes of a glyph as a path.
fn strokes(code: &str) -> Option<Path> {
    let mut builder = PathBuilder::new();
    let mut words = code.split(' ').peekable();
    while let Some(word) = words.next() {
        let (command, first) = word.split_at_checked(1)?;
        let mut numbers = vec![first.parse::<f32>().ok()?];
        while let Some(number) = words.peek().and_then(|next| next.parse().ok()) {
            numbers.push(number);
            words.next();
        }
        match (command, numbers.as_slice()) {
            ("M", &[x, y]) => builder.move_to(x, y),
            ("L", &[x, y]) => builder.line_to(x, y),
            ("C", &[a, b, c, d, x, y]) => builder.cubic_to(a, b, c, d, x, y),
            _ => return None,
        }
    }
    builder.finish()
}

/// The style of a line of text.
#[derive(Clone, Copy)]
pub struct Type {
    /// Height of a capital in picture units.
    pub height: f32,
    /// Thickness of the pen in picture units.
    pub pen: f32,
    /// Gap between two letters in picture units.
    pub gap: f32,
    pub tint: Tint,
}

/// Writes a line with its top edge centred on `top`.
pub fn write(canvas: &mut Canvas, text: &str, top: Pt, style: Type) {
    let size = style.height / CAP;
    let widths: f32 = text.chars().map(|letter| glyph(letter).0 * size).sum();
    let gaps = style.gap * (text.chars().count().saturating_sub(1)) as f32;
    let mut x = top.0 - (widths + gaps) * 0.5;
    for letter in text.chars() {
        let (width, code) = glyph(letter);
        if let Some(path) = strokes(code) {
            canvas.placed((x, top.1), 0.0, size, |c| c.stroke(&path, style.pen / size, style.tint));
        }
        x += width * size + style.gap;
    }
}

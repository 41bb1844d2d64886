//! Pixels to paint on, one byte a channel.

use super::{FigureError, Rgb};
use crate::picture::write::file_bytes;
use crate::picture::{Format, MAX_PIXELS, Picture, PictureError};

/// A place on a canvas, in pixels from its upper left corner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rect {
    /// Pixels from the left.
    pub x: usize,
    /// Pixels from the top.
    pub y: usize,
    /// Pixels across.
    pub width: usize,
    /// Pixels down.
    pub height: usize,
}

/// An RGB picture that is being painted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Canvas {
    width: usize,
    height: usize,
    rgb: Vec<u8>, // [height, width, 3]
}

impl Canvas {
    /// A canvas of one colour.
    ///
    /// # Errors
    /// [`FigureError::TooLarge`], before memory is taken for it.
    pub fn new(width: usize, height: usize, colour: Rgb) -> Result<Self, FigureError> {
        let too_large = FigureError::TooLarge { width, height };
        let pixels = match width.checked_mul(height) {
            Some(pixels) if pixels as u64 <= MAX_PIXELS => pixels,
            _ => return Err(too_large),
        };
        let mut rgb = Vec::new();
        rgb.try_reserve_exact(3 * pixels).map_err(|_| too_large)?;
        rgb.extend(colour.iter().cycle().take(3 * pixels));
        Ok(Self { width, height, rgb })
    }

    /// Pixels across.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Pixels down.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Bytes `[height, width, 3]`.
    pub fn rgb8(&self) -> &[u8] {
        &self.rgb
    }

    /// The bytes of a picture file.
    pub fn to_file_bytes(&self, format: Format) -> Result<Vec<u8>, PictureError> {
        file_bytes(&self.rgb, self.width, self.height, format)
    }

    /// Fills a rectangle; what lies outside the canvas is cut off.
    pub fn fill(&mut self, rect: Rect, colour: Rgb) {
        let (left, right) = (rect.x.min(self.width), (rect.x + rect.width).min(self.width));
        for y in rect.y..(rect.y + rect.height).min(self.height) {
            let row = &mut self.rgb[3 * (y * self.width + left)..3 * (y * self.width + right)];
            row.chunks_exact_mut(3).for_each(|pixel| pixel.copy_from_slice(&colour));
        }
    }

    /// Lays `colour` over a pixel, as much of it as `share` (0 to 1) says.
    pub fn blend(&mut self, x: usize, y: usize, colour: Rgb, share: f32) {
        if x < self.width && y < self.height {
            let pixel = &mut self.rgb[3 * (y * self.width + x)..][..3];
            for (under, over) in pixel.iter_mut().zip(colour) {
                let mixed = f32::from(*under) * (1.0 - share) + f32::from(over) * share;
                *under = mixed.round() as u8;
            }
        }
    }

    /// Pastes a picture as it is with its upper left corner at `x`, `y`.
    ///
    /// # Panics
    /// If it does not lie within the canvas.
    pub fn paste(&mut self, picture: &Picture, x: usize, y: usize) {
        assert!(x + picture.width() <= self.width && y + picture.height() <= self.height, "it sticks out");
        let rgb = picture.to_rgb8();
        for (row, line) in rgb.chunks_exact(3 * picture.width()).enumerate() {
            self.rgb[3 * ((y + row) * self.width + x)..][..line.len()].copy_from_slice(line);
        }
    }

    /// Pastes a picture so that it fills `rect`: enlarged to crisp squares, shrunk with Lanczos.
    pub fn paste_into(&mut self, picture: &Picture, rect: Rect) {
        if rect.width < picture.width() || rect.height < picture.height() {
            return self.paste(&picture.resize(rect.width, rect.height), rect.x, rect.y);
        }
        let rgb = picture.to_rgb8();
        for y in 0..rect.height {
            let source = &rgb[3 * (y * picture.height() / rect.height) * picture.width()..];
            let row = &mut self.rgb[3 * ((rect.y + y) * self.width + rect.x)..][..3 * rect.width];
            for (x, pixel) in row.chunks_exact_mut(3).enumerate() {
                pixel.copy_from_slice(&source[3 * (x * picture.width() / rect.width)..][..3]);
            }
        }
    }
}

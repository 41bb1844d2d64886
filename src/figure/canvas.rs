//! The pixels of a figure, one byte per channel.

use crate::picture::write::file_bytes;
use crate::picture::{Format, Picture, PictureError};

use super::{FigureError, Rgb, checked_pixels};

/// A rectangle on a canvas, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rect {
    /// The distance from the left edge of the canvas.
    pub x: usize,
    /// The distance from the top edge of the canvas.
    pub y: usize,
    /// The width.
    pub width: usize,
    /// The height.
    pub height: usize,
}

/// An RGB picture to paint on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Canvas {
    width: usize,
    height: usize,
    rgb: Vec<u8>, // [height, width, 3]
}

impl Canvas {
    /// Creates a canvas of one colour.
    ///
    /// # Errors
    /// [`FigureError::TooLarge`], before any memory is allocated.
    pub fn new(width: usize, height: usize, colour: Rgb) -> Result<Self, FigureError> {
        let pixels = checked_pixels(width, height)?;
        let mut rgb = Vec::new();
        rgb.try_reserve_exact(3 * pixels).map_err(|_| FigureError::TooLarge { width, height })?;
        rgb.extend(colour.iter().cycle().take(3 * pixels));
        Ok(Self { width, height, rgb })
    }

    /// Width in pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// The bytes `[height, width, 3]`.
    pub fn rgb8(&self) -> &[u8] {
        &self.rgb
    }

    /// Returns the bytes of a picture file, like [`Picture::to_file_bytes`].
    pub fn to_file_bytes(&self, format: Format) -> Result<Vec<u8>, PictureError> {
        file_bytes(&self.rgb, self.width, self.height, format, None)
    }

    /// Returns the bytes of a picture file with a description, like [`Picture::to_file_bytes_with`].
    pub fn to_file_bytes_with(&self, format: Format, description: &str) -> Result<Vec<u8>, PictureError> {
        file_bytes(&self.rgb, self.width, self.height, format, Some(description))
    }

    /// Fills the part of a rectangle that lies on the canvas.
    pub fn fill(&mut self, rect: Rect, colour: Rgb) {
        let (left, right) = (rect.x.min(self.width), (rect.x + rect.width).min(self.width));
        for y in rect.y..(rect.y + rect.height).min(self.height) {
            let row = &mut self.rgb[3 * (y * self.width + left)..3 * (y * self.width + right)];
            row.chunks_exact_mut(3).for_each(|pixel| pixel.copy_from_slice(&colour));
        }
    }

    /// Blends `colour` over a pixel with an opacity in 0..1. Does nothing outside the canvas.
    pub fn blend(&mut self, x: usize, y: usize, colour: Rgb, opacity: f32) {
        if x < self.width && y < self.height {
            let pixel = &mut self.rgb[3 * (y * self.width + x)..][..3];
            for (under, over) in pixel.iter_mut().zip(colour) {
                let mixed = f32::from(*under) * (1.0 - opacity) + f32::from(over) * opacity;
                *under = mixed.round() as u8;
            }
        }
    }

    /// Pastes a picture at its own size with its upper left corner at `x`, `y`.
    ///
    /// # Panics
    /// If the picture extends beyond the canvas.
    pub fn paste(&mut self, picture: &Picture, x: usize, y: usize) {
        let (right, bottom) = (x + picture.width(), y + picture.height());
        assert!(right <= self.width && bottom <= self.height, "the picture extends beyond the canvas");
        let rgb = picture.rgb8();
        for (row, line) in rgb.chunks_exact(3 * picture.width()).enumerate() {
            self.rgb[3 * ((y + row) * self.width + x)..][..line.len()].copy_from_slice(line);
        }
    }

    /// Pastes a picture resized to `rect`: enlarged without smoothing, or shrunk with Lanczos.
    ///
    /// # Panics
    /// If `rect` extends beyond the canvas.
    pub fn paste_into(&mut self, picture: &Picture, rect: Rect) {
        if rect.width < picture.width() || rect.height < picture.height() {
            return self.paste(&picture.resize(rect.width, rect.height), rect.x, rect.y);
        }
        let rgb = picture.rgb8();
        for y in 0..rect.height {
            let source = &rgb[3 * (y * picture.height() / rect.height) * picture.width()..];
            let row = &mut self.rgb[3 * ((rect.y + y) * self.width + rect.x)..][..3 * rect.width];
            for (x, pixel) in row.chunks_exact_mut(3).enumerate() {
                pixel.copy_from_slice(&source[3 * (x * picture.width() / rect.width)..][..3]);
            }
        }
    }
}

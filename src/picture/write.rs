//! [`Picture`] → picture file.

use std::io::Cursor;
use std::path::Path;

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::codecs::webp::WebPEncoder;
use image::{ExtendedColorType, ImageEncoder};

use super::{Picture, PictureError};

/// A format that can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// PNG.
    Png,
    /// JPEG, which is lossy.
    Jpeg {
        /// The quality, from 1 to 100.
        quality: u8,
    },
    /// Lossless WebP.
    WebP,
}

impl Format {
    /// Returns the format for a file's extension; `quality` is used for JPEG only.
    ///
    /// # Errors
    /// A human-readable message if the extension is missing or unknown.
    pub fn from_path(path: &Path, quality: u8) -> Result<Self, String> {
        let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase());
        match extension.as_deref() {
            Some("png") => Ok(Self::Png),
            Some("jpg" | "jpeg") => Ok(Self::Jpeg { quality }),
            Some("webp") => Ok(Self::WebP),
            Some(other) => Err(format!("cannot write .{other} files; use .png, .jpg or .webp")),
            None => Err(format!("`{}` has no extension; use .png, .jpg or .webp", path.display())),
        }
    }

    /// Checks whether a picture of this width and height can be written.
    ///
    /// # Errors
    /// [`PictureError::TooLong`] if a side is longer than the format allows: 65535 for JPEG, 16383 for WebP (the limit of libwebp).
    pub fn check_size(self, width: usize, height: usize) -> Result<(), PictureError> {
        let (format, limit) = match self {
            Self::Png => return Ok(()), // more than a picture can have
            Self::Jpeg { .. } => ("JPEG", 65_535),
            Self::WebP => ("WebP", 16_383),
        };
        match width.max(height) <= limit {
            true => Ok(()),
            false => Err(PictureError::TooLong { width, height, format, limit }),
        }
    }
}

impl Picture {
    /// Returns the bytes of a picture file with 8 bits per channel.
    ///
    /// # Errors
    /// [`PictureError::TooLong`] if a side is too long for the format, or [`PictureError::Encode`].
    pub fn to_file_bytes(&self, format: Format) -> Result<Vec<u8>, PictureError> {
        file_bytes(&self.rgb8(), self.width, self.height, format)
    }
}

/// Bytes `[height, width, 3]` → the bytes of a picture file.
pub(crate) fn file_bytes(
    rgb: &[u8],
    width: usize,
    height: usize,
    format: Format,
) -> Result<Vec<u8>, PictureError> {
    format.check_size(width, height)?;
    let mut file = Cursor::new(Vec::new());
    let (width, height, color) = (width as u32, height as u32, ExtendedColorType::Rgb8);
    match format {
        Format::Png => PngEncoder::new(&mut file).write_image(rgb, width, height, color),
        Format::Jpeg { quality } => {
            JpegEncoder::new_with_quality(&mut file, quality).write_image(rgb, width, height, color)
        }
        Format::WebP => WebPEncoder::new_lossless(&mut file).write_image(rgb, width, height, color),
    }
    .map_err(PictureError::Encode)?;
    Ok(file.into_inner())
}

//! [`Picture`] → picture file.

use std::io::Cursor;
use std::path::Path;

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::codecs::webp::WebPEncoder;
use image::{ExtendedColorType, ImageEncoder, ImageError, ImageResult};

use super::description::to_exif;
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
        file_bytes(&self.rgb8(), self.width, self.height, format, None)
    }

    /// The same with `description` as the file's EXIF `ImageDescription`, and vae as its `Software`.
    ///
    /// # Errors
    /// [`PictureError::TooLong`] if a side is too long for the format, or [`PictureError::Encode`], also if the
    /// description is (64 KB in a JPEG).
    pub fn to_file_bytes_with(&self, format: Format, description: &str) -> Result<Vec<u8>, PictureError> {
        file_bytes(&self.rgb8(), self.width, self.height, format, Some(description))
    }
}

/// Bytes `[height, width, 3]` → the bytes of a picture file, which may have a description in its EXIF data.
pub(crate) fn file_bytes(
    rgb: &[u8],
    width: usize,
    height: usize,
    format: Format,
    description: Option<&str>,
) -> Result<Vec<u8>, PictureError> {
    format.check_size(width, height)?;
    let mut file = Cursor::new(Vec::new());
    let size = (width as u32, height as u32);
    match format {
        Format::Png => encode(PngEncoder::new(&mut file), rgb, size, description),
        Format::Jpeg { quality } => {
            encode(JpegEncoder::new_with_quality(&mut file, quality), rgb, size, description)
        }
        Format::WebP => encode(WebPEncoder::new_lossless(&mut file), rgb, size, description),
    }
    .map_err(PictureError::Encode)?;
    Ok(file.into_inner())
}

fn encode(
    mut encoder: impl ImageEncoder,
    rgb: &[u8],
    (width, height): (u32, u32),
    description: Option<&str>,
) -> ImageResult<()> {
    if let Some(description) = description {
        encoder.set_exif_metadata(to_exif(description)).map_err(ImageError::Unsupported)?;
    }
    encoder.write_image(rgb, width, height, ExtendedColorType::Rgb8)
}

//! The header of a picture file, read without decoding any pixels.

use image::metadata::Orientation;
use image::{ExtendedColorType, ImageDecoder, ImageFormat};

use super::PictureError;
use super::jpeg::JpegDecoder;
use super::profile::Profile;
use super::read::{decoder, orientation};

/// The header of a picture file.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// The file format: `PNG`, `JPEG` and so on.
    pub format: String,
    /// The stored width and height in pixels, before any rotation.
    pub stored: (u32, u32),
    /// The stored colours.
    pub color: Color,
    /// The transformation that makes the picture upright, if its EXIF data asks for one.
    pub turn: Option<&'static str>,
    /// The description of the colour profile, if there is one; see [`Profile::description`].
    pub profile: Option<String>,
}

/// The colours of a picture file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Color {
    /// The channels: `grey`, `RGB`, `CMYK`, `YCCK` and so on. `RGB` includes the YCbCr of JPEG.
    pub kind: &'static str,
    /// Bits per channel.
    pub bits: u16,
}

impl Facts {
    /// Reads the header from the bytes of a file.
    pub fn of(bytes: &[u8]) -> Result<Self, PictureError> {
        let (format, mut decoder) = decoder(bytes)?;
        let mut color = Color::of(decoder.original_color_type());
        if format == ImageFormat::Jpeg && JpegDecoder::new(bytes)?.is_ycck() {
            color.kind = "YCCK";
        }
        let orientation = orientation(format, bytes, &mut decoder)?;
        let profile = Profile::read(format, bytes, &mut decoder)?;
        Ok(Self {
            format: format!("{format:?}").to_uppercase(),
            stored: decoder.dimensions(),
            color,
            turn: turn(orientation),
            profile: profile.map(|profile| profile.description().to_string()),
        })
    }
}

impl Color {
    fn of(color: ExtendedColorType) -> Self {
        let channels = color.channel_count();
        let kind = match (color, channels) {
            (ExtendedColorType::Cmyk8 | ExtendedColorType::Cmyk16, _) => "CMYK",
            (ExtendedColorType::A8, _) => "alpha",
            (_, 1) => "grey",
            (_, 2) => "grey with alpha",
            (_, 3) => "RGB",
            _ => "RGB with alpha",
        };
        Self { kind, bits: color.bits_per_pixel() / u16::from(channels) }
    }
}

fn turn(orientation: Orientation) -> Option<&'static str> {
    Some(match orientation {
        Orientation::NoTransforms => return None,
        Orientation::Rotate90 => "turned 90° clockwise",
        Orientation::Rotate180 => "turned 180°",
        Orientation::Rotate270 => "turned 90° counter-clockwise",
        Orientation::FlipHorizontal => "mirrored left to right",
        Orientation::FlipVertical => "mirrored top to bottom",
        Orientation::Rotate90FlipH => "turned 90° clockwise, then mirrored left to right",
        Orientation::Rotate270FlipH => "turned 90° counter-clockwise, then mirrored left to right",
    })
}

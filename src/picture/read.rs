//! Picture file → [`Picture`].

use std::io::Cursor;
use std::path::Path;
use std::str::FromStr;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};

use super::jpeg::JpegDecoder;
use super::profile::Profile;
use super::tiff::TiffDecoder;
use super::{MAX_PIXELS, Picture, PictureError, Values, png, unsupported};

/// The RGB colour, 0..255 per channel, behind transparent pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Background(pub [u8; 3]);

impl Background {
    /// White, the default.
    pub const WHITE: Self = Self([255; 3]);
}

impl FromStr for Background {
    type Err = String;

    /// Parses `white`, `black`, `gray` or a hexadecimal colour as on the web: `#rrggbb` or `#rgb`, the `#` optional.
    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.strip_prefix('#').unwrap_or(text);
        let is_hex = digits.bytes().all(|b| b.is_ascii_hexdigit()); // `from_str_radix` also accepts a sign
        let value = u32::from_str_radix(digits, 16).unwrap_or_default();
        match (text, digits.len()) {
            ("white", _) => Ok(Self::WHITE),
            ("black", _) => Ok(Self([0; 3])),
            ("gray" | "grey", _) => Ok(Self([128; 3])),
            (_, 3) if is_hex => Ok(Self([8, 4, 0].map(|shift| (value >> shift & 0xf) as u8 * 17))),
            (_, 6) if is_hex => Ok(Self([16, 8, 0].map(|shift| (value >> shift) as u8))),
            _ => Err(format!("`{text}` is not a colour; use white, black, gray or #rrggbb")),
        }
    }
}

impl Picture {
    /// Reads a picture file as [`Picture::from_bytes`] does. Its content decides the format, not its name.
    pub fn open(path: &Path, background: Background) -> Result<Self, PictureError> {
        Self::from_bytes(&std::fs::read(path).map_err(PictureError::Read)?, background)
    }

    /// Reads the bytes of a picture file: rotated as its EXIF data says, the first frame of an animation, grey as
    /// equal R, G and B, alpha composited onto `background`. Its colour profile is ignored.
    ///
    /// # Errors
    /// [`PictureError::UnknownFormat`], [`PictureError::Unsupported`], [`PictureError::Decode`],
    /// [`PictureError::Incomplete`], [`PictureError::UnsupportedJpeg`], [`PictureError::FloatRange`] or [`PictureError::TooLarge`].
    pub fn from_bytes(bytes: &[u8], background: Background) -> Result<Self, PictureError> {
        Self::decode(bytes, background, false)
    }

    /// Reads the bytes of a picture file as [`Picture::from_bytes`] does, with the colours converted from its
    /// [`Profile`] to sRGB. The intent is perceptual, without black point compensation, as in Pillow's
    /// `ImageCms.profileToProfile`.
    ///
    /// # Errors
    /// Those of [`Picture::from_bytes`], and [`PictureError::Profile`].
    pub fn from_bytes_in_srgb(bytes: &[u8], background: Background) -> Result<Self, PictureError> {
        Self::decode(bytes, background, true)
    }

    fn decode(bytes: &[u8], background: Background, to_srgb: bool) -> Result<Self, PictureError> {
        let (format, mut decoder) = decoder(bytes)?;
        let (width, height) = decoder.dimensions();
        let orientation = orientation(format, bytes, &mut decoder)?;
        let profile = if to_srgb { Profile::read(format, bytes, &mut decoder)? } else { None };
        let mut image = DynamicImage::from_decoder(decoder).map_err(|e| match e {
            ImageError::Limits(_) => PictureError::TooLarge { width, height },
            other => PictureError::Decode(other),
        })?;
        check_floats(&image)?;
        if let Some(profile) = profile {
            image = profile.convert(image)?;
        }
        image.apply_orientation(orientation);
        Ok(Self::from_image(image, background))
    }

    /// Returns the width and height that [`Picture::from_bytes`] would give, from the header alone.
    pub fn size_of(bytes: &[u8]) -> Result<(usize, usize), PictureError> {
        use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
        let (format, mut decoder) = decoder(bytes)?;
        let (width, height) = (decoder.dimensions().0 as usize, decoder.dimensions().1 as usize);
        Ok(match orientation(format, bytes, &mut decoder)? {
            Rotate90 | Rotate90FlipH | Rotate270 | Rotate270FlipH => (height, width),
            _ => (width, height),
        })
    }

    fn from_image(image: DynamicImage, Background(background): Background) -> Self {
        let (width, height) = (image.width() as usize, image.height() as usize);
        let color = image.color();
        let is_8bit = color.bytes_per_pixel() == color.channel_count(); // one byte per channel
        let background = background.map(f32::from);
        let values = if is_8bit && !color.has_alpha() {
            Values::U8(image.into_rgb8().into_raw())
        } else if is_8bit {
            let opaque = |[r, g, b, a]: [f32; 4]| composite([r, g, b], a / 255.0, background);
            let level = |v: f32| v.round() as u8;
            Values::U8(
                image.into_rgba8().pixels().flat_map(|p| opaque(p.0.map(f32::from)).map(level)).collect(),
            )
        } else {
            let background = background.map(|v| v / 255.0);
            let opaque = |[r, g, b, a]: [f32; 4]| composite([r, g, b], a, background);
            let level = |v: f32| v.clamp(0.0, 1.0) * 255.0;
            Values::F32(image.into_rgba32f().pixels().flat_map(|p| opaque(p.0).map(level)).collect())
        };
        Self::new(width, height, values)
    }
}

/// Composites a colour with an alpha in 0..1 onto a background.
fn composite(color: [f32; 3], alpha: f32, background: [f32; 3]) -> [f32; 3] {
    [0, 1, 2].map(|i| color[i] * alpha + background[i] * (1.0 - alpha))
}

/// Fails if floats are NaN or outside 0..1. TIFF does not state their scale, and clamping would hide an error.
fn check_floats(image: &DynamicImage) -> Result<(), PictureError> {
    let values = match image {
        DynamicImage::ImageRgb32F(image) => image.as_raw(),
        DynamicImage::ImageRgba32F(image) => image.as_raw(),
        _ => return Ok(()),
    };
    match values.iter().filter(|v| !(0.0..=1.0).contains(*v)).count() {
        0 => Ok(()),
        bad => Err(PictureError::FloatRange { bad, all: values.len() }),
    }
}

/// Returns how the picture is turned upright.
pub(super) fn orientation(
    format: ImageFormat,
    bytes: &[u8],
    decoder: &mut impl ImageDecoder,
) -> Result<Orientation, PictureError> {
    match format {
        ImageFormat::Png => Ok(png::orientation(bytes)),
        _ => decoder.orientation().map_err(PictureError::Decode),
    }
}

/// Returns the format of a picture file and a decoder within [`MAX_PIXELS`]. No pixel is decoded yet.
pub(super) fn decoder(bytes: &[u8]) -> Result<(ImageFormat, Box<dyn ImageDecoder + '_>), PictureError> {
    if let Some(format) = unsupported::format(bytes) {
        return Err(PictureError::Unsupported(format));
    }
    let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format();
    let mut reader = reader.map_err(PictureError::Read)?;
    if let [b'I', b'I', 43, 0, ..] | [b'M', b'M', 0, 43, ..] = bytes {
        reader.set_format(ImageFormat::Tiff); // BigTIFF
    }
    let format = reader.format().ok_or(PictureError::UnknownFormat)?;
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_PIXELS * 8); // bytes of a 16-bit RGBA pixel
    if format == ImageFormat::Png {
        limits.max_alloc = Some(png::max_memory(bytes));
    }
    reader.limits(limits);
    let decoder: Box<dyn ImageDecoder> = match format {
        ImageFormat::Jpeg => Box::new(JpegDecoder::new(bytes)?),
        ImageFormat::Tiff => match TiffDecoder::open(bytes)? {
            Some(decoder) => Box::new(decoder),
            None => Box::new(reader.into_decoder().map_err(PictureError::Decode)?),
        },
        _ => Box::new(reader.into_decoder().map_err(PictureError::Decode)?),
    };
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(PictureError::TooLarge { width, height });
    }
    Ok((format, decoder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_background_is_a_name_or_hexadecimal() {
        assert_eq!("white".parse(), Ok(Background([255, 255, 255])));
        assert_eq!("#0a80ff".parse(), Ok(Background([10, 128, 255])));
        assert_eq!("0a80ff".parse(), Ok(Background([10, 128, 255])));
        assert_eq!("#f08".parse(), Ok(Background([255, 0, 136])));
        for wrong in ["", "#", "#12345", "whitish", "#éé", "+1+2+3", "#12345g"] {
            assert!(wrong.parse::<Background>().is_err(), "{wrong:?}");
        }
    }
}

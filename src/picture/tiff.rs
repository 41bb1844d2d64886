//! TIFF files that the `image` crate does not read: palettes, grey with 2 or 4 bits, and grey floats.

use std::borrow::Cow;
use std::io::Cursor;

use image::error::{DecodingError, ImageFormatHint};
use image::metadata::Orientation;
use image::{ColorType, ExtendedColorType, ImageDecoder, ImageError, ImageFormat, ImageResult};
use tiff::TiffError;
use tiff::decoder::{Decoder, DecodingResult, Limits};
use tiff::tags::Tag;

use super::{MAX_PIXELS, PictureError};

/// A decoder of one of these files.
pub struct TiffDecoder<'a> {
    file: Decoder<Cursor<Cow<'a, [u8]>>>,
    size: (u32, u32),
    kind: Kind,
}

enum Kind {
    /// Whole numbers of 2 or 4 bits.
    Grey { bits: u8 },
    /// Numbers in 0..1.
    GreyFloat,
    /// Indices of 1, 2, 4 or 8 bits.
    Palette { bits: u8, colors: Vec<[u8; 3]> },
}

/// The tag `PhotometricInterpretation`: what the values mean.
mod photometric {
    pub const WHITE_IS_ZERO: u16 = 0;
    pub const BLACK_IS_ZERO: u16 = 1;
    pub const PALETTE: u16 = 3;
    pub const CIE_LAB: u16 = 8;
    pub const ITU_LAB: u16 = 10;
}

impl<'a> TiffDecoder<'a> {
    /// Opens a TIFF file; `None` if it is not one of these.
    ///
    /// # Errors
    /// [`PictureError::Unsupported`] for CIELab colours, and [`PictureError::Decode`] for a palette that is not complete.
    pub fn open(bytes: &'a [u8]) -> Result<Option<Self>, PictureError> {
        use photometric::{BLACK_IS_ZERO, CIE_LAB, ITU_LAB, PALETTE, WHITE_IS_ZERO};
        let Ok(mut file) = Decoder::new(Cursor::new(Cow::Borrowed(bytes))) else { return Ok(None) };
        let mut tag = |tag| -> Option<u16> { file.find_tag_unsigned_vec(tag).ok()??.first().copied() };
        let meaning = tag(Tag::PhotometricInterpretation);
        let (bits, samples) = (tag(Tag::BitsPerSample).unwrap_or(1), tag(Tag::SamplesPerPixel).unwrap_or(1));
        let is_float = tag(Tag::SampleFormat) == Some(3);
        let kind = match (meaning, samples, bits) {
            (Some(CIE_LAB..=ITU_LAB), ..) => {
                return Err(PictureError::Unsupported("CIELab TIFF"));
            }
            (Some(PALETTE), 1, 1 | 2 | 4 | 8) if !is_float => {
                Kind::Palette { bits: bits as u8, colors: palette(&mut file, 1 << bits)? }
            }
            (Some(WHITE_IS_ZERO | BLACK_IS_ZERO), 1, 2 | 4) if !is_float => Kind::Grey { bits: bits as u8 },
            (Some(WHITE_IS_ZERO | BLACK_IS_ZERO), 1, 32) if is_float => Kind::GreyFloat,
            _ => return Ok(None),
        };
        let size = file.dimensions().map_err(|e| PictureError::Decode(decoding_error(e)))?;
        if let Kind::Palette { .. } = kind {
            // The crate reads palettes' indices only as grey values.
            file = Decoder::new(Cursor::new(Cow::Owned(with_grey_values(bytes))))
                .map_err(|e| PictureError::Decode(decoding_error(e)))?;
        }
        let mut limits = Limits::default();
        limits.decoding_buffer_size = MAX_PIXELS as usize * 4;
        limits.intermediate_buffer_size = MAX_PIXELS as usize * 4;
        limits.ifd_value_size = limits.intermediate_buffer_size;
        Ok(Some(Self { file: file.with_limits(limits), size, kind }))
    }

    /// Returns the values, row by row, each as one element.
    fn values(&mut self, bits: u8) -> Result<Vec<u8>, TiffError> {
        let DecodingResult::U8(packed) = self.file.read_image()? else { return Ok(Vec::new()) };
        let (width, bits) = (self.size.0 as usize, usize::from(bits));
        let value =
            |row: &[u8], x: usize| row[x * bits / 8] >> (8 - bits - x * bits % 8) & (0xff >> (8 - bits));
        let row = |row| (0..width).map(move |x| value(row, x));
        Ok(packed.chunks_exact((width * bits).div_ceil(8)).flat_map(row).collect())
    }
}

/// Returns the ICC profile of a TIFF file. (The `image` crate allows no more bytes for it than the pixels have.)
pub fn icc_profile(bytes: &[u8]) -> Result<Option<Vec<u8>>, TiffError> {
    let mut limits = Limits::default();
    limits.decoding_buffer_size = 256 << 20; // the crate needs 32 bytes for each byte of a tag
    let mut file = Decoder::new(Cursor::new(bytes))?.with_limits(limits);
    file.find_tag(Tag::IccProfile)?.map(|value| value.into_u8_vec()).transpose()
}

/// Reads a palette of `count` colours: 16-bit numbers, first all red ones, then green, then blue. Their low bytes are
/// dropped, as in Pillow.
fn palette(file: &mut Decoder<Cursor<Cow<'_, [u8]>>>, count: usize) -> Result<Vec<[u8; 3]>, PictureError> {
    let map = file.get_tag_u16_vec(Tag::ColorMap).map_err(|e| PictureError::Decode(decoding_error(e)))?;
    if map.len() != 3 * count {
        let message = format!("a palette of {} numbers for {count} colours", map.len());
        return Err(PictureError::Decode(decoding_error(message)));
    }
    Ok((0..count).map(|i| [0, 1, 2].map(|c| (map[c * count + i] >> 8) as u8)).collect())
}

/// Returns a copy of a TIFF file whose first picture is declared as grey.
fn with_grey_values(bytes: &[u8]) -> Vec<u8> {
    let mut copy = bytes.to_vec();
    if let Some(value) = photometric_value(bytes).and_then(|at| copy.get_mut(at..at + 2)) {
        let grey = photometric::BLACK_IS_ZERO;
        value.copy_from_slice(&if bytes[0] == b'I' { grey.to_le_bytes() } else { grey.to_be_bytes() });
    }
    copy
}

/// Finds the value of `PhotometricInterpretation` in the first directory of a TIFF or BigTIFF file.
fn photometric_value(bytes: &[u8]) -> Option<usize> {
    let is_little_endian = bytes.first() == Some(&b'I');
    let number = |at: usize, len: usize| {
        let bytes = bytes.get(at..at.checked_add(len)?)?.iter();
        let add = |number: usize, byte: &u8| number << 8 | usize::from(*byte);
        Some(if is_little_endian { bytes.rev().fold(0, add) } else { bytes.fold(0, add) })
    };
    let is_big = number(2, 2)? == 43;
    let (start, count_len, entry_len, value) =
        if is_big { (number(8, 8)?, 8, 20, 12) } else { (number(4, 4)?, 2, 12, 8) };
    let first = start.checked_add(count_len)?;
    let mut entries = (0..number(start, count_len)?).map_while(|i| {
        let at = first + i * entry_len;
        Some((at, number(at, 2)?))
    });
    let (at, _) = entries.find(|(_, tag)| *tag == usize::from(Tag::PhotometricInterpretation.to_u16()))?;
    Some(at + value)
}

fn decoding_error(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ImageError {
    ImageError::Decoding(DecodingError::new(ImageFormatHint::Exact(ImageFormat::Tiff), error))
}

impl ImageDecoder for TiffDecoder<'_> {
    fn dimensions(&self) -> (u32, u32) {
        self.size
    }

    fn color_type(&self) -> ColorType {
        match self.kind {
            Kind::Grey { .. } => ColorType::L8,
            Kind::GreyFloat => ColorType::Rgb32F, // the crate has no grey floats
            Kind::Palette { .. } => ColorType::Rgb8,
        }
    }

    fn original_color_type(&self) -> ExtendedColorType {
        match self.kind {
            Kind::Grey { bits: 2 } => ExtendedColorType::L2,
            Kind::Grey { .. } => ExtendedColorType::L4,
            Kind::GreyFloat => ExtendedColorType::Unknown(32),
            Kind::Palette { .. } => ExtendedColorType::Rgb8,
        }
    }

    fn orientation(&mut self) -> ImageResult<Orientation> {
        let value: Option<u8> = self.file.find_tag_unsigned(Tag::Orientation).map_err(decoding_error)?;
        Ok(value.and_then(Orientation::from_exif).unwrap_or(Orientation::NoTransforms))
    }

    fn read_image(mut self, buffer: &mut [u8]) -> ImageResult<()> {
        let values: Vec<u8> = match self.kind {
            Kind::Grey { bits } => {
                let scale = 0xff / (0xff >> (8 - bits));
                self.values(bits).map_err(decoding_error)?.iter().map(|v| v * scale).collect()
            }
            Kind::Palette { bits, ref mut colors } => {
                let colors = std::mem::take(colors);
                let indices = self.values(bits).map_err(decoding_error)?;
                indices.iter().flat_map(|&i| colors[usize::from(i)]).collect()
            }
            Kind::GreyFloat => match self.file.read_image().map_err(decoding_error)? {
                DecodingResult::F32(values) => {
                    values.iter().flat_map(|v| [v.to_ne_bytes(); 3]).flatten().collect()
                }
                _ => Vec::new(),
            },
        };
        if values.len() != buffer.len() {
            return Err(decoding_error("the picture has the wrong number of values"));
        }
        buffer.copy_from_slice(&values);
        Ok(())
    }

    fn read_image_boxed(self: Box<Self>, buffer: &mut [u8]) -> ImageResult<()> {
        (*self).read_image(buffer)
    }
}

//! JPEG file → the same bytes as in Pillow.
//!
//! JPEG leaves rounding and the interpolation of subsampled colours to the decoder. Pillow uses libjpeg-turbo, so this
//! module does too: its C code is part of the crate `mozjpeg` and needs only a C compiler. zune-jpeg, the decoder of
//! the crate `image`, differs by up to 4 levels in ordinary pictures; the Rust port libjpeg-turbo-rs 0.9 panics on some
//! damaged files.
//!
//! libjpeg treats damaged data within a scan as a warning, and so do Pillow and this module. The result is the picture
//! that Pillow returns, except for values far out of range, which Pillow's SIMD instructions clip differently. Fatal errors unwind from C to Rust, so they need `panic = "unwind"`, which is Rust's default.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use image::error::{DecodingError, ImageFormatHint};
use image::{ColorType, ExtendedColorType, ImageDecoder, ImageError, ImageFormat, ImageResult};
use mozjpeg::{ColorSpace, Decompress, Marker};

use super::PictureError;

/// The most scans of a file. A progressive file has about 10. Each scan visits the whole picture, however few bytes it
/// has: 500 empty ones of a picture of the largest size take about 20 seconds.
const MAX_SCANS: usize = 500;

/// A JPEG file whose header is read. CMYK and YCCK become RGB as in Pillow's `convert("RGB")`.
pub(super) struct JpegDecoder<'a> {
    decompress: Decompress<&'a [u8]>,
}

impl<'a> JpegDecoder<'a> {
    /// Reads the header. [`ImageDecoder::read_image`] allocates the memory for the pixels: for a file of several scans,
    /// such as a progressive one, up to 8 bytes per pixel in addition to its output.
    ///
    /// # Errors
    /// [`PictureError::Incomplete`], [`PictureError::UnsupportedJpeg`] or [`PictureError::Decode`].
    pub(super) fn new(bytes: &'a [u8]) -> Result<Self, PictureError> {
        let markers = Markers::of(bytes);
        if !markers.is_complete {
            return Err(PictureError::Incomplete);
        }
        if let Some(what) = markers.unsupported() {
            return Err(PictureError::UnsupportedJpeg(what));
        }
        let read = || Decompress::with_markers(&[Marker::APP(1), Marker::APP(2)]).from_mem(bytes);
        let decompress = guarded(read).map_err(PictureError::Decode)?;
        match decompress.components().len() {
            1 | 3 | 4 => Ok(Self { decompress }),
            n => Err(PictureError::UnsupportedJpeg(format!("with {n} channels"))),
        }
    }

    /// Checks whether the colours are YCCK, which is to CMYK what YCbCr is to RGB.
    pub(super) fn is_ycck(&self) -> bool {
        self.decompress.color_space() == ColorSpace::JCS_YCCK
    }

    /// Returns what the segments of `marker` that begin with `name` contain after it.
    fn segments(&self, marker: Marker, name: &[u8]) -> Vec<&[u8]> {
        let segments = self.decompress.markers().filter(|segment| segment.marker == marker);
        segments.filter_map(|segment| segment.data.strip_prefix(name)).collect()
    }
}

impl ImageDecoder for JpegDecoder<'_> {
    fn dimensions(&self) -> (u32, u32) {
        (self.decompress.width() as u32, self.decompress.height() as u32) // at most 65500
    }

    fn color_type(&self) -> ColorType {
        if self.decompress.components().len() == 1 { ColorType::L8 } else { ColorType::Rgb8 }
    }

    fn original_color_type(&self) -> ExtendedColorType {
        match self.decompress.components().len() {
            4 => ExtendedColorType::Cmyk8,
            _ => self.color_type().into(),
        }
    }

    fn exif_metadata(&mut self) -> ImageResult<Option<Vec<u8>>> {
        let exif = self.segments(Marker::APP(1), b"Exif\0\0").concat();
        Ok(Some(exif).filter(|exif| !exif.is_empty()))
    }

    fn icc_profile(&mut self) -> ImageResult<Option<Vec<u8>>> {
        let mut parts = self.segments(Marker::APP(2), b"ICC_PROFILE\0");
        parts.sort_by_key(|part| part.first().copied()); // its number, then the number of parts
        let count = parts.first().and_then(|part| part.get(1)).copied().unwrap_or(0);
        let parts: Vec<&[u8]> = parts.iter().filter_map(|part| part.get(2..)).collect();
        Ok(Some(parts.concat()).filter(|profile| parts.len() == usize::from(count) && !profile.is_empty()))
    }

    fn read_image(self, pixels: &mut [u8]) -> ImageResult<()> {
        let space = match self.decompress.components().len() {
            1 => ColorSpace::JCS_GRAYSCALE,
            3 => ColorSpace::JCS_RGB,
            _ => ColorSpace::JCS_CMYK,
        };
        guarded(|| {
            let mut started = self.decompress.to_colorspace(space)?;
            if space == ColorSpace::JCS_CMYK {
                let mut row = vec![0u8; started.width() * 4];
                for pixels in pixels.chunks_exact_mut(started.width() * 3) {
                    started.read_scanlines_into(&mut row)?;
                    for (rgb, cmyk) in pixels.as_chunks_mut().0.iter_mut().zip(row.as_chunks().0) {
                        *rgb = rgb_of(*cmyk);
                    }
                }
            } else {
                started.read_scanlines_into(pixels)?;
            }
            started.finish()
        })
    }

    fn read_image_boxed(self: Box<Self>, pixels: &mut [u8]) -> ImageResult<()> {
        (*self).read_image(pixels)
    }
}

/// Returns the RGB colour of a stored CMYK colour as Pillow does: with the assumption that the file stores 255 − ink, as
/// Adobe's programs do, and without a colour profile.
fn rgb_of([c, m, y, k]: [u8; 4]) -> [u8; 3] {
    [c, m, y].map(|stored| {
        let product = u32::from(255 - stored) * u32::from(k) + 128;
        k.saturating_sub((((product >> 8) + product) >> 8) as u8) // ÷ 255, rounded
    })
}

/// Runs a part of libjpeg, and returns its fatal errors, which unwind without calling the panic hook.
fn guarded<T>(part: impl FnOnce() -> io::Result<T>) -> ImageResult<T> {
    let message = match catch_unwind(AssertUnwindSafe(part)) {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.downcast_ref::<String>().map_or("unknown error", String::as_str).to_owned(),
    };
    let message = message.strip_prefix("libjpeg fatal error: ").unwrap_or(&message);
    Err(ImageError::Decoding(DecodingError::new(ImageFormatHint::Exact(ImageFormat::Jpeg), message)))
}

/// The markers of a JPEG file, up to the first end-of-image marker.
#[derive(Default)]
struct Markers {
    /// Whether there is an end-of-image marker. Without it, libjpeg fills the missing part with grey and reports no
    /// error.
    is_complete: bool,
    /// The number of scans.
    scans: usize,
    /// The first start-of-frame marker, and its bits per channel.
    frame: Option<(u8, u8)>,
}

impl Markers {
    /// Walks from marker to marker (ITU-T T.81, annex B): a segment states its length; within a scan, 0xff is followed
    /// by 0 or is a restart marker.
    fn of(bytes: &[u8]) -> Self {
        let mut markers = Self::default();
        let mut at = 2; // after the start-of-image marker
        while let Some(&[first, second]) = bytes.get(at..at + 2) {
            at += match (first, second) {
                (0xff, 0xd9) => {
                    markers.is_complete = true;
                    break;
                }
                (0xff, 0x01 | 0xd0..=0xd8) => 2,
                (0xff, 0x00 | 0xff) | (..0xff, _) => 1, // data, or padding before a marker
                (0xff, marker) => {
                    let Some(&[high, low]) = bytes.get(at + 2..at + 4) else { break };
                    match marker {
                        0xda => markers.scans += 1,
                        0xc4 | 0xc8 | 0xcc => {} // tables
                        0xc0..=0xcf if markers.frame.is_none() => {
                            markers.frame = bytes.get(at + 4).map(|&bits| (marker, bits));
                        }
                        _ => {}
                    }
                    2 + usize::from(u16::from_be_bytes([high, low]))
                }
            };
        }
        markers
    }

    /// Returns what cannot be decoded, as in "a JPEG … is not supported".
    fn unsupported(&self) -> Option<String> {
        match self.frame {
            Some((0xc3, _)) => Some("with lossless coding".into()),
            Some((0xc5..=0xc7, _)) => Some("with hierarchical coding".into()),
            Some((0xc9..=0xcf, _)) => Some("with arithmetic coding".into()),
            Some((_, bits)) if bits != 8 => Some(format!("with {bits} bits per channel")),
            _ if self.scans > MAX_SCANS => Some(format!("with more than {MAX_SCANS} scans")),
            _ => None,
        }
    }
}

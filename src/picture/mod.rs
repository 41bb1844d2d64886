//! Picture files ⇄ pixels.
//!
//! | file | what |
//! | --- | --- |
//! | [`read`] | a picture file → [`Picture`], upright and without alpha |
//! | `jpeg` | JPEG file → the same bytes as in Pillow |
//! | [`facts`] | the header of a picture file |
//! | [`profile`] | colour profiles, and the conversion to sRGB |
//! | `png` | chunks of PNG that the decoder does not report |
//! | `tiff` | kinds of TIFF that the decoder does not read |
//! | `unsupported` | names of formats that cannot be read |
//! | [`resize`] | Pillow's LANCZOS |
//! | [`tensor`] | [`Picture`] ⇄ tensor `[1, 3, h, w]` in −1..1 |
//! | [`mod@write`] | [`Picture`] → PNG, JPEG or WebP |
//! | [`description`] | the text that a written file carries in its EXIF data |

use std::borrow::Cow;

pub mod description;
pub mod facts;
mod jpeg;
mod png;
pub mod profile;
pub mod read;
pub mod resize;
pub mod tensor;
mod tiff;
mod unsupported;
pub mod write;

pub use description::Described;
pub use facts::Facts;
pub use profile::Profile;
pub use read::Background;
pub use write::Format;

/// The built-in sample picture, a PNG of 768×512 pixels, drawn by `examples/draw_sample`.
pub const SAMPLE_PNG: &[u8] = include_bytes!("../../assets/sample.png");

/// The most pixels that a picture may have, read, decoded or drawn: Pillow's own limit (twice its
/// `Image.MAX_IMAGE_PIXELS`). Larger ones are refused before memory is allocated for them.
pub const MAX_PIXELS: u64 = 178_956_970;

/// The version of the computation from a picture file to the pixels that are encoded, and of [`Picture::resize`]. It is
/// raised with every change of the values, so that results of an older version can be told apart.
pub const PREPROCESSING_VERSION: u32 = 1;

/// An RGB picture in memory, row by row from the top, without alpha.
///
/// Its values are in 0..255: whole numbers if the picture has 8 bits per channel; with 16 bits, they keep the
/// fractions that 8 bits cannot hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    width: usize,
    height: usize,
    values: Values,
}

/// The values `[height, width, 3]` of a picture, in 0..255.
#[derive(Debug, Clone, PartialEq)]
enum Values {
    /// Of 8 bits per channel.
    U8(Vec<u8>),
    /// Of more bits, with fractions.
    F32(Vec<f32>),
}

/// Why a picture could not be read, prepared or written.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    /// The file cannot be opened or read.
    #[error("cannot read the file: {0}")]
    Read(std::io::Error),
    /// The header or the data of the picture is damaged, or of a kind that cannot be decoded.
    #[error("not a readable picture: {0}")]
    Decode(image::ImageError),
    /// A JPEG file without an end-of-image marker.
    #[error("the picture is incomplete; download or copy it again")]
    Incomplete,
    /// A JPEG file of a kind that is not supported, such as `with arithmetic coding`.
    #[error("a JPEG {0} is not supported")]
    UnsupportedJpeg(String),
    /// The model's output is not a picture.
    #[error("{bad} of {all} decoded values are NaN or infinite")]
    NotFinite {
        /// The number of NaN and infinite values.
        bad: usize,
        /// The number of values.
        all: usize,
    },
    /// An error of candle.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
    /// The content is in none of the formats that can be read, nor in another one that is known.
    #[error("not a PNG, JPEG, WebP, TIFF, BMP, GIF or QOI picture")]
    UnknownFormat,
    /// A format that is known but cannot be read.
    #[error("{0} pictures are not supported; convert it to PNG")]
    Unsupported(&'static str),
    /// Floating-point values without a known scale.
    #[error(
        "{bad} of {all} floating-point values are NaN or not in 0 to 1, so that their scale is not known; convert the picture to 8 or 16 bits"
    )]
    FloatRange {
        /// The number of such values.
        bad: usize,
        /// The number of values.
        all: usize,
    },
    /// The colour profile cannot be converted to sRGB.
    #[error("cannot convert the colour profile: {0}; use --icc keep to ignore it")]
    Profile(String),
    /// More than [`MAX_PIXELS`].
    #[error("{width}×{height} pixels is more than the limit of {} megapixels", MAX_PIXELS / 1_000_000)]
    TooLarge {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// A side is longer than the format of the file allows.
    #[error(
        "{width}×{height} pixels is too large for a {format} file, whose sides have at most {limit}; use .png"
    )]
    TooLong {
        /// Width in pixels.
        width: usize,
        /// Height in pixels.
        height: usize,
        /// The name of the format.
        format: &'static str,
        /// The longest side in pixels.
        limit: usize,
    },
    /// A side is smaller than the multiple that it is rounded down to.
    #[error("{width}×{height} pixels is too small: both sides must be at least {multiple}{}", if *multiple > 8 && (*width).min(*height) >= 8 { "; try --multiple 8" } else { "" })]
    TooSmall {
        /// Width in pixels.
        width: usize,
        /// Height in pixels.
        height: usize,
        /// What both sides are rounded down to a multiple of.
        multiple: usize,
    },
    /// The picture cannot be stored in the format.
    #[error("cannot write the picture: {0}")]
    Encode(image::ImageError),
}

impl Picture {
    /// Creates an 8-bit picture from bytes `[height, width, 3]`.
    ///
    /// # Panics
    /// If the number of bytes is not width × height × 3.
    pub fn from_rgb8(width: usize, height: usize, bytes: &[u8]) -> Self {
        Self::new(width, height, Values::U8(bytes.to_vec()))
    }

    fn new(width: usize, height: usize, values: Values) -> Self {
        let len = match &values {
            Values::U8(values) => values.len(),
            Values::F32(values) => values.len(),
        };
        assert_eq!(len, width * height * 3, "a picture of {width}×{height}");
        Self { width, height, values }
    }

    /// Width in pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// The values `[height, width, 3]` in 0..255.
    pub fn values(&self) -> Cow<'_, [f32]> {
        match &self.values {
            Values::U8(values) => values.iter().map(|&v| f32::from(v)).collect(),
            Values::F32(values) => Cow::Borrowed(values),
        }
    }

    /// The values `[height, width, 3]`, rounded to bytes.
    pub fn to_rgb8(&self) -> Vec<u8> {
        self.rgb8().into_owned()
    }

    /// The same as [`Picture::to_rgb8`], without a copy if the picture has 8 bits per channel.
    pub(crate) fn rgb8(&self) -> Cow<'_, [u8]> {
        match &self.values {
            Values::U8(values) => Cow::Borrowed(values),
            Values::F32(values) => values.iter().map(|v| v.round() as u8).collect(),
        }
    }

    /// Returns what the VAE encodes: the picture resized with Pillow's LANCZOS, both sides rounded down to a
    /// multiple of `multiple`. This is the tutorial's `preprocess`, whose multiple is 32: 516×484 becomes 512×480.
    ///
    /// # Errors
    /// [`PictureError::TooSmall`] if a side is smaller than `multiple`.
    pub fn preprocess(&self, multiple: usize) -> Result<Self, PictureError> {
        let (width, height) = Self::preprocessed_size((self.width, self.height), multiple)?;
        Ok(self.resize(width, height))
    }

    /// Returns the width and height that [`Picture::preprocess`] gives a picture of this width and height.
    ///
    /// # Errors
    /// [`PictureError::TooSmall`] if a side is smaller than `multiple`.
    pub fn preprocessed_size(
        (width, height): (usize, usize),
        multiple: usize,
    ) -> Result<(usize, usize), PictureError> {
        if width < multiple || height < multiple {
            return Err(PictureError::TooSmall { width, height, multiple });
        }
        Ok((width - width % multiple, height - height % multiple))
    }
}

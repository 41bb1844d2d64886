//! Picture files ⇄ pixels.
//!
//! | file | what |
//! | --- | --- |
//! | [`read`] | a file of any format → [`Picture`]: orientation applied, alpha composited |
//! | [`facts`] | what a file says of itself before it is decoded |
//! | [`resize`] | Pillow's LANCZOS |
//! | [`tensor`] | [`Picture`] ⇄ tensor `[1,3,h,w]` in −1..1 |
//! | [`mod@write`] | [`Picture`] → PNG, JPEG or WebP |

pub mod facts;
pub mod read;
pub mod resize;
pub mod tensor;
pub mod write;

pub use facts::Facts;
pub use read::Background;
pub use write::Format;

/// The picture that comes with the program, 768×512, drawn by `examples/draw_sample`.
pub const SAMPLE_PNG: &[u8] = include_bytes!("../../assets/sample.png");

/// The most pixels that a picture may have, read, decoded or drawn: Pillow's own limit (twice its
/// `Image.MAX_IMAGE_PIXELS`). Larger ones are refused before memory is allocated for them.
pub const MAX_PIXELS: u64 = 178_956_970;

/// An RGB picture in memory, row by row from the top, without alpha.
///
/// Samples are on the scale of bytes, 0 to 255. Those of an 8-bit picture are whole numbers; those of a 16-bit
/// picture have the fractions that 8 bits cannot hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    width: usize,
    height: usize,
    samples: Vec<f32>, // [height, width, 3]
    whole: bool,
}

/// Why a picture could not be read, prepared or written.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    /// The file cannot be opened or read.
    #[error("cannot read it: {0}")]
    Read(std::io::Error),
    /// Not a picture, or a broken one.
    #[error("it is no picture that can be read: {0}")]
    Decode(image::ImageError),
    /// A JPEG file without an end.
    #[error("it is a picture that was cut off: fetch it again")]
    CutOff,
    /// What the model gave is no picture.
    #[error("{bad} of {all} decoded values are NaN or infinite")]
    NotFinite {
        /// How many.
        bad: usize,
        /// Of how many.
        all: usize,
    },
    /// candle refuses.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
    /// A format that is not built in.
    #[error("its format is not known; PNG, JPEG, WebP, TIFF, BMP, GIF and QOI can be read")]
    UnknownFormat,
    /// A header that asks for more memory than is given.
    #[error("it is {width}×{height}, more than the {} megapixels that are taken", MAX_PIXELS / 1_000_000)]
    TooLarge {
        /// Pixels across.
        width: u32,
        /// Pixels down.
        height: u32,
    },
    /// Nothing is left when both sides are floored to a multiple.
    #[error("it is {width}×{height}, and both sides must be at least {multiple}{}", if *multiple > 8 { "; try --multiple 8" } else { "" })]
    TooSmall {
        /// Pixels across.
        width: usize,
        /// Pixels down.
        height: usize,
        /// What the sides are floored to.
        multiple: usize,
    },
    /// The writer refused.
    #[error("cannot make the picture file: {0}")]
    Encode(image::ImageError),
}

impl From<std::io::Error> for PictureError {
    fn from(error: std::io::Error) -> Self {
        Self::Read(error)
    }
}

impl Picture {
    /// A picture from bytes `[height, width, 3]`.
    ///
    /// # Panics
    /// If the number of bytes is not width × height × 3.
    pub fn from_rgb8(width: usize, height: usize, bytes: &[u8]) -> Self {
        let samples: Vec<f32> = bytes.iter().map(|&b| f32::from(b)).collect();
        Self::new(width, height, samples, true)
    }

    fn new(width: usize, height: usize, samples: Vec<f32>, whole: bool) -> Self {
        assert_eq!(samples.len(), width * height * 3, "a picture of {width}×{height}");
        Self { width, height, samples, whole }
    }

    /// Pixels across.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Pixels down.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Samples `[height, width, 3]`, 0 to 255.
    pub fn samples(&self) -> &[f32] {
        &self.samples
    }

    /// Samples `[height, width, 3]`, rounded to bytes.
    pub fn to_rgb8(&self) -> Vec<u8> {
        self.samples.iter().map(|s| s.round() as u8).collect()
    }

    /// What the VAE is shown: both sides floored to a multiple of `multiple` with Pillow's LANCZOS.
    ///
    /// The tutorial's `preprocess`; its multiple is 32. 516×484 becomes 512×480.
    pub fn preprocess(&self, multiple: usize) -> Result<Self, PictureError> {
        let (width, height) = (self.width - self.width % multiple, self.height - self.height % multiple);
        if width == 0 || height == 0 {
            return Err(PictureError::TooSmall { width: self.width, height: self.height, multiple });
        }
        Ok(self.resize(width, height))
    }
}

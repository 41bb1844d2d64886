//! Figures that show how well a model works.
//!
//! A figure is laid out first, in whole pixels, then painted.
//!
//! | file | what |
//! | --- | --- |
//! | [`roundtrip`] | original, decoded and difference, with the latent channels as grey plates |
//! | [`sweep`] | the original and one decoded picture per noise level |
//! | [`grid`] | the tutorial's `image_grid` |
//! | `difference` | the difference of two pictures as a picture |
//! | `page` | a layout and how it is painted |
//! | [`text`] | text in the built-in font, and how numbers are written |
//! | [`canvas`] | the pixels of a figure |

pub mod canvas;
mod difference;
pub mod grid;
mod page;
pub mod roundtrip;
pub mod sweep;
pub mod text;

pub use canvas::Canvas;
pub use grid::Grid;
pub use roundtrip::Roundtrip;
pub use sweep::Sweep;

use crate::picture::MAX_PIXELS;

/// An RGB colour, 0..255 per channel.
pub type Rgb = [u8; 3];

/// The colours of a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Theme {
    /// Dark text on white, for paper.
    Light,
    /// Light text on near black, for screens.
    Dark,
}

impl Theme {
    /// The colour of the page.
    pub fn page(self) -> Rgb {
        self.choose([255, 255, 255], [13, 17, 23])
    }

    /// The colour of titles.
    pub fn ink(self) -> Rgb {
        self.choose([24, 27, 32], [236, 239, 244])
    }

    /// The colour of details, the text below titles and plates.
    pub fn muted(self) -> Rgb {
        self.choose([92, 98, 108], [154, 163, 175])
    }

    /// The colour of the hairline around a picture.
    pub fn rule(self) -> Rgb {
        self.choose([205, 209, 215], [58, 65, 75])
    }

    fn choose(self, light: Rgb, dark: Rgb) -> Rgb {
        match self {
            Self::Light => light,
            Self::Dark => dark,
        }
    }
}

/// Why a figure cannot be drawn.
#[derive(Debug, thiserror::Error)]
pub enum FigureError {
    /// More pixels than [`MAX_PIXELS`], or than fit into memory.
    #[error("the figure of {width}×{height} pixels is too large (limit {} megapixels); use fewer or smaller pictures", MAX_PIXELS / 1_000_000)]
    TooLarge {
        /// Width in pixels.
        width: usize,
        /// Height in pixels.
        height: usize,
    },
    /// Fewer cells than pictures.
    #[error("{count} pictures do not fit into {rows} rows of {cols}")]
    TooFewCells {
        /// The number of pictures.
        count: usize,
        /// The number of rows.
        rows: usize,
        /// The number of columns.
        cols: usize,
    },
    /// An error of candle.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

/// Returns the number of pixels of a figure if it is at most [`MAX_PIXELS`].
fn checked_pixels(width: usize, height: usize) -> Result<usize, FigureError> {
    let pixels = width.checked_mul(height).filter(|&pixels| pixels as u64 <= MAX_PIXELS);
    pixels.ok_or(FigureError::TooLarge { width, height })
}

//! Figures: what a person looks at before trusting a model.
//!
//! A figure is laid out first (where everything goes, in whole pixels), then painted.
//!
//! | file | what |
//! | --- | --- |
//! | [`roundtrip`] | original, decoded and difference, with the latent channels as grey plates |
//! | [`sweep`] | the original, and one decoded picture for each level of noise |
//! | [`grid`] | the tutorial's `image_grid` |
//! | [`difference`] | differences as pictures |
//! | [`page`] | a layout, its measures, and how it is painted |
//! | [`text`] | letters: the built-in font, captions, how numbers are written |
//! | [`canvas`] | pixels to paint on |

pub mod canvas;
pub mod difference;
pub mod grid;
pub mod page;
pub mod roundtrip;
pub mod sweep;
pub mod text;

pub use canvas::Canvas;
pub use grid::Grid;
pub use roundtrip::Roundtrip;
pub use sweep::Sweep;

/// A colour, 0 to 255 a channel.
pub type Rgb = [u8; 3];

/// The colours of a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Theme {
    /// Dark letters on white, for paper.
    Light,
    /// Light letters on near black, for screens.
    Dark,
}

impl Theme {
    /// The page.
    pub fn page(self) -> Rgb {
        match self {
            Self::Light => [255, 255, 255],
            Self::Dark => [13, 17, 23],
        }
    }

    /// Titles.
    pub fn ink(self) -> Rgb {
        match self {
            Self::Light => [24, 27, 32],
            Self::Dark => [236, 239, 244],
        }
    }

    /// What stands under titles.
    pub fn muted(self) -> Rgb {
        match self {
            Self::Light => [92, 98, 108],
            Self::Dark => [154, 163, 175],
        }
    }

    /// The hairline around a picture.
    pub fn rule(self) -> Rgb {
        match self {
            Self::Light => [205, 209, 215],
            Self::Dark => [58, 65, 75],
        }
    }
}

/// Why a figure cannot be drawn.
#[derive(Debug, thiserror::Error)]
pub enum FigureError {
    /// More pixels than are made, or than memory holds.
    #[error(
        "the figure would be {width}×{height} pixels, more than can be made: fewer or smaller pictures help"
    )]
    TooLarge {
        /// Pixels across.
        width: usize,
        /// Pixels down.
        height: usize,
    },
    /// Rows and columns that do not hold the pictures.
    #[error("{count} pictures do not fit into {rows} rows of {cols}")]
    TooFewCells {
        /// Pictures.
        count: usize,
        /// Rows.
        rows: usize,
        /// Columns.
        cols: usize,
    },
    /// candle refuses.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

//! How a convolution is cut into pieces of work.

use super::form::Form;
use crate::kernels::feature_map::Shape;
use crate::kernels::simd::BLOCK;
use std::ops::Range;

/// Samples that one piece may hold, in floats: they should stay within a core's share of the last cache.
const SAMPLES: usize = 5 << 18;
/// Tiles in a piece: more make better use of the filters, fewer leave more pieces.
const TILES: Range<usize> = 32..64;
/// Pieces that each thread should find, so that all finish at about the same time.
const PIECES: usize = 4;
/// Panels of 16 output channels that are multiplied before their outputs are made.
pub const GROUP: usize = 4;

/// A rectangle of tiles, and the panels of output channels to make there.
#[derive(Clone, Debug)]
pub struct Piece {
    pub down: Range<usize>,
    pub across: Range<usize>,
    pub panels: Range<usize>,
}

impl Piece {
    pub fn tiles(&self) -> usize {
        self.down.len() * self.across.len()
    }
}

/// Cuts the tiles of a picture, and for few tiles the output channels too: then pieces repeat the input's transform.
pub fn pieces<F: Form>(input: Shape, output: Shape, threads: usize) -> Vec<Piece> {
    let grid = (output.height.div_ceil(F::OUTPUTS), output.width.div_ceil(F::OUTPUTS));
    let wanted = threads * if threads > 1 { PIECES } else { 1 };
    let room = SAMPLES / (F::SAMPLES * F::SAMPLES * input.blocks() * BLOCK);
    let share = (grid.0 * grid.1).div_ceil(wanted);
    let tiles = room.min(share).clamp(TILES.start, TILES.end);
    let (down, across) = rectangle(grid, tiles);
    let places = down.len() * across.len();
    let panels =
        cut(output.blocks(), output.blocks().div_ceil(wanted.div_ceil(places)).next_multiple_of(GROUP));
    let mut pieces = Vec::with_capacity(places * panels.len());
    for down in &down {
        for across in &across {
            for panels in &panels {
                pieces.push(Piece { down: down.clone(), across: across.clone(), panels: panels.clone() });
            }
        }
    }
    pieces
}

/// Rows and columns of rectangles of about `tiles` tiles, up to twice as wide as high.
fn rectangle(grid: (usize, usize), tiles: usize) -> (Vec<Range<usize>>, Vec<Range<usize>>) {
    let width = 8.min(grid.1);
    let height = (tiles / width).clamp(1, grid.0);
    let width = (tiles / height).clamp(1, grid.1);
    (cut(grid.0, height), cut(grid.1, width))
}

/// `0..len` in ranges of `size`.
fn cut(len: usize, size: usize) -> Vec<Range<usize>> {
    (0..len).step_by(size).map(|start| start..(start + size).min(len)).collect()
}

//! How a convolution's tiles are divided into work items.

use std::ops::Range;

use crate::kernels::Shape;
use crate::kernels::cpu::simd::BLOCK;

use super::form::Form;

/// How many floats of transformed inputs one work item may hold: a core's share of the last-level cache, 5 MiB.
const TRANSFORMED: usize = 5 << 18;
/// Tiles in a work item. More tiles reuse the filters more often; fewer leave more items to share among threads.
const TILES: Range<usize> = 32..64;
/// Work items for each thread, so that all threads finish at about the same time.
const ITEMS: usize = 4;
/// Panels of 16 output channels that are multiplied before their outputs are computed.
pub const GROUP: usize = 4;
/// Tiles side by side whose outputs are summed together. Work items begin and end at multiples of it, or at the edge.
pub const SEGMENT: usize = 8;

/// A rectangle of tiles, and the panels of output channels to compute there.
#[derive(Clone, Debug)]
pub struct WorkItem {
    pub down: Range<usize>,
    pub across: Range<usize>,
    pub panels: Range<usize>,
}

impl WorkItem {
    pub fn tiles(&self) -> usize {
        self.down.len() * self.across.len()
    }
}

/// Rows and columns of tiles.
fn grid<F: Form>(output: Shape) -> (usize, usize) {
    (output.height.div_ceil(F::OUTPUTS), output.width.div_ceil(F::OUTPUTS))
}

/// Segments in a row of tiles.
pub fn segments_across<F: Form>(output: Shape) -> usize {
    grid::<F>(output).1.div_ceil(SEGMENT)
}

/// Segments in a map, row by row.
pub fn segments<F: Form>(output: Shape) -> usize {
    grid::<F>(output).0 * segments_across::<F>(output)
}

/// Divides a picture's tiles. If they are few it divides the output channels too; the items then repeat the input transform.
pub fn work_items<F: Form>(input: Shape, output: Shape, threads: usize) -> Vec<WorkItem> {
    let grid = grid::<F>(output);
    let wanted = threads * if threads > 1 { ITEMS } else { 1 };
    let most = TRANSFORMED / (F::INPUT_TERMS * F::INPUT_TERMS * input.blocks() * BLOCK);
    let share = (grid.0 * grid.1).div_ceil(wanted);
    let tiles = most.min(share).clamp(TILES.start, TILES.end);
    let (down, across) = rectangles(grid, tiles);
    let places = down.len() * across.len();
    let panels =
        divide(output.blocks(), output.blocks().div_ceil(wanted.div_ceil(places)).next_multiple_of(GROUP));
    let mut items = Vec::with_capacity(places * panels.len());
    for down in &down {
        for across in &across {
            for panels in &panels {
                items.push(WorkItem { down: down.clone(), across: across.clone(), panels: panels.clone() });
            }
        }
    }
    items
}

/// Rows and columns of rectangles of about `tiles` tiles, as wide as high or wider, in whole segments across.
fn rectangles(grid: (usize, usize), tiles: usize) -> (Vec<Range<usize>>, Vec<Range<usize>>) {
    let height = (tiles / SEGMENT.min(grid.1)).clamp(1, grid.0);
    let width = (tiles / height / SEGMENT * SEGMENT).max(SEGMENT);
    (divide(grid.0, height), divide(grid.1, width))
}

/// Splits `0..len` into ranges of `size`.
fn divide(len: usize, size: usize) -> Vec<Range<usize>> {
    (0..len).step_by(size).map(|start| start..(start + size).min(len)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::form::{Down2, Same, Up2};
    use super::*;

    fn check<F: Form>(input: Shape, output: Shape) {
        for threads in [1, 2, 3, 16, 64] {
            let (high, wide) = grid::<F>(output);
            let mut counts = vec![0; high * wide * output.blocks()];
            for item in work_items::<F>(input, output, threads) {
                assert_eq!(item.across.start % SEGMENT, 0);
                assert!(item.across.end % SEGMENT == 0 || item.across.end == wide);
                for y in item.down {
                    for x in item.across.clone() {
                        item.panels.clone().for_each(|p| counts[(p * high + y) * wide + x] += 1);
                    }
                }
            }
            assert!(counts.iter().all(|&count| count == 1), "{output} on {threads} threads");
        }
    }

    #[test]
    fn each_tile_is_computed_once_in_whole_segments() {
        for (height, width) in [(2, 2), (5, 300), (64, 64), (62, 130), (512, 512), (3, 1000)] {
            for channels in [16, 40, 512] {
                let shape = Shape::new(channels, height, width);
                check::<Same>(shape, shape);
                check::<Up2>(shape, Shape::new(channels, 2 * height, 2 * width));
                check::<Down2<0>>(shape, Shape::new(channels, height / 2, width / 2));
                check::<Down2<1>>(shape, Shape::new(channels, height.div_ceil(2), width.div_ceil(2)));
            }
        }
    }
}

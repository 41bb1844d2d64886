//! From the input to terms: norm and activation, then the form's transform, for one work item.

use std::marker::PhantomData;

use crate::kernels::Shape;
use crate::kernels::cpu::feature_map::HostMap;
use crate::kernels::cpu::norm::Coefficients;
use crate::kernels::cpu::simd::{BLOCK, Kernel, Simd};

use super::form::{Form, MOST};
use super::tiles::WorkItem;

/// Rows in the ring of inputs after the norm: a power of two, and at least a form's inputs.
const RING: usize = 8;

/// Computes the terms of a work item: `out` is `[terms][terms][c/16][tiles][16]`, the first two at `stride`.
pub struct InputTransform<'a, F> {
    pub input: &'a HostMap,
    pub norm: Option<&'a Coefficients>,
    pub item: &'a WorkItem,
    pub out: &'a mut [f32],
    /// Floats from one block of 16 channels to the next.
    pub block_stride: usize,
    pub stride: usize,
    pub scratch: &'a mut [f32],
    pub form: PhantomData<F>,
}

/// Inputs in a row of a work item.
fn columns<F: Form>(item: &WorkItem) -> usize {
    (item.across.len() - 1) * F::STEP + F::INPUTS
}

/// Floats of scratch that [`InputTransform`] needs.
pub fn scratch<F: Form>(item: &WorkItem) -> usize {
    (RING + F::INPUT_TERMS) * columns::<F>(item) * BLOCK
}

/// One block of 16 channels of the input.
#[derive(Clone, Copy)]
struct InputBlock<'a, S: Simd> {
    input: &'a HostMap,
    norm: Option<&'a Coefficients>,
    block: usize,
    simd: S,
}

impl<F: Form> Kernel for InputTransform<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let shape = self.input.shape;
        let columns = columns::<F>(self.item);
        let (block_stride, blocks) = (self.block_stride, shape.blocks());
        assert!(self.stride >= blocks * block_stride);
        assert!(self.out.len() >= F::INPUT_TERMS * F::INPUT_TERMS * self.stride);
        let (ring, partial) = self.scratch.split_at_mut(RING * columns * BLOCK);
        assert!(partial.len() >= F::INPUT_TERMS * columns * BLOCK);
        for block in 0..blocks {
            let block_of_input = InputBlock { input: self.input, norm: self.norm, block, simd: s };
            let left = (self.item.across.start * F::STEP) as isize - F::BEFORE as isize;
            let top = (self.item.down.start * F::STEP) as isize - F::BEFORE as isize;
            let tile_row = F::STEP * shape.width * BLOCK;
            let mut filled = 0;
            for down in 0..self.item.down.len() {
                let first = down * F::STEP;
                let last = down + 1 == self.item.down.len();
                let ahead = if last { shape.plane().wrapping_sub(down * tile_row) } else { tile_row };
                for row in filled.max(first)..first + F::INPUTS {
                    let to = &mut ring[row % RING * columns * BLOCK..][..columns * BLOCK];
                    block_of_input.row(top + row as isize, left, ahead, to);
                }
                filled = first + F::INPUTS;
                // SAFETY: the sizes of ring, `partial` and `out` were checked above.
                unsafe {
                    vertical::<F, S>(s, ring, first, columns, partial);
                    let across = self.item.across.len();
                    let to = self.out.as_mut_ptr().add(block * block_stride + down * across * BLOCK);
                    horizontal::<F, S>(s, partial, columns, across, to, self.stride);
                }
            }
        }
    }
}

impl<S: Simd> InputBlock<'_, S> {
    /// The inputs at `(y, x..)` after the norm, one for each block of `to`; zero outside the picture. Prefetches what lies
    /// `ahead` floats further.
    #[inline(always)]
    fn row(&self, y: isize, x: isize, ahead: usize, to: &mut [f32]) {
        let Shape { height, width, .. } = self.input.shape;
        if y < 0 || y >= height as isize {
            return to.fill(0.0);
        }
        let columns = to.len() / BLOCK;
        let before = (-x).clamp(0, columns as isize) as usize;
        let inside = (width as isize - x).clamp(before as isize, columns as isize) as usize;
        to[..before * BLOCK].fill(0.0);
        to[inside * BLOCK..].fill(0.0);
        if before == inside {
            return;
        }
        let pixel = y as usize * width + (x + before as isize) as usize;
        let start = self.block * self.input.shape.plane() + pixel * BLOCK;
        let from = &self.input.data()[start..][..(inside - before) * BLOCK];
        let to = &mut to[before * BLOCK..inside * BLOCK];
        for values in from.chunks_exact(BLOCK) {
            self.simd.prefetch(values.as_ptr().wrapping_add(ahead));
        }
        match self.norm {
            None => to.copy_from_slice(from),
            Some(norm) => norm.apply(self.simd, self.block, pixel, from, to),
        }
    }
}

/// The transform down the columns: rows `first..` of the ring → `[terms][columns][16]`.
///
/// # Safety
/// `partial` holds that many floats.
#[inline(always)]
unsafe fn vertical<F: Form, S: Simd>(s: S, ring: &[f32], first: usize, columns: usize, partial: &mut [f32]) {
    let width = columns * BLOCK;
    let mut rows = [ring.as_ptr(); MOST];
    for (i, row) in rows.iter_mut().enumerate().take(F::INPUTS) {
        *row = ring[(first + i) % RING * width..][..width].as_ptr();
    }
    for at in (0..width).step_by(S::LANES) {
        // SAFETY: `at` is inside each row of the ring and of `partial`.
        unsafe {
            let mut inputs = [s.zero(); MOST];
            for (input, row) in inputs.iter_mut().zip(rows).take(F::INPUTS) {
                *input = s.load(row.add(at));
            }
            let terms = F::transform_inputs(s, inputs);
            for (i, &term) in terms.iter().enumerate().take(F::INPUT_TERMS) {
                s.store(partial.as_mut_ptr().add(i * width + at), term);
            }
        }
    }
}

/// The transform along the rows: `[terms][columns][16]` → tiles of `to`, `[terms][terms]` at `stride`.
///
/// # Safety
/// `partial` holds that many floats, with enough columns for the tiles. `to` is writable for `tiles` blocks at each of
/// the strides, and no other thread uses them.
#[inline(always)]
unsafe fn horizontal<F: Form, S: Simd>(
    s: S,
    partial: &[f32],
    columns: usize,
    tiles: usize,
    to: *mut f32,
    stride: usize,
) {
    for y in 0..F::INPUT_TERMS {
        for tile in 0..tiles {
            for lane in (0..BLOCK).step_by(S::LANES) {
                // SAFETY: the last tile's inputs end at the last column; the caller made `to` for all terms.
                unsafe {
                    let from = partial.as_ptr().add((y * columns + tile * F::STEP) * BLOCK + lane);
                    let mut inputs = [s.zero(); MOST];
                    for (i, input) in inputs.iter_mut().enumerate().take(F::INPUTS) {
                        *input = s.load(from.add(i * BLOCK));
                    }
                    let terms = F::transform_inputs(s, inputs);
                    for (x, &term) in terms.iter().enumerate().take(F::INPUT_TERMS) {
                        s.store(to.add((y * F::INPUT_TERMS + x) * stride + tile * BLOCK + lane), term);
                    }
                }
            }
        }
    }
}

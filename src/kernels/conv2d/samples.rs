//! From the input to samples: group norm and SiLU, then the form's transform, for one piece of work.

use super::form::{Form, MOST};
use super::tiles::Piece;
use super::winograd::block;
use crate::kernels::feature_map::{FeatureMap, Shape};
use crate::kernels::group_norm::{Norm, activate};
use crate::kernels::simd::{BLOCK, Kernel, Simd};
use std::marker::PhantomData;

/// Rows that the ring of normed inputs holds: a power of two that no form's inputs exceed.
const RING: usize = 8;

/// Makes the samples of a piece: `out` is `[samples][samples][c/16][tiles][16]`, the first two at `stride`.
pub struct Samples<'a, F> {
    pub input: &'a FeatureMap,
    pub norm: Option<&'a Norm>,
    pub piece: &'a Piece,
    pub out: &'a mut [f32],
    pub stride: usize,
    pub scratch: &'a mut [f32],
    pub form: PhantomData<F>,
}

/// Inputs in a row of a piece.
fn columns<F: Form>(piece: &Piece) -> usize {
    (piece.across.len() - 1) * F::STEP + F::INPUTS
}

/// Floats of scratch that [`Samples`] needs.
pub fn scratch<F: Form>(piece: &Piece) -> usize {
    (RING + F::SAMPLES) * columns::<F>(piece) * BLOCK
}

/// One block of 16 channels of the input, as its rows are read.
#[derive(Clone, Copy)]
struct Source<'a, S: Simd> {
    input: &'a FeatureMap,
    norm: Option<&'a Norm>,
    block: usize,
    simd: S,
}

impl<F: Form> Kernel for Samples<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let shape = self.input.shape;
        let columns = columns::<F>(self.piece);
        let (block_stride, blocks) = (block(self.piece), shape.blocks());
        assert!(self.stride >= blocks * block_stride);
        assert!(self.out.len() >= F::SAMPLES * F::SAMPLES * self.stride);
        let (ring, sampled) = self.scratch.split_at_mut(RING * columns * BLOCK);
        assert!(sampled.len() >= F::SAMPLES * columns * BLOCK);
        for block in 0..blocks {
            let source = Source { input: self.input, norm: self.norm, block, simd: s };
            let left = (self.piece.across.start * F::STEP) as isize - F::BEFORE as isize;
            let top = (self.piece.down.start * F::STEP) as isize - F::BEFORE as isize;
            let tile_row = F::STEP * shape.width * BLOCK;
            let mut filled = 0;
            for down in 0..self.piece.down.len() {
                let first = down * F::STEP;
                let last = down + 1 == self.piece.down.len();
                let ahead = if last { shape.plane().wrapping_sub(down * tile_row) } else { tile_row };
                for row in filled.max(first)..first + F::INPUTS {
                    let to = &mut ring[row % RING * columns * BLOCK..][..columns * BLOCK];
                    source.row(top + row as isize, left, ahead, to);
                }
                filled = first + F::INPUTS;
                // SAFETY: the sizes of ring, `sampled` and `out` were checked above.
                unsafe {
                    vertical::<F, S>(s, ring, first, columns, sampled);
                    let to = self
                        .out
                        .as_mut_ptr()
                        .add(block * block_stride + down * self.piece.across.len() * BLOCK);
                    horizontal::<F, S>(s, sampled, (columns, self.piece.across.len()), to, self.stride);
                }
            }
        }
    }
}

impl<S: Simd> Source<'_, S> {
    /// The activations at `(y, x..)`, one for each block of `to`; zero outside the picture. What lies `ahead` of them, in
    /// floats, will be read next.
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
        for pixel in from.chunks_exact(BLOCK) {
            self.simd.prefetch(pixel.as_ptr().wrapping_add(ahead));
        }
        match self.norm {
            None => to.copy_from_slice(from),
            Some(norm) => activate(self.simd, norm, self.block, from, to),
        }
    }
}

/// The transform down the columns: rows `first..` of the ring → `[samples][columns][16]`.
///
/// # Safety
/// `sampled` holds that many floats.
#[inline(always)]
unsafe fn vertical<F: Form, S: Simd>(s: S, ring: &[f32], first: usize, columns: usize, sampled: &mut [f32]) {
    let width = columns * BLOCK;
    let mut rows = [ring.as_ptr(); MOST];
    for (i, row) in rows.iter_mut().enumerate().take(F::INPUTS) {
        *row = ring[(first + i) % RING * width..][..width].as_ptr();
    }
    for at in (0..width).step_by(S::LANES) {
        // SAFETY: `at` is inside each row of the ring and of `sampled`.
        unsafe {
            let mut inputs = [s.zero(); MOST];
            for (input, row) in inputs.iter_mut().zip(rows).take(F::INPUTS) {
                *input = s.load(row.add(at));
            }
            let samples = F::samples(s, inputs);
            for (i, &sample) in samples.iter().enumerate().take(F::SAMPLES) {
                s.store(sampled.as_mut_ptr().add(i * width + at), sample);
            }
        }
    }
}

/// The transform along the rows: `[samples][columns][16]` → tiles of `to`, `[samples][samples]` at `stride`.
///
/// # Safety
/// `sampled` holds that many floats, of columns enough for the tiles; `to` is writable for `tiles` blocks at each of the
/// strides, and nobody else uses them.
#[inline(always)]
unsafe fn horizontal<F: Form, S: Simd>(
    s: S,
    sampled: &[f32],
    (columns, tiles): (usize, usize),
    to: *mut f32,
    stride: usize,
) {
    for y in 0..F::SAMPLES {
        for tile in 0..tiles {
            for lane in (0..BLOCK).step_by(S::LANES) {
                // SAFETY: the last tile's inputs end at the last column; the caller made `to` for all samples.
                unsafe {
                    let from = sampled.as_ptr().add((y * columns + tile * F::STEP) * BLOCK + lane);
                    let mut inputs = [s.zero(); MOST];
                    for (i, input) in inputs.iter_mut().enumerate().take(F::INPUTS) {
                        *input = s.load(from.add(i * BLOCK));
                    }
                    let samples = F::samples(s, inputs);
                    for (x, &sample) in samples.iter().enumerate().take(F::SAMPLES) {
                        s.store(to.add((y * F::SAMPLES + x) * stride + tile * BLOCK + lane), sample);
                    }
                }
            }
        }
    }
}

//! From products to the output: the form's transform, bias, residual, and sums for the next group norm.

use super::form::{Form, MOST};
use super::tiles::Piece;
use crate::kernels::feature_map::Shape;
use crate::kernels::memory::Shared;
use crate::kernels::simd::{BLOCK, Kernel, Simd};
use std::marker::PhantomData;

/// Makes the outputs of one panel of a piece from `[products][products][tiles][16]`, the first two at `stride`.
pub struct Outputs<'a, F> {
    pub products: &'a [f32],
    pub stride: usize,
    pub piece: &'a Piece,
    pub panel: Panel<'a>,
    pub form: PhantomData<F>,
}

/// Sixteen channels of an output.
#[derive(Clone, Copy)]
pub struct Panel<'a> {
    pub out: Shared<'a>,
    pub shape: Shape,
    /// Which sixteen.
    pub index: usize,
    pub bias: [f32; BLOCK],
    /// Whether what is in the output is added to.
    pub add: bool,
}

/// Sum and sum of squares of sixteen channels.
pub type PanelSums = [[f64; BLOCK]; 2];

impl<F: Form> Kernel for Outputs<'_, F> {
    type Output = PanelSums;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> PanelSums {
        let tiles = self.piece.tiles();
        let products = F::PRODUCTS.len();
        assert!(self.products.len() >= (products * products - 1) * self.stride + tiles * BLOCK);
        let mut totals = [[0.0; BLOCK]; 2];
        for (row, down) in self.piece.down.clone().enumerate() {
            for lane in (0..BLOCK).step_by(S::LANES) {
                let mut sums = [s.zero(); 2];
                for (column, across) in self.piece.across.clone().enumerate() {
                    // SAFETY: `tile` is one of the piece's tiles, which no other piece's panel of this index has.
                    unsafe {
                        let tile = row * self.piece.across.len() + column;
                        let from = self.products.as_ptr().add(tile * BLOCK + lane);
                        self.tile(s, from, (down, across), lane, &mut sums);
                    }
                }
                for (total, sum) in totals.iter_mut().zip(sums) {
                    gather(s, sum, &mut total[lane..lane + S::LANES]);
                }
            }
        }
        totals
    }
}

/// Adds a vector's lanes to totals.
#[inline(always)]
pub fn gather<S: Simd>(s: S, sum: S::V, totals: &mut [f64]) {
    let mut lanes = [0.0f32; BLOCK];
    // SAFETY: no vector has more lanes than a block.
    unsafe { s.store(lanes.as_mut_ptr(), sum) };
    totals.iter_mut().zip(lanes).for_each(|(total, lane)| *total += f64::from(lane));
}

impl<F: Form> Outputs<'_, F> {
    /// # Safety
    /// `from` points at a tile's first product; nobody else uses the tile's outputs.
    #[inline(always)]
    unsafe fn tile<S: Simd>(
        &self,
        s: S,
        from: *const f32,
        at: (usize, usize),
        lane: usize,
        sums: &mut [S::V; 2],
    ) {
        let products = F::PRODUCTS.len();
        let Panel { out, shape, index, ref bias, add } = self.panel;
        let (y, x) = (at.0 * F::OUTPUTS, at.1 * F::OUTPUTS);
        let (high, wide) = (shape.height - y, shape.width - x);
        // SAFETY: rows and columns are compared with the output's size; the rest is this function's contract.
        unsafe {
            let mut rows = [[s.zero(); MOST]; 4];
            for i in 0..products {
                let mut column = [s.zero(); MOST];
                for (j, product) in column.iter_mut().enumerate().take(products) {
                    *product = s.load(from.add((j * products + i) * self.stride));
                }
                let outputs = F::outputs(s, column);
                for (row, output) in rows.iter_mut().zip(outputs) {
                    row[i] = output;
                }
            }
            let bias = s.load(bias.as_ptr().add(lane));
            for (j, row) in rows.iter().enumerate().take(F::OUTPUTS) {
                if j >= high {
                    break;
                }
                let pixel = (y + j) * shape.width + x;
                let to = out.at(index * shape.plane() + pixel * BLOCK + lane);
                let outputs = F::outputs(s, *row);
                for (i, &output) in outputs.iter().enumerate().take(F::OUTPUTS) {
                    if i < wide {
                        let to = to.add(i * BLOCK);
                        let mut value = s.add(output, bias);
                        if add {
                            value = s.add(value, s.load(to));
                        }
                        s.store(to, value);
                        sums[0] = s.add(sums[0], value);
                        sums[1] = s.fma(value, value, sums[1]);
                    }
                }
            }
        }
    }
}

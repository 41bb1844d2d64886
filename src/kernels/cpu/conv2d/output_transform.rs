//! From products to outputs: the form's output transform, the bias, the residual, ReLU, and sums for the next group norm.

use std::marker::PhantomData;
use std::ops::Range;

use crate::kernels::cpu::simd::{BLOCK, Kernel, Simd, math};
use crate::kernels::cpu::sums::Segment;

use super::OutputView;
use super::form::{Form, MOST};
use super::tiles::{SEGMENT, WorkItem, segments_across};

/// Computes the outputs of one panel of a work item from `[products][products][tiles][16]`, the first two at `stride`.
pub struct OutputTransform<'a, F> {
    pub products: &'a [f32],
    pub stride: usize,
    pub item: &'a WorkItem,
    pub panel: Panel<'a>,
    pub form: PhantomData<F>,
}

/// Sixteen channels of an output.
#[derive(Clone, Copy)]
pub struct Panel<'a> {
    pub view: OutputView<'a>,
    /// Index of the block.
    pub index: usize,
    pub bias: [f32; BLOCK],
    /// Whether the outputs are added to the map.
    pub add: bool,
    /// Whether ReLU follows.
    pub relu: bool,
}

impl<F: Form> Kernel for OutputTransform<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let tiles = self.item.tiles();
        let products = F::PRODUCTS.len();
        assert!(self.products.len() >= (products * products - 1) * self.stride + tiles * BLOCK);
        for (row, down) in self.item.down.clone().enumerate() {
            for start in self.item.across.clone().step_by(SEGMENT) {
                let segment = start..(start + SEGMENT).min(self.item.across.end);
                for lane in (0..BLOCK).step_by(S::LANES) {
                    for across in segment.clone() {
                        let tile = row * self.item.across.len() + across - self.item.across.start;
                        // SAFETY: `tile` is one of the item's tiles, which no other item's panel of this index has.
                        unsafe {
                            let from = self.products.as_ptr().add(tile * BLOCK + lane);
                            self.tile(s, from, (down, across), lane);
                        }
                    }
                }
                // SAFETY: the segment's outputs have been written, and no other item has this segment.
                unsafe { self.sum(s, down, segment) };
            }
        }
    }
}

impl<F: Form> OutputTransform<'_, F> {
    /// # Safety
    /// `from` points to a tile's first product; the tile's outputs are not used by others.
    #[inline(always)]
    unsafe fn tile<S: Simd>(&self, s: S, from: *const f32, at: (usize, usize), lane: usize) {
        let products = F::PRODUCTS.len();
        let Panel { view: OutputView { out, shape, .. }, index, ref bias, add, relu } = self.panel;
        let (y, x) = (at.0 * F::OUTPUTS, at.1 * F::OUTPUTS);
        let (high, wide) = (shape.height - y, shape.width - x);
        // SAFETY: rows and columns are checked against the output's size; the rest is this function's contract.
        unsafe {
            let mut rows = [[s.zero(); MOST]; 4];
            for i in 0..products {
                let mut column = [s.zero(); MOST];
                for (j, product) in column.iter_mut().enumerate().take(products) {
                    *product = s.load(from.add((j * products + i) * self.stride));
                }
                let outputs = F::combine_products(s, column);
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
                let outputs = F::combine_products(s, *row);
                for (i, &output) in outputs.iter().enumerate().take(F::OUTPUTS) {
                    if i < wide {
                        let to = to.add(i * BLOCK);
                        let mut value = s.add(output, bias);
                        if add {
                            value = s.add(value, s.load(to));
                        }
                        if relu {
                            value = math::relu(s, value);
                        }
                        s.store(to, value);
                    }
                }
            }
        }
    }

    /// Sums the outputs of some tiles side by side, if sums are wanted.
    ///
    /// # Safety
    /// The outputs have been written, and no other thread writes them or their sums.
    #[inline(always)]
    unsafe fn sum<S: Simd>(&self, s: S, down: usize, across: Range<usize>) {
        let Panel { view: OutputView { out, shape, sums }, index, .. } = self.panel;
        let Some(sums) = sums else { return };
        let (y, x) = (down * F::OUTPUTS, across.start * F::OUTPUTS);
        // SAFETY: the segment is cut at the output's edges; the rest is this function's contract.
        unsafe {
            let segment = Segment {
                start: out.at(index * shape.plane() + (y * shape.width + x) * BLOCK),
                rows: F::OUTPUTS.min(shape.height - y),
                columns: (across.len() * F::OUTPUTS).min(shape.width - x),
                stride: shape.width * BLOCK,
            };
            let at = down * segments_across::<F>(shape) + across.start / SEGMENT;
            sums.write(index, at, segment.sums(s));
        }
    }
}

//! The driver of all forms with 3×3 taps: samples, products, outputs, piece by piece.

use super::form::Form;
use super::outputs::{Outputs, Panel, PanelSums};
use super::samples::{Samples, scratch};
use super::tiles::{GROUP, Piece, pieces};
use super::{Conv2d, Target};
use crate::kernels::feature_map::FeatureMap;
use crate::kernels::gemm::Product;
use crate::kernels::level::Level;
use crate::kernels::memory::with_scratch;
use crate::kernels::simd::BLOCK;
use rayon::prelude::*;
use std::marker::PhantomData;
use std::ops::Range;

/// Writes `target`, which has the output's shape; returns sums for each panel and piece.
pub fn run<F: Form>(
    conv: &Conv2d,
    level: Level,
    input: &FeatureMap,
    target: Target,
) -> Vec<(usize, PanelSums)> {
    let pieces = pieces::<F>(input.shape, target.shape, rayon::current_num_threads());
    let driver = Driver::<F> { conv, level, input, target, form: PhantomData };
    pieces.into_par_iter().flat_map_iter(|piece| driver.piece(&piece)).collect()
}

struct Driver<'a, F> {
    conv: &'a Conv2d<'a>,
    level: Level,
    input: &'a FeatureMap,
    target: Target<'a>,
    form: PhantomData<F>,
}

/// An odd number of cache lines: pieces at this distance do not compete for the same sets.
fn odd_lines(floats: usize) -> usize {
    ((floats / BLOCK) | 1) * BLOCK
}

/// Floats from a block of 16 channels of a piece's samples, or products, to the next.
pub fn block(piece: &Piece) -> usize {
    odd_lines(piece.tiles() * BLOCK)
}

impl<F: Form> Driver<'_, F> {
    fn piece(&self, piece: &Piece) -> Vec<(usize, PanelSums)> {
        let products = F::PRODUCTS.len();
        let block = block(piece);
        let stride = odd_lines(self.input.shape.blocks() * block);
        let product_stride = odd_lines(GROUP * block);
        let sizes =
            [scratch::<F>(piece), F::SAMPLES * F::SAMPLES * stride, products * products * product_stride];
        with_scratch(sizes.iter().sum(), |memory| {
            let (scratch, memory) = memory.split_at_mut(sizes[0]);
            let (samples, product) = memory.split_at_mut(sizes[1]);
            let (input, norm) = (self.input, self.conv.norm);
            self.level.run(Samples::<F> {
                input,
                norm,
                piece,
                out: samples,
                stride,
                scratch,
                form: PhantomData,
            });
            let mut sums = Vec::with_capacity(piece.panels.len());
            for first in piece.panels.clone().step_by(GROUP) {
                let panels = first..(first + GROUP).min(piece.panels.end);
                self.multiply(panels.clone(), piece, (samples, stride), (product, product_stride));
                for panel in panels.clone() {
                    let products = &product[(panel - first) * block..];
                    let panel = self.panel(panel);
                    let outputs =
                        Outputs::<F> { products, stride: product_stride, piece, panel, form: PhantomData };
                    sums.push((panel.index, self.level.run(outputs)));
                }
            }
            sums
        })
    }

    fn panel(&self, index: usize) -> Panel<'_> {
        let bias = self.conv.bias_of(index);
        Panel { out: self.target.out, shape: self.target.shape, index, bias, add: self.conv.add }
    }

    /// Samples times filters, for each product of the form.
    fn multiply(
        &self,
        panels: Range<usize>,
        piece: &Piece,
        (samples, stride): (&[f32], usize),
        (products, product_stride): (&mut [f32], usize),
    ) {
        let (tiles, block) = (piece.tiles(), block(piece));
        let depth = self.input.shape.channels;
        let filters = self.conv.filters.packed.as_slice();
        let all_panels = self.target.shape.blocks();
        let count = F::PRODUCTS.len();
        assert!(filters.len() >= F::FILTERS * F::FILTERS * all_panels * depth * BLOCK);
        assert!(samples.len() >= F::SAMPLES * F::SAMPLES * stride && stride >= depth.div_ceil(BLOCK) * block);
        assert!(products.len() >= count * count * product_stride && product_stride >= panels.len() * block);
        for (j, &(sample_y, filter_y)) in F::PRODUCTS.iter().enumerate() {
            for (i, &(sample_x, filter_x)) in F::PRODUCTS.iter().enumerate() {
                let sample = &samples[(sample_y * F::SAMPLES + sample_x) * stride..];
                let filter = (filter_y * F::FILTERS + filter_x) * all_panels + panels.start;
                let next = next::<F>(j, i).map_or(panels.end, |filter| filter * all_panels + panels.start);
                let product = Product {
                    a: sample.as_ptr(),
                    a_stride: block,
                    b: filters[filter * depth * BLOCK..].as_ptr(),
                    b_stride: depth * BLOCK,
                    c: products[(j * count + i) * product_stride..].as_mut_ptr(),
                    c_stride: block,
                    rows: tiles,
                    depth,
                    panels: panels.len(),
                    accumulate: false,
                    then: filters.as_ptr().wrapping_add(next * depth * BLOCK),
                };
                // SAFETY: the sizes of all three were checked above.
                unsafe { product.run(self.level) };
            }
        }
    }
}

/// The filter of the product after `(j, i)`, if there is one.
fn next<F: Form>(j: usize, i: usize) -> Option<usize> {
    let count = F::PRODUCTS.len();
    let next = j * count + i + 1;
    let (_, y) = F::PRODUCTS.get(next / count)?;
    Some(y * F::FILTERS + F::PRODUCTS[next % count].1)
}

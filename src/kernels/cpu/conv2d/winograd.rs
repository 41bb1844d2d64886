//! Runs a 3×3 convolution in any form. For each work item: input transform, products, output transform.

use std::marker::PhantomData;
use std::ops::Range;

use rayon::prelude::*;

use crate::kernels::Error;
use crate::kernels::cpu::feature_map::HostMap;
use crate::kernels::cpu::gemm::{Product, least_items};
use crate::kernels::cpu::level::Level;
use crate::kernels::cpu::memory::with_scratch;
use crate::kernels::cpu::simd::BLOCK;

use super::form::Form;
use super::input_transform::{InputTransform, scratch};
use super::output_transform::{OutputTransform, Panel};
use super::tiles::{GROUP, WorkItem, work_items};
use super::{Conv2d, OutputView};

/// Convolves `input` into `view`.
pub fn run<F: Form>(conv: &Conv2d, level: Level, input: &HostMap, view: OutputView) -> Result<(), Error> {
    let items = work_items::<F>(input.shape, view.shape, rayon::current_num_threads());
    let driver = Driver::<F> { conv, level, input, view, form: PhantomData };
    let multiplications = |item: &WorkItem| {
        let products = F::PRODUCTS.len() * F::PRODUCTS.len() * item.tiles();
        products * input.shape.channels * item.panels.len() * BLOCK
    };
    let least = least_items(items.first().map_or(1, multiplications));
    items.into_par_iter().with_min_len(least).try_for_each(|item| driver.run(&item))
}

struct Driver<'a, F> {
    conv: &'a Conv2d<'a>,
    level: Level,
    input: &'a HostMap,
    view: OutputView<'a>,
    form: PhantomData<F>,
}

/// A work item's terms `[terms][terms][c/16][tiles][16]`, or products likewise.
#[derive(Clone, Copy)]
struct BlockLayout {
    /// Floats from one block of 16 channels to the next.
    block: usize,
    /// Floats from one term or product to the next.
    stride: usize,
}

impl BlockLayout {
    fn new(item: &WorkItem, blocks: usize) -> Self {
        let block = odd_lines(item.tiles() * BLOCK);
        Self { block, stride: odd_lines(blocks * block) }
    }
}

/// Rounds up to an odd number of cache lines, so that blocks at this distance do not compete for the same cache sets.
fn odd_lines(floats: usize) -> usize {
    ((floats / BLOCK) | 1) * BLOCK
}

impl<F: Form> Driver<'_, F> {
    fn run(&self, item: &WorkItem) -> Result<(), Error> {
        let products = F::PRODUCTS.len();
        let terms_layout = BlockLayout::new(item, self.input.shape.blocks());
        let products_layout = BlockLayout::new(item, GROUP);
        let sizes = [
            scratch::<F>(item),
            F::INPUT_TERMS * F::INPUT_TERMS * terms_layout.stride,
            products * products * products_layout.stride,
        ];
        with_scratch(sizes.iter().sum(), |memory| {
            let (scratch, memory) = memory.split_at_mut(sizes[0]);
            let (terms, products) = memory.split_at_mut(sizes[1]);
            self.level.run(InputTransform::<F> {
                input: self.input,
                norm: self.conv.norm,
                item,
                out: terms,
                block_stride: terms_layout.block,
                stride: terms_layout.stride,
                scratch,
                form: PhantomData,
            });
            for first in item.panels.clone().step_by(GROUP) {
                let panels = first..(first + GROUP).min(item.panels.end);
                self.multiply(item, panels.clone(), terms, products);
                for panel in panels {
                    self.level.run(OutputTransform::<F> {
                        products: &products[(panel - first) * products_layout.block..],
                        stride: products_layout.stride,
                        item,
                        panel: self.panel(panel),
                        form: PhantomData,
                    });
                }
            }
        })
    }

    fn panel(&self, index: usize) -> Panel<'_> {
        Panel {
            view: self.view,
            index,
            bias: self.conv.bias_of(index),
            add: self.conv.add,
            relu: self.conv.relu,
        }
    }

    /// Multiplies input terms by filter terms, for each product of the form.
    fn multiply(&self, item: &WorkItem, panels: Range<usize>, terms: &[f32], products: &mut [f32]) {
        let (from, to) = (BlockLayout::new(item, self.input.shape.blocks()), BlockLayout::new(item, GROUP));
        let depth = self.input.shape.channels;
        let filters = self.conv.filters.packed.as_slice();
        let all_panels = self.view.shape.blocks();
        let count = F::PRODUCTS.len();
        assert!(filters.len() >= F::FILTER_TERMS * F::FILTER_TERMS * all_panels * depth * BLOCK);
        assert!(terms.len() >= F::INPUT_TERMS * F::INPUT_TERMS * from.stride);
        assert!(from.stride >= depth.div_ceil(BLOCK) * from.block);
        assert!(products.len() >= count * count * to.stride && to.stride >= panels.len() * to.block);
        for (j, &(input_y, filter_y)) in F::PRODUCTS.iter().enumerate() {
            for (i, &(input_x, filter_x)) in F::PRODUCTS.iter().enumerate() {
                let input = &terms[(input_y * F::INPUT_TERMS + input_x) * from.stride..];
                let filter = (filter_y * F::FILTER_TERMS + filter_x) * all_panels + panels.start;
                let next = next::<F>(j, i).map_or(panels.end, |filter| filter * all_panels + panels.start);
                let product = Product {
                    a: input.as_ptr(),
                    a_stride: from.block,
                    b: filters[filter * depth * BLOCK..].as_ptr(),
                    b_stride: depth * BLOCK,
                    c: products[(j * count + i) * to.stride..].as_mut_ptr(),
                    c_stride: to.block,
                    rows: item.tiles(),
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

/// The filter term of the product after `(j, i)`, if there is one.
fn next<F: Form>(j: usize, i: usize) -> Option<usize> {
    let count = F::PRODUCTS.len();
    let next = j * count + i + 1;
    let (_, y) = F::PRODUCTS.get(next / count)?;
    Some(y * F::FILTER_TERMS + F::PRODUCTS[next % count].1)
}

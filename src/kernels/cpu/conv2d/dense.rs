//! Convolutions that are a matrix product over pixels: 1×1, and 3×3 on few channels.

use std::ops::Range;

use rayon::prelude::*;

use crate::kernels::cpu::feature_map::HostMap;
use crate::kernels::cpu::gemm::{Product, least_items};
use crate::kernels::cpu::level::Level;
use crate::kernels::cpu::memory::with_scratch;
use crate::kernels::cpu::norm::Coefficients;
use crate::kernels::cpu::simd::{BLOCK, Kernel, Simd, math};
use crate::kernels::cpu::sums::Segment;
use crate::kernels::{Error, Shape};

use super::{Conv2d, OutputView};

/// Pixels in a work item of a large map.
const PIXELS: usize = 96;
/// Pixels in a work item of a small map, so that there is work for all threads.
const FEW_PIXELS: usize = 32;
/// A map of fewer pixels is small.
const SMALL: usize = 4096;

/// The rows of the product's left operand.
#[derive(Clone, Copy)]
pub enum LeftOperand<'a> {
    /// A pixel's channels.
    Pixels(&'a HostMap),
    /// The 3×3 pixels around a pixel, channel by channel.
    Patches(&'a HostMap),
    /// The channels of the pixel that is overwritten.
    InPlace { channels: usize },
}

/// The number of pixels in a work item. It depends only on the shape, because each work item is a segment of the sums.
fn item_size(output: Shape) -> usize {
    if output.pixels() < SMALL { FEW_PIXELS } else { PIXELS }
}

/// Segments in a map: one for each work item.
pub fn segments(output: Shape) -> usize {
    output.pixels().div_ceil(item_size(output))
}

/// Convolves the left operand into `view`.
pub fn run(conv: &Conv2d, level: Level, input: LeftOperand, view: OutputView) -> Result<(), Error> {
    let (size, all) = (item_size(view.shape), view.shape.pixels());
    let least = least_items(size * conv.filters.packed.as_slice().len());
    (0..segments(view.shape)).into_par_iter().with_min_len(least).try_for_each(|segment| {
        let pixels = segment * size..all.min((segment + 1) * size);
        PixelRange { conv, level, view, segment, pixels }.run(input)
    })
}

/// A work item: consecutive pixels in row-major order.
struct PixelRange<'a> {
    conv: &'a Conv2d<'a>,
    level: Level,
    view: OutputView<'a>,
    segment: usize,
    pixels: Range<usize>,
}

/// The left operand of a product: `[depth/16][pixels][16]`.
struct Rows {
    start: *const f32,
    stride: usize,
    depth: usize,
}

impl PixelRange<'_> {
    fn run(&self, input: LeftOperand) -> Result<(), Error> {
        let (stride, blocks) = (self.pixels.len() * BLOCK, self.conv.filters.ci.div_ceil(BLOCK));
        let first = self.pixels.start * BLOCK;
        match (input, self.conv.norm) {
            (LeftOperand::Pixels(map), None) => {
                let start = map.data()[first..].as_ptr();
                self.multiply(Rows { start, stride: map.shape.plane(), depth: map.shape.channels });
                Ok(())
            }
            (LeftOperand::Pixels(map), Some(norm)) => with_scratch(blocks * stride, |scratch| {
                // SAFETY: `data` is a whole map that is not written meanwhile.
                unsafe { self.apply(norm, map.data().as_ptr(), map.shape.plane(), scratch) };
                self.multiply(Rows { start: scratch.as_ptr(), stride, depth: map.shape.channels });
            }),
            (LeftOperand::InPlace { channels }, norm) => with_scratch(blocks * stride, |scratch| {
                let plane = self.view.shape.plane();
                // SAFETY: no other item uses these pixels.
                let start = unsafe { self.view.out.at(0) };
                match norm {
                    // SAFETY: the map had these blocks before its channels changed, and only this item uses the pixels.
                    Some(norm) => unsafe { self.apply(norm, start, plane, scratch) },
                    None => scratch.chunks_exact_mut(stride).enumerate().for_each(|(block, to)| {
                        // SAFETY: the map had this block before its channels changed.
                        to.copy_from_slice(unsafe {
                            std::slice::from_raw_parts(start.add(block * plane + first), stride)
                        });
                    }),
                }
                self.multiply(Rows { start: scratch.as_ptr(), stride, depth: channels });
            }),
            (LeftOperand::Patches(map), norm) => {
                let depth = 9 * map.shape.channels;
                with_scratch(depth.div_ceil(BLOCK) * stride, |scratch| {
                    patches(map, norm, self.pixels.clone(), scratch);
                    self.multiply(Rows { start: scratch.as_ptr(), stride, depth });
                })
            }
        }
    }

    /// Applies the norm to this item's pixels of a map that starts at `map`: `to` is `[c/16][pixels][16]`.
    ///
    /// # Safety
    /// The map has as many blocks as `to`, `plane` floats apart, with this item's pixels in each, and no other thread writes them.
    unsafe fn apply(&self, norm: &Coefficients, map: *const f32, plane: usize, to: &mut [f32]) {
        let stride = self.pixels.len() * BLOCK;
        for (block, to) in to.chunks_exact_mut(stride).enumerate() {
            // SAFETY: the contract above.
            let from = unsafe {
                std::slice::from_raw_parts(map.add(block * plane + self.pixels.start * BLOCK), stride)
            };
            self.level.run(ApplyNorm { from, to, norm, block, first: self.pixels.start });
        }
    }

    fn multiply(&self, rows: Rows) {
        let OutputView { out, shape, sums } = self.view;
        let filters = self.conv.filters.packed.as_slice();
        assert!(filters.len() >= shape.blocks() * rows.depth * BLOCK);
        let product = Product {
            a: rows.start,
            a_stride: rows.stride,
            b: filters.as_ptr(),
            b_stride: rows.depth * BLOCK,
            // SAFETY: no other item uses these pixels.
            c: unsafe { out.at(self.pixels.start * BLOCK) },
            c_stride: shape.plane(),
            rows: self.pixels.len(),
            depth: rows.depth,
            panels: shape.blocks(),
            accumulate: self.conv.add,
            then: filters.as_ptr(),
        };
        // SAFETY: `Rows` belongs to these pixels, and each block of the output contains them.
        unsafe { product.run(self.level) };
        for panel in 0..shape.blocks() {
            // SAFETY: as above.
            let start = unsafe { out.at(panel * shape.plane() + self.pixels.start * BLOCK) };
            // SAFETY: as above, after the product.
            let pixels = unsafe { std::slice::from_raw_parts_mut(start, self.pixels.len() * BLOCK) };
            self.level.run(Finish { pixels, bias: self.conv.bias_of(panel), relu: self.conv.relu });
            if let Some(sums) = sums {
                let (rows, columns) = (1, self.pixels.len());
                // SAFETY: the outputs have been written, and no other item has this segment.
                unsafe {
                    let segment = Segment { start, rows, columns, stride: columns * BLOCK };
                    sums.write(panel, self.segment, segment.run(self.level));
                }
            }
        }
    }
}

/// Applies a norm to a block of 16 channels.
struct ApplyNorm<'a> {
    from: &'a [f32],
    to: &'a mut [f32],
    norm: &'a Coefficients,
    block: usize,
    /// The first pixel's number in the map.
    first: usize,
}

impl Kernel for ApplyNorm<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        self.norm.apply(s, self.block, self.first, self.from, self.to);
    }
}

/// Adds the bias to a panel's products, and applies ReLU.
struct Finish<'a> {
    pixels: &'a mut [f32],
    bias: [f32; BLOCK],
    relu: bool,
}

impl Kernel for Finish<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for pixel in self.pixels.chunks_exact_mut(BLOCK) {
            for lane in (0..BLOCK).step_by(S::LANES) {
                // SAFETY: a lane's vector ends inside its block.
                unsafe {
                    let to = pixel.as_mut_ptr().add(lane);
                    let value = s.add(s.load(to), s.load(self.bias.as_ptr().add(lane)));
                    s.store(to, if self.relu { math::relu(s, value) } else { value });
                }
            }
        }
    }
}

/// Copies the 3×3 neighbourhood of each pixel, with zeros outside the picture; `to` is `[9·c/16][pixels][16]`.
fn patches(map: &HostMap, norm: Option<&Coefficients>, pixels: Range<usize>, to: &mut [f32]) {
    let Shape { channels, height, width } = map.shape;
    let stride = pixels.len() * BLOCK;
    for (row, pixel) in pixels.enumerate() {
        let (y, x) = (pixel / width, pixel % width);
        for tap in 0..9 {
            let (y, x) = ((y + tap / 3).wrapping_sub(1), (x + tap % 3).wrapping_sub(1));
            let inside = y < height && x < width;
            for channel in 0..channels {
                let value = if inside { map.data()[(y * width + x) * BLOCK + channel] } else { 0.0 };
                let value = if inside {
                    norm.map_or(value, |norm| norm.apply_to_one(channel, y * width + x, value))
                } else {
                    value
                };
                let at = channel * 9 + tap;
                to[at / BLOCK * stride + row * BLOCK + at % BLOCK] = value;
            }
        }
    }
}

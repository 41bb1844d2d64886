//! Convolutions that are a matrix product over pixels as they stand: 1×1, and 3×3 on a few channels.

use super::outputs::{PanelSums, gather};
use super::{Conv2d, Target};
use crate::kernels::feature_map::{FeatureMap, Shape};
use crate::kernels::gemm::Product;
use crate::kernels::group_norm::{Norm, activate};
use crate::kernels::level::Level;
use crate::kernels::memory::with_scratch;
use crate::kernels::simd::{BLOCK, Kernel, Simd};
use rayon::prelude::*;
use std::ops::Range;

/// Pixels in a piece of work: less, where threads would stay idle.
const PIXELS: Range<usize> = 8..96;

/// What the rows of the product's left side are.
#[derive(Clone, Copy)]
pub enum Input<'a> {
    /// A pixel's channels.
    Pixels(&'a FeatureMap),
    /// The 3×3 pixels around a pixel, channel by channel.
    Patches(&'a FeatureMap),
    /// The channels of the pixel that is written.
    InPlace { channels: usize },
}

/// Writes `target`, which has the output's shape; returns sums for each panel and piece.
pub fn run(conv: &Conv2d, level: Level, input: Input, target: Target) -> Vec<(usize, PanelSums)> {
    let share = target.shape.pixels().div_ceil(4 * rayon::current_num_threads()).next_multiple_of(4);
    let (size, all) = (share.clamp(PIXELS.start, PIXELS.end), target.shape.pixels());
    let pieces = all.div_ceil(size);
    let piece = |piece: usize| {
        let pixels = piece * size..all.min((piece + 1) * size);
        Piece { conv, level, target, pixels }.run(input)
    };
    (0..pieces).into_par_iter().flat_map_iter(piece).collect()
}

struct Piece<'a> {
    conv: &'a Conv2d<'a>,
    level: Level,
    target: Target<'a>,
    pixels: Range<usize>,
}

/// The left side of a product: `[depth/16][pixels][16]`.
struct Rows {
    start: *const f32,
    stride: usize,
    depth: usize,
}

impl Piece<'_> {
    fn run(&self, input: Input) -> Vec<(usize, PanelSums)> {
        let (stride, blocks) = (self.pixels.len() * BLOCK, self.conv.filters.ci.div_ceil(BLOCK));
        let first = self.pixels.start * BLOCK;
        match (input, self.conv.norm) {
            (Input::Pixels(map), None) => {
                let start = map.data()[first..].as_ptr();
                self.multiply(Rows { start, stride: map.shape.plane(), depth: map.shape.channels })
            }
            (Input::Pixels(map), Some(norm)) => with_scratch(blocks * stride, |scratch| {
                // SAFETY: `data` is the whole of a map that nobody writes.
                unsafe { self.normed(map.data().as_ptr(), map.shape.plane(), norm, scratch) };
                self.multiply(Rows { start: scratch.as_ptr(), stride, depth: map.shape.channels })
            }),
            (Input::InPlace { channels }, norm) => with_scratch(blocks * stride, |scratch| {
                let plane = self.target.shape.plane();
                // SAFETY: this piece's pixels are used by no other piece.
                let start = unsafe { self.target.out.at(0) };
                match norm {
                    // SAFETY: the map had these blocks before its channels were changed, and the pixels are this piece's.
                    Some(norm) => unsafe { self.normed(start, plane, norm, scratch) },
                    None => scratch.chunks_exact_mut(stride).enumerate().for_each(|(block, to)| {
                        // SAFETY: the map had this block before its channels were changed.
                        to.copy_from_slice(unsafe {
                            std::slice::from_raw_parts(start.add(block * plane + first), stride)
                        });
                    }),
                }
                self.multiply(Rows { start: scratch.as_ptr(), stride, depth: channels })
            }),
            (Input::Patches(map), norm) => {
                let depth = 9 * map.shape.channels;
                with_scratch(depth.div_ceil(BLOCK) * stride, |scratch| {
                    patches(map, norm, self.pixels.clone(), scratch);
                    self.multiply(Rows { start: scratch.as_ptr(), stride, depth })
                })
            }
        }
    }

    /// This piece's pixels of a map that starts at `map`, normed: `to` is `[c/16][pixels][16]`.
    ///
    /// # Safety
    /// The map has as many blocks as `to`, `plane` floats apart, with this piece's pixels in each, and nobody writes them.
    unsafe fn normed(&self, map: *const f32, plane: usize, norm: &Norm, to: &mut [f32]) {
        let stride = self.pixels.len() * BLOCK;
        for (block, to) in to.chunks_exact_mut(stride).enumerate() {
            // SAFETY: the contract above.
            let from = unsafe {
                std::slice::from_raw_parts(map.add(block * plane + self.pixels.start * BLOCK), stride)
            };
            self.level.run(Normed { from, to, norm, block });
        }
    }

    fn multiply(&self, rows: Rows) -> Vec<(usize, PanelSums)> {
        let Target { out, shape } = self.target;
        let filters = self.conv.filters.packed.as_slice();
        assert!(filters.len() >= shape.blocks() * rows.depth * BLOCK);
        let product = Product {
            a: rows.start,
            a_stride: rows.stride,
            b: filters.as_ptr(),
            b_stride: rows.depth * BLOCK,
            // SAFETY: this piece's pixels are used by no other piece.
            c: unsafe { out.at(self.pixels.start * BLOCK) },
            c_stride: shape.plane(),
            rows: self.pixels.len(),
            depth: rows.depth,
            panels: shape.blocks(),
            accumulate: self.conv.add,
            then: filters.as_ptr(),
        };
        // SAFETY: `Rows` were made for these pixels, and the output has them in each block.
        unsafe { product.run(self.level) };
        let finish = |index: usize| {
            // SAFETY: as above.
            let start = unsafe { out.at(index * shape.plane() + self.pixels.start * BLOCK) };
            // SAFETY: as above; the product is done.
            let pixels = unsafe { std::slice::from_raw_parts_mut(start, self.pixels.len() * BLOCK) };
            (index, self.level.run(Finish { pixels, bias: self.conv.bias_of(index) }))
        };
        (0..shape.blocks()).map(finish).collect()
    }
}

/// Norms a block of 16 channels.
struct Normed<'a> {
    from: &'a [f32],
    to: &'a mut [f32],
    norm: &'a Norm,
    block: usize,
}

impl Kernel for Normed<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        activate(s, self.norm, self.block, self.from, self.to);
    }
}

/// Adds the bias to a panel's products and sums them up.
struct Finish<'a> {
    pixels: &'a mut [f32],
    bias: [f32; BLOCK],
}

impl Kernel for Finish<'_> {
    type Output = PanelSums;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> PanelSums {
        let mut totals = [[0.0; BLOCK]; 2];
        for lane in (0..BLOCK).step_by(S::LANES) {
            // SAFETY: `pixels` are whole blocks, and a lane's vector ends inside its block.
            unsafe {
                let bias = s.load(self.bias.as_ptr().add(lane));
                let mut sums = [s.zero(); 2];
                for at in (lane..self.pixels.len()).step_by(BLOCK) {
                    let to = self.pixels.as_mut_ptr().add(at);
                    let value = s.add(s.load(to), bias);
                    s.store(to, value);
                    sums[0] = s.add(sums[0], value);
                    sums[1] = s.fma(value, value, sums[1]);
                }
                for (total, sum) in totals.iter_mut().zip(sums) {
                    gather(s, sum, &mut total[lane..lane + S::LANES]);
                }
            }
        }
        totals
    }
}

/// The 3×3 pixels around each of some pixels, zero outside the picture: `to` is `[9·c/16][pixels][16]`.
fn patches(map: &FeatureMap, norm: Option<&Norm>, pixels: Range<usize>, to: &mut [f32]) {
    let Shape { channels, height, width } = map.shape;
    let stride = pixels.len() * BLOCK;
    for (row, pixel) in pixels.enumerate() {
        let (y, x) = (pixel / width, pixel % width);
        for tap in 0..9 {
            let (y, x) = ((y + tap / 3).wrapping_sub(1), (x + tap % 3).wrapping_sub(1));
            let inside = y < height && x < width;
            for channel in 0..channels {
                let value = if inside { map.data()[(y * width + x) * BLOCK + channel] } else { 0.0 };
                let value = if inside { norm.map_or(value, |norm| norm.one(channel, value)) } else { value };
                let at = channel * 9 + tap;
                to[at / BLOCK * stride + row * BLOCK + at % BLOCK] = value;
            }
        }
    }
}

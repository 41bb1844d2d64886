//! Attention with one head over all channels: softmax(q·kᵀ/√c)·v, where the tokens are the pixels of a host map.
//!
//! A work item is a few queries against all keys, one block of keys after the other. The softmax is corrected
//! when larger scores appear (M. Milakov and N. Gimelshein, *Online normalizer calculation for softmax*, 2018), so that
//! memory grows with the number of tokens, not with its square.
//!
//! ```text
//! mod.rs      the entry point, and the loop over blocks of keys
//! softmax.rs  scores into probabilities, one block at a time
//! ```

mod softmax;

use std::ops::Range;

use rayon::prelude::*;

use crate::kernels::Error;

use super::feature_map::HostMap;
use super::gemm::{Product, least_items};
use super::level::Level;
use super::memory::{Aligned, Shared, with_scratch};
use super::simd::BLOCK;

use softmax::{Rescale, Softmax};

/// The most queries in a work item: their scores for one block of keys take 64 KiB and stay in the second-level cache.
const QUERIES: usize = 64;
/// So few panels of keys are packed by one thread.
const FEW: usize = 8;
/// Keys in a block: the depth of one slice of the matrix product.
const KEYS: usize = 256;

/// q, k, v `[c, h, w]` → `out` of the same shape.
pub fn attention(level: Level, qkv: [&HostMap; 3], out: &mut HostMap) -> Result<(), Error> {
    let [q, k, v] = qkv;
    let shape = q.shape;
    if k.shape != shape || v.shape != shape || shape.pixels() == 0 {
        return Err(Error::Shape(format!("attention over q {shape}, k {} and v {}", k.shape, v.shape)));
    }
    let mut keys = Aligned::default();
    pack_keys(k, &mut keys)?;
    out.reshape(shape)?;
    let tokens = shape.pixels();
    let queries = tokens.div_ceil(4 * rayon::current_num_threads()).next_multiple_of(4).clamp(8, QUERIES);
    let matrices = Matrices { level, q, v, keys: keys.as_slice(), out: Shared::new(out.data_mut()) };
    let least = least_items(2 * queries * tokens * shape.channels);
    (0..tokens.div_ceil(queries))
        .into_par_iter()
        .with_min_len(least)
        .try_for_each(|item| matrices.attend(item * queries..tokens.min((item + 1) * queries)))
}

/// `[c/16][tokens][16]` → `[tokens/16][c][16]`, the panels of kᵀ; the last one is padded with zeros.
fn pack_keys(k: &HostMap, packed: &mut Aligned) -> Result<(), Error> {
    let (shape, depth) = (k.shape, k.shape.blocks() * BLOCK);
    packed.ensure(shape.pixels().div_ceil(BLOCK) * depth * BLOCK)?;
    let panels = packed.as_mut_slice().par_chunks_exact_mut(depth * BLOCK).with_min_len(FEW);
    panels.enumerate().for_each(|(panel, out)| {
        let first = panel * BLOCK;
        let count = BLOCK.min(shape.pixels() - first);
        for (block, out) in out.chunks_exact_mut(BLOCK * BLOCK).enumerate() {
            let tokens = &k.data()[block * shape.plane() + first * BLOCK..][..count * BLOCK];
            for (channel, row) in out.chunks_exact_mut(BLOCK).enumerate() {
                row.fill(0.0);
                row.iter_mut().zip(tokens.chunks_exact(BLOCK)).for_each(|(to, token)| *to = token[channel]);
            }
        }
    });
    Ok(())
}

struct Matrices<'a> {
    level: Level,
    q: &'a HostMap,
    v: &'a HostMap,
    /// `[tokens/16][c][16]`
    keys: &'a [f32],
    out: Shared<'a>,
}

/// A blocked matrix in scratch memory: `[blocks][rows][16]`; blocks are `stride` floats apart.
struct Scratch<'a> {
    floats: &'a mut [f32],
    stride: usize,
}

impl Matrices<'_> {
    /// Computes the attention of some queries over all keys.
    fn attend(&self, queries: Range<usize>) -> Result<(), Error> {
        let (rows, blocks) = (queries.len(), self.q.shape.blocks());
        let stride = (rows | 1) * BLOCK;
        with_scratch((KEYS / BLOCK + blocks) * stride + 3 * rows, |memory| {
            let (scores, memory) = memory.split_at_mut(KEYS / BLOCK * stride);
            let (sum, memory) = memory.split_at_mut(blocks * stride);
            let (highest, memory) = memory.split_at_mut(rows);
            let (total, factor) = memory.split_at_mut(rows);
            sum.fill(0.0);
            highest.fill(f32::MIN);
            total.fill(0.0);
            let tokens = self.q.shape.pixels();
            let scale = 1.0 / (self.q.shape.channels as f32).sqrt();
            for first in (0..tokens).step_by(KEYS) {
                let keys = first..tokens.min(first + KEYS);
                self.scores(&queries, &keys, Scratch { floats: scores, stride });
                let block = Softmax { scores, stride, keys: keys.len(), scale, highest, total, factor };
                if self.level.run(block) {
                    self.level.run(Rescale { matrix: sum, stride, factor });
                }
                self.values(&keys, rows, Scratch { floats: scores, stride }, sum);
            }
            factor.iter_mut().zip(total).for_each(|(factor, total)| *factor = 1.0 / *total);
            self.level.run(Rescale { matrix: sum, stride, factor });
            for (block, from) in sum.chunks_exact(stride).enumerate() {
                // SAFETY: the queries' tokens are in each block of the output, and no other item has them.
                unsafe {
                    let to = self.out.at(block * self.q.shape.plane() + queries.start * BLOCK);
                    std::slice::from_raw_parts_mut(to, rows * BLOCK).copy_from_slice(&from[..rows * BLOCK]);
                }
            }
        })
    }

    /// q·kᵀ
    fn scores(&self, queries: &Range<usize>, keys: &Range<usize>, scores: Scratch) {
        let shape = self.q.shape;
        let depth = shape.blocks() * BLOCK;
        let panels = keys.len().div_ceil(BLOCK);
        assert!(scores.floats.len() >= panels * scores.stride && scores.stride >= queries.len() * BLOCK);
        assert!(self.keys.len() >= (keys.start / BLOCK + panels) * depth * BLOCK);
        let product = Product {
            a: self.q.data()[queries.start * BLOCK..].as_ptr(),
            a_stride: shape.plane(),
            b: self.keys[keys.start * depth..].as_ptr(),
            b_stride: depth * BLOCK,
            c: scores.floats.as_mut_ptr(),
            c_stride: scores.stride,
            rows: queries.len(),
            depth: shape.channels,
            panels,
            accumulate: false,
            then: self.v.data()[keys.start * BLOCK..].as_ptr(),
        };
        // SAFETY: the sizes of B and C were checked above; each block of q contains the queries.
        unsafe { product.run(self.level) };
    }

    /// sum += probabilities·v
    fn values(&self, keys: &Range<usize>, rows: usize, scores: Scratch, sum: &mut [f32]) {
        let shape = self.v.shape;
        assert!(scores.floats.len() >= keys.len().div_ceil(BLOCK) * scores.stride);
        assert!(sum.len() >= shape.blocks() * scores.stride && scores.stride >= rows * BLOCK);
        let product = Product {
            a: scores.floats.as_ptr(),
            a_stride: scores.stride,
            b: self.v.data()[keys.start * BLOCK..].as_ptr(),
            b_stride: shape.plane(),
            c: sum.as_mut_ptr(),
            c_stride: scores.stride,
            rows,
            depth: keys.len(),
            panels: shape.blocks(),
            accumulate: true,
            then: self.keys.as_ptr().wrapping_add(keys.end * shape.blocks() * BLOCK),
        };
        // SAFETY: the sizes of A and C were checked above; each block of v contains the keys.
        unsafe { product.run(self.level) };
    }
}

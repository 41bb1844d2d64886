//! Scores into probabilities, a block of keys at a time.

use crate::kernels::simd::{BLOCK, Kernel, Simd, math};

/// Turns scores `[keys/16][queries][16]` into e^(scale·score − highest) in place, where `highest` is the largest scaled
/// score so far, and brings `total` up to date. `factor` is what older results of a query have to be multiplied by.
pub struct Softmax<'a> {
    pub scores: &'a mut [f32],
    pub stride: usize,
    pub keys: usize,
    pub scale: f32,
    /// `[queries]`, as the rest
    pub highest: &'a mut [f32],
    pub total: &'a mut [f32],
    pub factor: &'a mut [f32],
}

impl Kernel for Softmax<'_> {
    /// Whether any factor is not one.
    type Output = bool;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> bool {
        let queries = self.highest.len();
        let blocks = self.keys.div_ceil(BLOCK);
        assert!(self.scores.len() >= blocks * self.stride && self.stride >= queries * BLOCK);
        assert!(self.total.len() == queries && self.factor.len() == queries);
        let mut changed = false;
        for query in 0..queries {
            for key in self.keys..blocks * BLOCK {
                self.scores[key / BLOCK * self.stride + query * BLOCK + key % BLOCK] = f32::MIN;
            }
            let start = self.scores[query * BLOCK..].as_mut_ptr();
            // SAFETY: the query's row in each block was counted above.
            unsafe {
                let before = self.highest[query];
                let highest = before.max(maximum(s, start, blocks, self.stride) * self.scale);
                let total = exponentials(s, start, (blocks, self.stride), (self.scale, highest));
                self.factor[query] = (before - highest).exp();
                self.total[query] = self.total[query] * self.factor[query] + total;
                self.highest[query] = highest;
                changed |= highest != before;
            }
        }
        changed
    }
}

/// # Safety
/// `row` is the start of a row that goes on for `blocks` blocks.
#[inline(always)]
unsafe fn maximum<S: Simd>(s: S, row: *const f32, blocks: usize, stride: usize) -> f32 {
    // SAFETY: the contract above.
    unsafe {
        let mut highest = s.splat(f32::MIN);
        for block in 0..blocks {
            for lane in (0..BLOCK).step_by(S::LANES) {
                highest = s.max(highest, s.load(row.add(block * stride + lane)));
            }
        }
        lanes(s, highest)[..S::LANES].iter().copied().fold(f32::MIN, f32::max)
    }
}

/// e^(scale·score − highest) for a row, in place; returns their sum.
///
/// # Safety
/// As for `maximum`, and nobody else uses the row.
#[inline(always)]
unsafe fn exponentials<S: Simd>(
    s: S,
    row: *mut f32,
    (blocks, stride): (usize, usize),
    (scale, highest): (f32, f32),
) -> f32 {
    // SAFETY: the contract above.
    unsafe {
        let mut total = s.zero();
        for block in 0..blocks {
            for lane in (0..BLOCK).step_by(S::LANES) {
                let at = row.add(block * stride + lane);
                let exponent = s.fma(s.load(at), s.splat(scale), s.splat(-highest));
                let probability = math::exp(s, exponent);
                s.store(at, probability);
                total = s.add(total, probability);
            }
        }
        lanes(s, total)[..S::LANES].iter().sum()
    }
}

#[inline(always)]
fn lanes<S: Simd>(s: S, v: S::V) -> [f32; BLOCK] {
    let mut lanes = [0.0; BLOCK];
    // SAFETY: no vector has more lanes than a block.
    unsafe { s.store(lanes.as_mut_ptr(), v) };
    lanes
}

/// Multiplies each row of `[blocks][rows][16]` by its factor.
pub struct Rescale<'a> {
    pub matrix: &'a mut [f32],
    pub stride: usize,
    pub factor: &'a [f32],
}

impl Kernel for Rescale<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for block in self.matrix.chunks_exact_mut(self.stride) {
            for (row, &factor) in block.chunks_exact_mut(BLOCK).zip(self.factor) {
                for lane in (0..BLOCK).step_by(S::LANES) {
                    // SAFETY: `lane` starts a vector inside the row of sixteen.
                    unsafe {
                        let at = row.as_mut_ptr().add(lane);
                        s.store(at, s.mul(s.load(at), s.splat(factor)));
                    }
                }
            }
        }
    }
}

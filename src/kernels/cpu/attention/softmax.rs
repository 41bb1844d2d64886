//! Converts scores to probabilities, one block of keys at a time.

use crate::kernels::cpu::simd::{BLOCK, Kernel, Simd, math};

/// Replaces scores `[keys/16][queries][16]` by e^(scale·score − highest), where `highest` is the largest scaled score so
/// far, and updates `total`. A query's earlier results must then be multiplied by its `factor`.
pub struct Softmax<'a> {
    pub scores: &'a mut [f32],
    pub stride: usize,
    pub keys: usize,
    pub scale: f32,
    /// `[queries]`, as are the next two.
    pub highest: &'a mut [f32],
    pub total: &'a mut [f32],
    pub factor: &'a mut [f32],
}

impl Kernel for Softmax<'_> {
    /// Whether any factor differs from one.
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
            let row = Row { start: self.scores[query * BLOCK..].as_mut_ptr(), blocks, stride: self.stride };
            // SAFETY: each block has the query's row, as asserted above.
            unsafe {
                let before = self.highest[query];
                let highest = before.max(row.maximum(s) * self.scale);
                let total = row.exponentials(s, self.scale, highest);
                self.factor[query] = (before - highest).exp();
                self.total[query] = self.total[query] * self.factor[query] + total;
                self.highest[query] = highest;
                changed |= highest != before;
            }
        }
        changed
    }
}

/// A query's scores: `blocks` blocks of 16, `stride` floats apart.
#[derive(Clone, Copy)]
struct Row {
    start: *mut f32,
    blocks: usize,
    stride: usize,
}

impl Row {
    /// # Safety
    /// The row is readable.
    #[inline(always)]
    unsafe fn maximum<S: Simd>(self, s: S) -> f32 {
        // SAFETY: the contract above.
        unsafe {
            let mut highest = s.splat(f32::MIN);
            for block in 0..self.blocks {
                for lane in (0..BLOCK).step_by(S::LANES) {
                    highest = s.max(highest, s.load(self.start.add(block * self.stride + lane)));
                }
            }
            lanes(s, highest)[..S::LANES].iter().copied().fold(f32::MIN, f32::max)
        }
    }

    /// Replaces the scores by e^(scale·score − highest); returns their sum.
    ///
    /// # Safety
    /// The row is writable, and no other thread uses it.
    #[inline(always)]
    unsafe fn exponentials<S: Simd>(self, s: S, scale: f32, highest: f32) -> f32 {
        // SAFETY: the contract above.
        unsafe {
            let mut total = s.zero();
            for block in 0..self.blocks {
                for lane in (0..BLOCK).step_by(S::LANES) {
                    let at = self.start.add(block * self.stride + lane);
                    let exponent = s.fma(s.load(at), s.splat(scale), s.splat(-highest));
                    let probability = math::exp(s, exponent);
                    s.store(at, probability);
                    total = s.add(total, probability);
                }
            }
            lanes(s, total)[..S::LANES].iter().sum()
        }
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

//! Packs filters for the matrix products: transformed, and blocked by 16 output channels.

use std::marker::PhantomData;

use rayon::prelude::*;

use crate::kernels::Error;
use crate::kernels::cpu::level::Level;
use crate::kernels::cpu::memory::{Aligned, Shared};
use crate::kernels::cpu::simd::{BLOCK, Kernel, Simd};

use super::form::{Form, MOST};

/// Input channels in one work item.
const CHUNK: usize = 16;
/// So few work items are done by one thread, since waking another takes as long.
const FEW_ITEMS: usize = 32;
/// The same of panels that are copied.
const FEW_PANELS: usize = 8;

/// `[co][ci][3][3]` → `[terms²][co/16][ci][16]`; the channels of the last block beyond `co` are zero.
pub fn transform<F: Form>(
    level: Level,
    weight: &[f32],
    co: usize,
    ci: usize,
    packed: &mut Aligned,
) -> Result<(), Error> {
    let panels = co.div_ceil(BLOCK);
    packed.ensure(F::FILTER_TERMS * F::FILTER_TERMS * panels * ci * BLOCK)?;
    let out = Shared::new(packed.as_mut_slice());
    let chunks = ci.div_ceil(CHUNK);
    (0..panels * chunks).into_par_iter().with_min_len(FEW_ITEMS).for_each(|item| {
        let (panel, chunk) = (item / chunks, item % chunks);
        let mut taps = [0.0; CHUNK * 9 * BLOCK];
        let first = chunk * CHUNK;
        let count = CHUNK.min(ci - first);
        for lane in 0..BLOCK.min(co - panel * BLOCK) {
            let filters = &weight[((panel * BLOCK + lane) * ci + first) * 9..][..count * 9];
            taps.chunks_exact_mut(BLOCK).zip(filters).for_each(|(taps, &w)| taps[lane] = w);
        }
        for (i, taps) in taps.chunks_exact(9 * BLOCK).take(count).enumerate() {
            // SAFETY: no other item writes column `first + i` of panel `panel` of any term.
            let to = unsafe { out.at((panel * ci + first + i) * BLOCK) };
            level.run(FilterTransform::<F> { taps, to, stride: panels * ci * BLOCK, form: PhantomData });
        }
    });
    Ok(())
}

/// One input channel's filters for 16 output channels: `taps` is `[3][3][16]`, `to` `[terms][terms]` at `stride`.
struct FilterTransform<'a, F> {
    taps: &'a [f32],
    to: *mut f32,
    stride: usize,
    form: PhantomData<F>,
}

impl<F: Form> Kernel for FilterTransform<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        assert_eq!(self.taps.len(), 9 * BLOCK);
        for lane in (0..BLOCK).step_by(S::LANES) {
            // SAFETY: there are nine blocks of taps (asserted above), and `to` has room for a block of every term.
            unsafe {
                let mut rows = [[s.zero(); MOST]; 3];
                for (y, row) in rows.iter_mut().enumerate() {
                    let from = self.taps.as_ptr().add(3 * y * BLOCK + lane);
                    *row = F::transform_filter(
                        s,
                        [s.load(from), s.load(from.add(BLOCK)), s.load(from.add(2 * BLOCK))],
                    );
                }
                let [first, second, third] = rows;
                for (x, ((&a, &b), &c)) in
                    first.iter().zip(&second).zip(&third).enumerate().take(F::FILTER_TERMS)
                {
                    let column = F::transform_filter(s, [a, b, c]);
                    for (y, &term) in column.iter().enumerate().take(F::FILTER_TERMS) {
                        s.store(self.to.add((y * F::FILTER_TERMS + x) * self.stride + lane), term);
                    }
                }
            }
        }
    }
}

/// `[co][k]` → `[co/16][k][16]`, for products with the weights themselves.
pub fn plain(weight: &[f32], co: usize, depth: usize, packed: &mut Aligned) -> Result<(), Error> {
    packed.ensure(co.div_ceil(BLOCK) * depth * BLOCK)?;
    let panels = packed.as_mut_slice().par_chunks_exact_mut(depth * BLOCK).with_min_len(FEW_PANELS);
    panels.enumerate().for_each(|(panel, out)| {
        out.fill(0.0);
        for lane in 0..BLOCK.min(co - panel * BLOCK) {
            let row = &weight[(panel * BLOCK + lane) * depth..][..depth];
            out.chunks_exact_mut(BLOCK).zip(row).for_each(|(out, &w)| out[lane] = w);
        }
    });
    Ok(())
}

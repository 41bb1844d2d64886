//! Sums and sums of squares per channel, for the group norm that reads a map next.
//!
//! A map is divided into fixed *segments*, regardless of the number of threads. The thread that writes a segment sums it,
//! and the sums are added in the order of the segments. So the same input gives the same bytes on any number of threads.
//!
//! Inside a segment, the sums are of the differences from the segment's first pixel, in f32. So they stay accurate if
//! the mean is far from zero. Everything after that is in f64.

use rayon::prelude::*;

use crate::kernels::Error;

use super::feature_map::ChannelSums;
use super::level::Level;
use super::memory::{Shared, zeros};
use super::simd::{BLOCK, Kernel, Simd};

/// The sum and the sum of squares of sixteen channels.
pub type PanelSums = [[f64; BLOCK]; 2];

/// So few segments are added by one thread.
const FEW: usize = 256;

/// The sums of each segment of each panel of 16 channels.
pub struct SegmentSums {
    values: Vec<PanelSums>,
    segments: usize,
}

impl SegmentSums {
    /// Zeros for `panels` panels of `segments` segments.
    pub fn new(panels: usize, segments: usize) -> Result<Self, Error> {
        Ok(Self { values: zeros(panels * segments)?, segments })
    }

    /// Returns a writer that several threads can use.
    pub fn writer(&mut self) -> SumsWriter<'_> {
        SumsWriter { segments: self.segments, values: Shared::new(&mut self.values) }
    }

    /// Adds up the segments in order.
    pub fn total(&self, channels: usize) -> ChannelSums {
        let panel = |segments: &[PanelSums]| {
            let mut total = [[0.0; BLOCK]; 2];
            for segment in segments {
                for (total, part) in total.iter_mut().flatten().zip(segment.iter().flatten()) {
                    *total += part;
                }
            }
            total
        };
        let panels: Vec<PanelSums> = self
            .values
            .par_chunks_exact(self.segments)
            .with_min_len(FEW.div_ceil(self.segments))
            .map(panel)
            .collect();
        let channel = |i: usize| panels.iter().flat_map(|panel| panel[i]).take(channels).collect();
        ChannelSums { sum: channel(0), squares: channel(1) }
    }
}

/// Writes the sums of segments. Each segment of a panel is written once.
#[derive(Clone, Copy)]
pub struct SumsWriter<'a> {
    values: Shared<'a, PanelSums>,
    segments: usize,
}

impl SumsWriter<'_> {
    /// # Safety
    /// No other thread writes the sums of this segment and panel.
    pub unsafe fn write(self, panel: usize, segment: usize, sums: PanelSums) {
        let at = panel * self.segments + segment;
        assert!(segment < self.segments && at < self.values.len());
        // SAFETY: the contract above, inside the slice.
        unsafe { *self.values.at(at) = sums };
    }
}

/// A segment: `rows` rows of `columns` pixels of 16 channels, `stride` floats from row to row.
#[derive(Clone, Copy)]
pub struct Segment {
    pub start: *const f32,
    pub rows: usize,
    pub columns: usize,
    pub stride: usize,
}

/// Independent sums, to hide the latency of additions: at least the vectors of a pixel.
const CHAINS: usize = 4;

/// Adds a distance to a sum and its square to a sum of squares.
#[inline(always)]
fn add_value<S: Simd>(s: S, distance: S::V, [sum, squares]: &mut [S::V; 2]) {
    *sum = s.add(*sum, distance);
    *squares = s.fma(distance, distance, *squares);
}

/// Created only by [`Segment::run`], under its contract.
struct Sum(Segment);

impl Kernel for Sum {
    type Output = PanelSums;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> PanelSums {
        // SAFETY: the contract of `Segment::run`.
        unsafe { self.0.sums(s) }
    }
}

impl Segment {
    /// # Safety
    /// All pixels are readable, there is at least one, and no other thread writes them.
    pub unsafe fn run(self, level: Level) -> PanelSums {
        level.run(Sum(self))
    }

    /// As [`Segment::run`], inside a kernel.
    ///
    /// # Safety
    /// As for [`Segment::run`].
    #[inline(always)]
    pub unsafe fn sums<S: Simd>(self, s: S) -> PanelSums {
        let vectors = BLOCK / S::LANES; // in a pixel: a divisor of `CHAINS`
        let in_row = self.columns * vectors;
        // SAFETY: vector `i` of a row is in pixel `i / vectors`.
        unsafe {
            let mut pivots = [s.zero(); CHAINS];
            for (i, pivot) in pivots.iter_mut().enumerate() {
                *pivot = s.load(self.start.add(i % vectors * S::LANES));
            }
            let mut sums = [[s.zero(); 2]; CHAINS];
            for row in 0..self.rows {
                let from = self.start.add(row * self.stride);
                let whole = in_row / CHAINS * CHAINS;
                for first in (0..whole).step_by(CHAINS) {
                    for i in 0..CHAINS {
                        let x = s.load(from.add((first + i) * S::LANES));
                        add_value(s, s.sub(x, pivots[i]), &mut sums[i]);
                    }
                }
                for i in whole..in_row {
                    let x = s.load(from.add(i * S::LANES));
                    add_value(s, s.sub(x, pivots[i - whole]), &mut sums[i - whole]);
                }
            }
            self.totals(s, &sums)
        }
    }

    /// Σx = n·p + Σd and Σx² = n·p² + 2·p·Σd + Σd², with the distances d = x − p.
    ///
    /// # Safety
    /// As for [`Segment::run`].
    #[inline(always)]
    unsafe fn totals<S: Simd>(self, s: S, sums: &[[S::V; 2]; CHAINS]) -> PanelSums {
        let mut distances = [[0.0; BLOCK]; 2];
        for (i, sums) in sums.iter().enumerate() {
            for (total, &sum) in distances.iter_mut().zip(sums) {
                let mut lanes = [0.0f32; BLOCK];
                // SAFETY: no vector has more lanes than a block.
                unsafe { s.store(lanes.as_mut_ptr(), sum) };
                let total = &mut total[i * S::LANES % BLOCK..][..S::LANES];
                total.iter_mut().zip(lanes).for_each(|(total, lane)| *total += f64::from(lane));
            }
        }
        let mut totals = [[0.0; BLOCK]; 2];
        let count = (self.rows * self.columns) as f64;
        for lane in 0..BLOCK {
            // SAFETY: the first pixel is readable.
            let p = f64::from(unsafe { *self.start.add(lane) });
            let [sum, squares] = [distances[0][lane], distances[1][lane]];
            totals[0][lane] = count * p + sum;
            totals[1][lane] = count * p * p + 2.0 * p * sum + squares;
        }
        totals
    }
}

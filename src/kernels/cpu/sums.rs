//! Sums and sums of squares per channel, for the group norm that reads a map next.
//!
//! A map is divided into fixed *segments*, regardless of the number of threads. The thread that writes a segment sums it,
//! and the sums are added in the order of the segments. So the same input gives the same bytes on any number of threads.
//!
//! Inside a segment, sums are in f32 of the distances from the segment's first pixel. They stay exact if the mean is
//! far from zero; from there on all is f64.

use rayon::prelude::*;

use super::feature_map::ChannelSums;
use super::level::Level;
use super::memory::Shared;
use super::simd::{BLOCK, Kernel, Simd};

/// The sum and the sum of squares of sixteen channels.
pub type PanelSums = [[f64; BLOCK]; 2];

/// The sums of each segment of each panel of 16 channels.
pub struct SegmentSums {
    values: Vec<PanelSums>,
    segments: usize,
}

impl SegmentSums {
    /// Zeros for `panels` panels of `segments` segments.
    pub fn new(panels: usize, segments: usize) -> Self {
        Self { values: vec![[[0.0; BLOCK]; 2]; panels * segments], segments }
    }

    /// For several threads to write.
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
        let panels: Vec<PanelSums> = self.values.par_chunks_exact(self.segments).map(panel).collect();
        let channel = |i: usize| panels.iter().flat_map(|panel| panel[i]).take(channels).collect();
        ChannelSums { sum: channel(0), squares: channel(1) }
    }
}

/// Where threads write the sums of segments, each segment once.
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

/// Sums a segment: `rows` rows of `columns` pixels of 16 channels, `stride` floats from row to row.
#[derive(Clone, Copy)]
pub struct Segment {
    pub start: *const f32,
    pub rows: usize,
    pub columns: usize,
    pub stride: usize,
}

/// Independent sums, to hide the latency of additions.
const CHAINS: usize = 4;

/// Adds a distance to a sum and its square to a sum of squares.
#[inline(always)]
fn add_value<S: Simd>(s: S, distance: S::V, [sum, squares]: &mut [S::V; 2]) {
    *sum = s.add(*sum, distance);
    *squares = s.fma(distance, distance, *squares);
}

/// Only [`Segment::run`] makes it, under that function's contract.
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
    /// All pixels are readable, there is at least one, and nobody writes them.
    pub unsafe fn run(self, level: Level) -> PanelSums {
        level.run(Sum(self))
    }

    /// The same inside a kernel.
    ///
    /// # Safety
    /// As for [`Segment::run`].
    #[inline(always)]
    pub unsafe fn sums<S: Simd>(self, s: S) -> PanelSums {
        let mut totals = [[0.0; BLOCK]; 2];
        let count = (self.rows * self.columns) as f64;
        for lane in (0..BLOCK).step_by(S::LANES) {
            let (mut first, mut sum, mut squares) = ([0.0f32; BLOCK], [0.0f32; BLOCK], [0.0f32; BLOCK]);
            // SAFETY: the caller's pixels; no vector has more lanes than a block.
            unsafe {
                let pivot = s.load(self.start.add(lane));
                let mut sums = [[s.zero(); 2]; CHAINS];
                for row in 0..self.rows {
                    let from = self.start.add(row * self.stride + lane);
                    let whole = self.columns / CHAINS * CHAINS;
                    for column in (0..whole).step_by(CHAINS) {
                        for (i, sums) in sums.iter_mut().enumerate() {
                            add_value(s, s.sub(s.load(from.add((column + i) * BLOCK)), pivot), sums);
                        }
                    }
                    for column in whole..self.columns {
                        add_value(s, s.sub(s.load(from.add(column * BLOCK)), pivot), &mut sums[0]);
                    }
                }
                let [a, b, c, d] = sums;
                s.store(first.as_mut_ptr(), pivot);
                s.store(sum.as_mut_ptr(), s.add(s.add(a[0], b[0]), s.add(c[0], d[0])));
                s.store(squares.as_mut_ptr(), s.add(s.add(a[1], b[1]), s.add(c[1], d[1])));
            }
            for i in 0..S::LANES {
                // Σx = n·p + Σd and Σx² = n·p² + 2·p·Σd + Σd², with d = x − p.
                let [p, sum, squares] = [first[i], sum[i], squares[i]].map(f64::from);
                totals[0][lane + i] = count * p + sum;
                totals[1][lane + i] = count * p * p + 2.0 * p * sum + squares;
            }
        }
        totals
    }
}

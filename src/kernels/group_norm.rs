//! Group norm, split in two: its statistics come from the sums that a feature map's writer kept, and its application
//! is a scale and a shift per channel that the next convolution fuses into its reading.

use crate::kernels::cuda;
use crate::kernels::feature_map::{ChannelSums, Shape};
use crate::kernels::simd::{BLOCK, Simd, math};

/// `x·scale[c] + shift[c]`, then SiLU if asked for.
#[derive(Clone, Default, Debug)]
pub struct Norm {
    /// `[c]`, zero up to the next multiple of 16.
    pub scale: Vec<f32>,
    /// Likewise.
    pub shift: Vec<f32>,
    /// Whether SiLU follows.
    pub silu: bool,
    /// Scale and shift of a map on a device; the vectors above are then empty.
    pub device: Option<cuda::Norm>,
}

/// A group norm's parameters.
#[derive(Clone, Copy)]
pub struct GroupNorm<'a> {
    /// γ `[c]`
    pub weight: &'a [f32],
    /// β `[c]`
    pub bias: &'a [f32],
    /// How many groups; it divides the channels.
    pub groups: usize,
    /// Added to the variance.
    pub eps: f64,
}

impl GroupNorm<'_> {
    /// `y = (x − mean)/√(variance + eps)·γ + β` over each group, as `x·scale + shift` per channel.
    ///
    /// The variance is E\[x²\] − E\[x\]², in f64 from sums that convolutions add up in f32 over a row of a tile and in f64
    /// from there on.
    pub fn of(&self, sums: &ChannelSums, shape: Shape, silu: bool) -> Norm {
        assert_eq!(sums.sum.len(), shape.channels, "sums of a map of {shape}");
        assert_eq!((self.weight.len(), self.bias.len()), (shape.channels, shape.channels));
        assert_eq!(shape.channels % self.groups, 0, "{} groups of {} channels", self.groups, shape.channels);
        let per_group = shape.channels / self.groups;
        let count = (per_group * shape.pixels()) as f64;
        let padded = shape.blocks() * BLOCK;
        let mut norm = Norm { scale: vec![0.0; padded], shift: vec![0.0; padded], silu, device: None };
        for group in 0..self.groups {
            let channels = group * per_group..(group + 1) * per_group;
            let mean = sums.sum[channels.clone()].iter().sum::<f64>() / count;
            let square = sums.squares[channels.clone()].iter().sum::<f64>() / count;
            let inverse = 1.0 / ((square - mean * mean).max(0.0) + self.eps).sqrt();
            for c in channels {
                let scale = f64::from(self.weight[c]) * inverse;
                norm.scale[c] = scale as f32;
                norm.shift[c] = (f64::from(self.bias[c]) - mean * scale) as f32;
            }
        }
        norm
    }
}

impl Norm {
    /// One value of one channel.
    pub fn one(&self, channel: usize, x: f32) -> f32 {
        let y = x * self.scale[channel] + self.shift[channel];
        if self.silu { y / (1.0 + (-y).exp()) } else { y }
    }
}

/// Norms some pixels `[n][16]` of one block of channels into others.
#[inline(always)]
pub fn activate<S: Simd>(s: S, norm: &Norm, block: usize, from: &[f32], to: &mut [f32]) {
    if norm.silu {
        each::<S, true>(s, norm, block, (from, to));
    } else {
        each::<S, false>(s, norm, block, (from, to));
    }
}

#[inline(always)]
fn each<S: Simd, const SILU: bool>(s: S, norm: &Norm, block: usize, (from, to): (&[f32], &mut [f32])) {
    let scale = &norm.scale[block * BLOCK..][..BLOCK];
    let shift = &norm.shift[block * BLOCK..][..BLOCK];
    assert!(from.len() == to.len() && to.len() % BLOCK == 0);
    for lane in (0..BLOCK).step_by(S::LANES) {
        // SAFETY: scale and shift are a block long; `from` and `to` are whole blocks, equally many.
        unsafe {
            let (scale, shift) = (s.load(scale.as_ptr().add(lane)), s.load(shift.as_ptr().add(lane)));
            for at in (lane..to.len()).step_by(BLOCK) {
                let x = s.fma(s.load(from.as_ptr().add(at)), scale, shift);
                s.store(to.as_mut_ptr().add(at), if SILU { math::silu(s, x) } else { x });
            }
        }
    }
}

//! Group norm in two steps: its statistics come from the sums that a map's writer kept, and it is applied as a scale and
//! a shift per channel by the convolution that reads the map next.

use crate::kernels::{Activation, NormParameters, Shape};

use super::feature_map::ChannelSums;
use super::simd::{BLOCK, Simd, math};

/// `x·scale[c] + shift[c]`, then the activation.
#[derive(Clone, Default, Debug)]
pub struct Coefficients {
    /// `[c]`, padded with zeros to a multiple of 16.
    pub scale: Vec<f32>,
    /// As `scale`.
    pub shift: Vec<f32>,
    /// What follows.
    pub activation: Activation,
}

impl Coefficients {
    /// `y = (x − mean)/√(variance + eps)·γ + β` over each group, as `x·scale + shift` per channel.
    ///
    /// The variance is E\[x²\] − E\[x\]², in f64 from sums that are exact to about 1e-7 of the spread around a value
    /// nearby (see `sums.rs`), so that a mean far from zero does no harm.
    ///
    /// # Panics
    /// If parameters, sums and shape have different numbers of channels, or the groups do not divide them.
    pub fn new(
        parameters: &NormParameters,
        sums: &ChannelSums,
        shape: Shape,
        activation: Activation,
    ) -> Self {
        let NormParameters { weight, bias, groups, eps } = parameters;
        assert_eq!(sums.sum.len(), shape.channels, "sums of a map of {shape}");
        assert_eq!((weight.len(), bias.len()), (shape.channels, shape.channels));
        assert_eq!(shape.channels % groups, 0, "{groups} groups of {} channels", shape.channels);
        let per_group = shape.channels / groups;
        let count = (per_group * shape.pixels()) as f64;
        let padded = shape.blocks() * BLOCK;
        let mut norm = Self { scale: vec![0.0; padded], shift: vec![0.0; padded], activation };
        for group in 0..*groups {
            let channels = group * per_group..(group + 1) * per_group;
            let mean = sums.sum[channels.clone()].iter().sum::<f64>() / count;
            let square = sums.squares[channels.clone()].iter().sum::<f64>() / count;
            let inverse = 1.0 / ((square - mean * mean).max(0.0) + eps).sqrt();
            for c in channels {
                let scale = f64::from(weight[c]) * inverse;
                norm.scale[c] = scale as f32;
                norm.shift[c] = (f64::from(bias[c]) - mean * scale) as f32;
            }
        }
        norm
    }

    /// One value of one channel.
    pub fn apply_to_one(&self, channel: usize, x: f32) -> f32 {
        let y = x * self.scale[channel] + self.shift[channel];
        match self.activation {
            Activation::Identity => y,
            Activation::Silu => y / (1.0 + (-y).exp()),
        }
    }

    /// Applies the norm to some pixels `[n][16]` of one block of channels.
    #[inline(always)]
    pub fn apply<S: Simd>(&self, s: S, block: usize, from: &[f32], to: &mut [f32]) {
        match self.activation {
            Activation::Identity => self.apply_with::<S, false>(s, block, from, to),
            Activation::Silu => self.apply_with::<S, true>(s, block, from, to),
        }
    }

    /// A closure in place of `SILU` would not be inlined with the level's instructions: it has none of its own.
    #[inline(always)]
    fn apply_with<S: Simd, const SILU: bool>(&self, s: S, block: usize, from: &[f32], to: &mut [f32]) {
        let scale = &self.scale[block * BLOCK..][..BLOCK];
        let shift = &self.shift[block * BLOCK..][..BLOCK];
        assert!(from.len() == to.len() && to.len().is_multiple_of(BLOCK));
        for lane in (0..BLOCK).step_by(S::LANES) {
            // SAFETY: scale and shift are a block long; `from` and `to` are the same number of whole blocks.
            unsafe {
                let (scale, shift) = (s.load(scale.as_ptr().add(lane)), s.load(shift.as_ptr().add(lane)));
                for at in (lane..to.len()).step_by(BLOCK) {
                    let x = s.fma(s.load(from.as_ptr().add(at)), scale, shift);
                    s.store(to.as_mut_ptr().add(at), if SILU { math::silu(s, x) } else { x });
                }
            }
        }
    }
}

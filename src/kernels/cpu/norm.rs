//! Norms in two steps: their statistics become a scale and a shift per channel, and for an RMS norm a factor per pixel. The
//! convolution that reads the map next applies them.
//!
//! The statistics of a group norm come from the sums that a map's writer kept; those of an RMS norm from the map itself.

use rayon::prelude::*;

use crate::kernels::{Activation, Error, LEAST_NORM, NormParameters, Shape};

use super::feature_map::{ChannelSums, HostMap};
use super::level::Level;
use super::memory::zeros;
use super::simd::{BLOCK, Kernel, Simd, math};

/// The weights of a norm.
#[derive(Debug)]
pub enum Norm {
    /// A group norm.
    Group(NormParameters),
    /// γ of an RMS norm over the channels of each pixel.
    Rms(Vec<f32>),
}

/// `x·factor[pixel]·scale[c] + shift[c]`, then the activation.
#[derive(Clone, Default, Debug)]
pub struct Coefficients {
    /// `[c]`, padded with zeros to a multiple of 16.
    pub scale: Vec<f32>,
    /// As `scale`.
    pub shift: Vec<f32>,
    /// `[h·w]`; without them, all are 1.
    pub factors: Option<Vec<f32>>,
    /// What follows.
    pub activation: Activation,
}

/// Pixels in a work item of an RMS norm: their sums stay in the first-level cache.
const PIXELS: usize = 64;
/// So few work items are done by one thread.
const FEW: usize = 16;

impl Coefficients {
    /// `y = (x − mean)/√(variance + eps)·γ + β` over each group, as `x·scale + shift` per channel.
    ///
    /// The variance is E\[x²\] − E\[x\]², in f64 from sums that are exact to about 1e-7 of the spread around a value
    /// nearby (see `sums.rs`), so that a mean far from zero does no harm.
    ///
    /// # Panics
    /// If parameters, sums and shape have different numbers of channels, or the groups do not divide them.
    pub fn of_groups(
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
        let (scale, shift) = (vec![0.0; padded], vec![0.0; padded]);
        let mut norm = Self { scale, shift, factors: None, activation };
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

    /// `y = x/max(‖x‖₂, 1e-12)·√c·γ` over the channels of each pixel: γ is the scale, the rest is the pixel's factor.
    ///
    /// # Errors
    /// If γ `[c]` does not fit the map, or there is no memory.
    pub fn of_pixels(
        level: Level,
        weight: &[f32],
        map: &HostMap,
        activation: Activation,
    ) -> Result<Self, Error> {
        let shape = map.shape;
        if weight.len() != shape.channels {
            let message = format!("an RMS norm of {} channels does not fit a map of {shape}", weight.len());
            return Err(Error::Shape(message));
        }
        let padded = shape.blocks() * BLOCK;
        let mut scale = weight.to_vec();
        scale.resize(padded, 0.0);
        let mut factors = zeros(shape.pixels())?;
        factors.par_chunks_mut(PIXELS).with_min_len(FEW).enumerate().for_each(|(item, factors)| {
            level.run(PixelFactors { map, first: item * PIXELS, factors });
        });
        Ok(Self { scale, shift: vec![0.0; padded], factors: Some(factors), activation })
    }

    /// One value of one channel.
    pub fn apply_to_one(&self, channel: usize, pixel: usize, x: f32) -> f32 {
        let factor = self.factors.as_ref().map_or(1.0, |factors| factors[pixel]);
        let y = x * factor * self.scale[channel] + self.shift[channel];
        match self.activation {
            Activation::Identity => y,
            Activation::Silu => y / (1.0 + (-y).exp()),
        }
    }

    /// Applies the norm to pixels `[n][16]` of one block of channels, of which the first is pixel `first` of the map.
    #[inline(always)]
    pub fn apply<S: Simd>(&self, s: S, block: usize, first: usize, from: &[f32], to: &mut [f32]) {
        assert!(from.len() == to.len() && to.len().is_multiple_of(BLOCK));
        match (&self.factors, self.activation) {
            (None, Activation::Identity) => self.apply_with::<S, false>(s, block, from, to),
            (None, Activation::Silu) => self.apply_with::<S, true>(s, block, from, to),
            (Some(factors), activation) => {
                let factors = &factors[first..][..to.len() / BLOCK];
                match activation {
                    Activation::Identity => self.apply_factors::<S, false>(s, block, factors, from, to),
                    Activation::Silu => self.apply_factors::<S, true>(s, block, factors, from, to),
                }
            }
        }
    }

    /// A closure in place of `SILU` would not be inlined with the level's instructions: it has none of its own.
    #[inline(always)]
    fn apply_with<S: Simd, const SILU: bool>(&self, s: S, block: usize, from: &[f32], to: &mut [f32]) {
        let scale = &self.scale[block * BLOCK..][..BLOCK];
        let shift = &self.shift[block * BLOCK..][..BLOCK];
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

    /// The same with a factor for each pixel.
    #[inline(always)]
    fn apply_factors<S: Simd, const SILU: bool>(
        &self,
        s: S,
        block: usize,
        factors: &[f32],
        from: &[f32],
        to: &mut [f32],
    ) {
        let scale = &self.scale[block * BLOCK..][..BLOCK];
        let shift = &self.shift[block * BLOCK..][..BLOCK];
        for lane in (0..BLOCK).step_by(S::LANES) {
            // SAFETY: scale and shift are a block long; `from` and `to` have a block for each factor.
            unsafe {
                let (scale, shift) = (s.load(scale.as_ptr().add(lane)), s.load(shift.as_ptr().add(lane)));
                for (pixel, &factor) in factors.iter().enumerate() {
                    let at = pixel * BLOCK + lane;
                    let x = s.mul(s.load(from.as_ptr().add(at)), s.splat(factor));
                    let x = s.fma(x, scale, shift);
                    s.store(to.as_mut_ptr().add(at), if SILU { math::silu(s, x) } else { x });
                }
            }
        }
    }
}

/// Computes `√c/max(‖x‖₂, 1e-12)` of up to [`PIXELS`] pixels from `first` on.
struct PixelFactors<'a> {
    map: &'a HostMap,
    first: usize,
    factors: &'a mut [f32],
}

impl Kernel for PixelFactors<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (shape, count) = (self.map.shape, self.factors.len());
        let mut squares = [0.0f32; PIXELS * BLOCK];
        let squares = &mut squares[..count * BLOCK];
        for block in 0..shape.blocks() {
            let start = block * shape.plane() + self.first * BLOCK;
            let from = &self.map.data()[start..][..count * BLOCK];
            for at in (0..count * BLOCK).step_by(S::LANES) {
                // SAFETY: both slices are as long, in whole vectors.
                unsafe {
                    let (x, sum) = (s.load(from.as_ptr().add(at)), squares.as_mut_ptr().add(at));
                    s.store(sum, s.fma(x, x, s.load(sum)));
                }
            }
        }
        let root = (shape.channels as f32).sqrt();
        for (factor, squares) in self.factors.iter_mut().zip(squares.chunks_exact(BLOCK)) {
            let norm = squares.iter().sum::<f32>().sqrt();
            // NaN stays NaN, unlike with `max`.
            *factor = root / if norm < LEAST_NORM { LEAST_NORM } else { norm };
        }
    }
}

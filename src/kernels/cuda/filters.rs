//! A convolution's weights as cuDNN reads them: `[phase·co][rows][columns][ci]`, channels padded with zeros.
//!
//! A convolution of stride 2 without padding before becomes one of 4×4 with padding all around and a zero first row
//! and column. Nearest ×2 and then 3×3 becomes four of 2×2, one for each phase of the output, that share their input:
//! even outputs have the taps \[w0, w1+w2\] in each dimension, odd ones \[w0+w1, w2\].

use super::cudnn::Convolution;
use super::engine::Engine;
use super::error::CudaError;
use super::map::padded;
use crate::kernels::conv2d::Kind;
use crate::kernels::feature_map::Shape;
use cudarc::driver::CudaSlice;
use rayon::prelude::*;
use std::ops::Range;
use std::sync::Arc;

/// The weights and biases of one convolution, on the device.
pub struct Filters {
    pub(super) engine: Arc<Engine>,
    pub(super) kind: Kind,
    pub(super) c_in: usize,
    pub(super) c_out: usize,
    pub(super) weight: CudaSlice<u8>,
    /// In the engine's precision, for cuDNN.
    pub(super) bias: CudaSlice<u8>,
    /// In f32, for `add_bias`.
    pub(super) wide_bias: CudaSlice<f32>,
}

impl Filters {
    /// Folds and copies `[co][ci][3][3]` (or `[co][ci]`, for 1×1) weights and `[co]` biases.
    pub fn upload(engine: &Arc<Engine>, kind: Kind, weight: &[f32], bias: &[f32]) -> Result<Self, CudaError> {
        let c_out = bias.len();
        let c_in = weight.len() / (c_out * kind.taps()).max(1);
        if c_out == 0 || c_in == 0 || weight.len() != c_out * c_in * kind.taps() {
            return Err(CudaError::Shape(format!(
                "{} weights for {c_out} channels of {kind:?}",
                weight.len()
            )));
        }
        let mut biases = Vec::with_capacity(phases(kind) * padded(c_out));
        for _ in 0..phases(kind) {
            biases.extend(bias);
            biases.resize(biases.len().next_multiple_of(padded(c_out)), 0.0);
        }
        Ok(Self {
            engine: engine.clone(),
            kind,
            c_in,
            c_out,
            weight: engine.upload_narrow(&fold(kind, weight, c_out, c_in))?,
            bias: engine.upload_narrow(&biases)?,
            wide_bias: engine.upload(&biases)?,
        })
    }

    /// What cuDNN is to do with a map of this shape.
    pub(super) fn convolution(&self, input: Shape) -> Convolution {
        let (side, pad, stride) = match self.kind {
            Kind::Same => (3, 1, 1),
            Kind::Up2 => (2, 1, 1),
            Kind::Down2 => (4, 1, 2),
            Kind::Point => (1, 0, 1),
        };
        let (c_in, c_out) = (padded(self.c_in), phases(self.kind) * padded(self.c_out));
        Convolution { height: input.height, width: input.width, c_in, c_out, side, pad, stride }
    }
}

/// Outputs that share an input.
fn phases(kind: Kind) -> usize {
    if kind == Kind::Up2 { 4 } else { 1 }
}

/// Rows (or columns) of the layer's filter that row (or column) `at` of a phase's filter adds up.
fn sources(kind: Kind, phase: usize, at: usize) -> Range<usize> {
    match (kind, phase, at) {
        (Kind::Same | Kind::Point, ..) => at..at + 1,
        (Kind::Down2, _, 0) => 0..0,
        (Kind::Down2, ..) => at - 1..at,
        (Kind::Up2, 0, 0) => 0..1,
        (Kind::Up2, 0, _) => 1..3,
        (Kind::Up2, _, 0) => 0..2,
        (Kind::Up2, ..) => 2..3,
    }
}

/// `[co][ci][taps]` → `[phases·padded co][side][side][padded ci]`
fn fold(kind: Kind, weight: &[f32], c_out: usize, c_in: usize) -> Vec<f32> {
    let (side, given) = match kind {
        Kind::Same => (3, 3),
        Kind::Up2 => (2, 3),
        Kind::Down2 => (4, 3),
        Kind::Point => (1, 1),
    };
    let (rows, depth) = (padded(c_out), padded(c_in));
    let mut folded = vec![0.0; phases(kind) * rows * side * side * depth];
    folded.par_chunks_exact_mut(side * side * depth).enumerate().for_each(|(row, filter)| {
        let (phase, o) = (row / rows, row % rows);
        let Some(weight) = weight.chunks_exact(c_in * given * given).nth(o) else {
            return; // a channel that only pads
        };
        for (at, taps) in filter.chunks_exact_mut(depth).enumerate() {
            for y in sources(kind, phase / 2, at / side) {
                for x in sources(kind, phase % 2, at % side) {
                    let weights = weight.iter().skip(y * given + x).step_by(given * given);
                    taps.iter_mut().zip(weights).for_each(|(tap, w)| *tap += w);
                }
            }
        }
    });
    folded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_folded_and_padded() {
        let nine: Vec<f32> = (1..=9).map(|x| x as f32).collect();
        let same = fold(Kind::Same, &nine, 1, 1);
        assert_eq!(same.len(), 8 * 9 * 8);
        assert_eq!(same.iter().step_by(8).copied().take(9).collect::<Vec<_>>(), nine);
        assert_eq!(same.iter().sum::<f32>(), 45.0, "the rest is zero");

        let down: Vec<f32> = fold(Kind::Down2, &nine, 1, 1).into_iter().step_by(8).take(16).collect();
        assert_eq!(down, [0., 0., 0., 0., 0., 1., 2., 3., 0., 4., 5., 6., 0., 7., 8., 9.]);

        let up = fold(Kind::Up2, &nine, 1, 1);
        let phase = |p: usize| [0, 1, 2, 3].map(|at| up[p * 8 * 4 * 8 + at * 8]);
        assert_eq!(phase(0), [1., 2. + 3., 4. + 7., 5. + 6. + 8. + 9.]);
        assert_eq!(phase(3), [1. + 2. + 4. + 5., 3. + 6., 7. + 8., 9.]);
        assert_eq!((phase(1).iter().sum::<f32>(), phase(2).iter().sum::<f32>()), (45.0, 45.0));
    }

    #[test]
    fn channels_keep_their_weights() {
        let weight: Vec<f32> = (0..30).map(|x| x as f32).collect(); // [3][10]
        let folded = fold(Kind::Point, &weight, 3, 10);
        assert_eq!(folded.len(), 8 * 16);
        for (o, i) in [(0, 0), (1, 9), (2, 5)] {
            assert_eq!(folded[o * 16 + i], (o * 10 + i) as f32);
        }
        assert_eq!(folded.iter().sum::<f32>(), weight.iter().sum::<f32>());
    }
}

//! A convolution's weights in cuDNN's layout: `[phase·co][rows][columns][ci]`, channels padded with zeros.
//!
//! A 3×3 convolution of stride 2 with padding only at the end becomes a 4×4 convolution with padding on all sides, whose first
//! row and column are zero. Nearest-neighbour ×2 followed by 3×3 becomes four 2×2 convolutions of the same input, one per phase
//! of the output: in each dimension, even outputs have the taps \[w0, w1+w2\] and odd ones \[w0+w1, w2\].

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use cudarc::driver::CudaSlice;
use rayon::prelude::*;

use crate::kernels::{ConvKind, Shape};

use super::cudnn::Convolution;
use super::engine::Engine;
use super::error::CudaError;
use super::map::padded;

/// The weights and biases of one convolution in the device's memory.
pub struct DeviceFilters {
    pub(super) engine: Arc<Engine>,
    pub(super) kind: ConvKind,
    pub(super) c_in: usize,
    pub(super) c_out: usize,
    /// Whether ReLU follows.
    pub(super) relu: bool,
    pub(super) weight: CudaSlice<u8>,
    /// In the engine's precision, for cuDNN.
    pub(super) bias: CudaSlice<u8>,
    /// In f32, for `add_bias`.
    pub(super) wide_bias: CudaSlice<f32>,
}

impl DeviceFilters {
    /// Folds weights and biases and copies them to the device: `[co][ci][3][3]` (or `[co][ci]`, for 1×1) weights and `[co]` biases.
    pub fn upload(
        engine: &Arc<Engine>,
        kind: ConvKind,
        weight: &[f32],
        bias: &[f32],
    ) -> Result<Self, CudaError> {
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
            relu: false,
            weight: engine.upload_narrow(&fold(kind, weight, c_out, c_in))?,
            bias: engine.upload_narrow(&biases)?,
            wide_bias: engine.stream.upload(&biases)?,
        })
    }

    /// The same with ReLU after the convolution, or after its sum with the map that it is added to.
    #[must_use]
    pub fn with_relu(self) -> Self {
        Self { relu: true, ..self }
    }

    /// The output's shape.
    pub(super) fn output(&self, input: Shape) -> Shape {
        self.kind.output(input, self.c_out)
    }

    /// The convolution of a map of this shape in cuDNN's terms.
    pub(super) fn convolution(&self, input: Shape) -> Convolution {
        let (side, pad, stride) = match self.kind {
            ConvKind::Same => (3, 1, 1),
            ConvKind::Up2 => (2, 1, 1),
            ConvKind::Down2 => (4, 1, 2),
            ConvKind::Down2Around => (3, 1, 2),
            ConvKind::Point => (1, 0, 1),
        };
        let (c_in, c_out) = (padded(self.c_in), phases(self.kind) * padded(self.c_out));
        Convolution { height: input.height, width: input.width, c_in, c_out, side, pad, stride }
    }
}

impl fmt::Debug for DeviceFilters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} from {} to {} channels on {:?}", self.kind, self.c_in, self.c_out, self.engine)
    }
}

/// How many outputs share an input.
fn phases(kind: ConvKind) -> usize {
    if kind == ConvKind::Up2 { 4 } else { 1 }
}

/// Rows (or columns) of the layer's filter that are summed in row (or column) `at` of a phase's filter.
fn sources(kind: ConvKind, phase: usize, at: usize) -> Range<usize> {
    match (kind, phase, at) {
        (ConvKind::Same | ConvKind::Down2Around | ConvKind::Point, ..) => at..at + 1,
        (ConvKind::Down2, _, 0) => 0..0,
        (ConvKind::Down2, ..) => at - 1..at,
        (ConvKind::Up2, 0, 0) => 0..1,
        (ConvKind::Up2, 0, _) => 1..3,
        (ConvKind::Up2, _, 0) => 0..2,
        (ConvKind::Up2, ..) => 2..3,
    }
}

/// `[co][ci][taps]` → `[phases·padded co][side][side][padded ci]`
fn fold(kind: ConvKind, weight: &[f32], c_out: usize, c_in: usize) -> Vec<f32> {
    let (side, given) = match kind {
        ConvKind::Same | ConvKind::Down2Around => (3, 3),
        ConvKind::Up2 => (2, 3),
        ConvKind::Down2 => (4, 3),
        ConvKind::Point => (1, 1),
    };
    let (rows, depth) = (padded(c_out), padded(c_in));
    let mut folded = vec![0.0; phases(kind) * rows * side * side * depth];
    folded.par_chunks_exact_mut(side * side * depth).enumerate().for_each(|(row, filter)| {
        let (phase, o) = (row / rows, row % rows);
        let Some(weight) = weight.chunks_exact(c_in * given * given).nth(o) else {
            return; // a padding channel
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
        let same = fold(ConvKind::Same, &nine, 1, 1);
        assert_eq!(same.len(), 8 * 9 * 8);
        assert_eq!(same.iter().step_by(8).copied().take(9).collect::<Vec<_>>(), nine);
        assert_eq!(same.iter().sum::<f32>(), 45.0, "the rest is zero");

        let down: Vec<f32> = fold(ConvKind::Down2, &nine, 1, 1).into_iter().step_by(8).take(16).collect();
        assert_eq!(down, [0., 0., 0., 0., 0., 1., 2., 3., 0., 4., 5., 6., 0., 7., 8., 9.]);

        let up = fold(ConvKind::Up2, &nine, 1, 1);
        let phase = |p: usize| [0, 1, 2, 3].map(|at| up[p * 8 * 4 * 8 + at * 8]);
        assert_eq!(phase(0), [1., 2. + 3., 4. + 7., 5. + 6. + 8. + 9.]);
        assert_eq!(phase(3), [1. + 2. + 4. + 5., 3. + 6., 7. + 8., 9.]);
        assert_eq!((phase(1).iter().sum::<f32>(), phase(2).iter().sum::<f32>()), (45.0, 45.0));
    }

    #[test]
    fn channels_keep_their_weights() {
        let weight: Vec<f32> = (0..30).map(|x| x as f32).collect(); // [3][10]
        let folded = fold(ConvKind::Point, &weight, 3, 10);
        assert_eq!(folded.len(), 8 * 16);
        for (o, i) in [(0, 0), (1, 9), (2, 5)] {
            assert_eq!(folded[o * 16 + i], (o * 10 + i) as f32);
        }
        assert_eq!(folded.iter().sum::<f32>(), weight.iter().sum::<f32>());
    }
}

//! Convolution on host maps, in the kinds that the models have.
//!
//! ```text
//! mod.rs               the entry point: checks shapes, chooses a form
//! form.rs              three taps in one dimension: stride 1, nearest ×2 then stride 1, stride 2
//! pack.rs              filters as the products read them
//! winograd.rs          the driver of those forms: input_transform.rs → products → output_transform.rs
//! tiles.rs             how its tiles are divided among threads
//! dense.rs             1×1, and 3×3 on few channels: a matrix product over pixels
//! ```

mod dense;
mod form;
mod input_transform;
mod output_transform;
mod pack;
mod tiles;
mod winograd;

use crate::kernels::{ConvKind, Error, Shape};

use super::feature_map::HostMap;
use super::level::Level;
use super::memory::{Aligned, Shared};
use super::norm::Coefficients;
use super::simd::BLOCK;
use super::sums::{SegmentSums, SumsWriter};

/// Up to this many input channels, `Same` is a matrix product with patches of the picture.
const FEW: usize = 3;

/// How a convolution is computed: a matrix product, or a form.
#[derive(Clone, Copy)]
enum Algorithm {
    Pixels,
    Patches,
    Same,
    Up2,
    Down2,
    Down2Around,
}

impl Algorithm {
    fn of(kind: ConvKind, ci: usize) -> Self {
        match kind {
            ConvKind::Point => Self::Pixels,
            ConvKind::Same if ci <= FEW => Self::Patches,
            ConvKind::Same => Self::Same,
            ConvKind::Up2 => Self::Up2,
            ConvKind::Down2 => Self::Down2,
            ConvKind::Down2Around => Self::Down2Around,
        }
    }

    /// Segments of the output whose sums are computed together.
    fn segments(self, output: Shape) -> usize {
        match self {
            Self::Pixels | Self::Patches => dense::segments(output),
            Self::Same => tiles::segments::<form::Same>(output),
            Self::Up2 => tiles::segments::<form::Up2>(output),
            Self::Down2 => tiles::segments::<form::Down2<0>>(output),
            Self::Down2Around => tiles::segments::<form::Down2<1>>(output),
        }
    }
}

/// Filters, packed for one kind of convolution. Packing others into the same value reuses its memory.
#[derive(Default)]
pub struct PackedFilters {
    packed: Aligned,
    kind: Option<ConvKind>,
    co: usize,
    ci: usize,
}

impl PackedFilters {
    /// Packs `[co][ci][3][3]` (or `[co][ci]`, for 1×1) weights.
    pub fn pack(
        &mut self,
        level: Level,
        kind: ConvKind,
        weight: &[f32],
        co: usize,
        ci: usize,
    ) -> Result<(), Error> {
        if co == 0 || ci == 0 || weight.len() != co * ci * kind.taps() {
            let message =
                format!("{} weights for a {kind:?} convolution from {ci} to {co} channels", weight.len());
            return Err(Error::Shape(message));
        }
        (self.kind, self.co, self.ci) = (Some(kind), co, ci);
        let packed = &mut self.packed;
        match Algorithm::of(kind, ci) {
            Algorithm::Pixels => pack::plain(weight, co, ci, packed),
            Algorithm::Patches => pack::plain(weight, co, 9 * ci, packed),
            Algorithm::Same => pack::transform::<form::Same>(level, weight, co, ci, packed),
            Algorithm::Up2 => pack::transform::<form::Up2>(level, weight, co, ci, packed),
            Algorithm::Down2 | Algorithm::Down2Around => {
                pack::transform::<form::Down2<0>>(level, weight, co, ci, packed)
            }
        }
    }
}

/// A convolution and the operations that are fused into it.
#[derive(Clone, Copy)]
pub struct Conv2d<'a> {
    /// Packed filters.
    pub filters: &'a PackedFilters,
    /// `[co]`
    pub bias: Option<&'a [f32]>,
    /// The norm, and its activation, of the input.
    pub norm: Option<&'a Coefficients>,
    /// Adds to the output instead of replacing it.
    pub add: bool,
    /// Applies ReLU to the output, after everything else.
    pub relu: bool,
    /// Stores the sums that a following group norm needs in the output.
    pub sums: bool,
}

/// Where a driver writes values and sums.
#[derive(Clone, Copy)]
struct OutputView<'a> {
    out: Shared<'a>,
    shape: Shape,
    sums: Option<SumsWriter<'a>>,
}

impl<'a> Conv2d<'a> {
    /// A convolution without fused operations.
    pub fn new(filters: &'a PackedFilters) -> Self {
        Self { filters, bias: None, norm: None, add: false, relu: false, sums: false }
    }

    /// Convolves `input` into `output`, which takes the result's shape or, if it is added to, must have it.
    pub fn run(&self, level: Level, input: &HostMap, output: &mut HostMap) -> Result<(), Error> {
        let kind = self.check(input.shape)?;
        let shape = kind.output(input.shape, self.filters.co);
        if !self.add {
            output.reshape(shape)?;
        } else if output.shape != shape {
            return Err(Error::Shape(format!("{shape} cannot be added to a map of {}", output.shape)));
        }
        let algorithm = Algorithm::of(kind, self.filters.ci);
        let mut sums = self.segment_sums(algorithm, shape)?;
        let view = OutputView {
            out: Shared::new(output.data_mut()),
            shape,
            sums: sums.as_mut().map(SegmentSums::writer),
        };
        match algorithm {
            Algorithm::Pixels => dense::run(self, level, dense::LeftOperand::Pixels(input), view),
            Algorithm::Patches => dense::run(self, level, dense::LeftOperand::Patches(input), view),
            Algorithm::Same => winograd::run::<form::Same>(self, level, input, view),
            Algorithm::Up2 => winograd::run::<form::Up2>(self, level, input, view),
            Algorithm::Down2 => winograd::run::<form::Down2<0>>(self, level, input, view),
            Algorithm::Down2Around => winograd::run::<form::Down2<1>>(self, level, input, view),
        }?;
        output.sums = sums.map(|sums| sums.total(shape.channels));
        Ok(())
    }

    /// A 1×1 convolution to as many or fewer channels, in its input's memory.
    pub fn run_in_place(&self, level: Level, map: &mut HostMap) -> Result<(), Error> {
        let kind = self.check(map.shape)?;
        let shape = kind.output(map.shape, self.filters.co);
        if kind != ConvKind::Point || self.add || shape.blocks() > map.shape.blocks() {
            return Err(Error::Shape(format!(
                "a {kind:?} convolution from {} to {shape} cannot run in place",
                map.shape
            )));
        }
        let channels = map.shape.channels;
        let mut sums = self.segment_sums(Algorithm::Pixels, shape)?;
        let view = OutputView {
            out: Shared::new(map.data_mut()),
            shape,
            sums: sums.as_mut().map(SegmentSums::writer),
        };
        dense::run(self, level, dense::LeftOperand::InPlace { channels }, view)?;
        map.shape = shape;
        map.sums = sums.map(|sums| sums.total(shape.channels));
        Ok(())
    }

    /// Room for the sums, if they are wanted.
    fn segment_sums(&self, algorithm: Algorithm, output: Shape) -> Result<Option<SegmentSums>, Error> {
        let sums = || SegmentSums::new(output.blocks(), algorithm.segments(output));
        self.sums.then(sums).transpose()
    }

    fn check(&self, input: Shape) -> Result<ConvKind, Error> {
        let PackedFilters { kind, co, ci, .. } = *self.filters;
        let kind = kind.ok_or_else(|| Error::Shape("the filters are not packed".to_owned()))?;
        kind.check(input, ci)?;
        if let Some(bias) = self.bias.filter(|bias| bias.len() != co) {
            return Err(Error::Shape(format!("a bias of {} for {co} channels", bias.len())));
        }
        let padded = input.blocks() * BLOCK;
        let misfit = |norm: &&Coefficients| {
            let factors = norm.factors.as_ref().map_or(input.pixels(), Vec::len);
            norm.scale.len() != padded || norm.shift.len() != padded || factors != input.pixels()
        };
        if let Some(norm) = self.norm.filter(misfit) {
            return Err(Error::Shape(format!("a norm of {} channels for {input}", norm.scale.len())));
        }
        Ok(kind)
    }

    /// Returns the biases of a panel of 16 channels.
    fn bias_of(&self, panel: usize) -> [f32; BLOCK] {
        let mut biases = [0.0; BLOCK];
        let channels = panel * BLOCK..self.filters.co.min((panel + 1) * BLOCK);
        if let Some(bias) = self.bias {
            biases[..channels.len()].copy_from_slice(&bias[channels]);
        }
        biases
    }
}

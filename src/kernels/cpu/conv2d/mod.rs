//! Convolution on host maps, in the kinds that an AutoencoderKL has.
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
use super::group_norm::Coefficients;
use super::level::Level;
use super::memory::{Aligned, Shared};
use super::simd::BLOCK;
use super::sums::{SegmentSums, SumsWriter};

/// Up to this many input channels, `Same` is a matrix product with patches of the picture.
const FEW: usize = 3;

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
        match kind {
            ConvKind::Point => pack::plain(weight, co, ci, &mut self.packed),
            ConvKind::Same if ci <= FEW => pack::plain(weight, co, 9 * ci, &mut self.packed),
            ConvKind::Same => pack::transform::<form::Same>(level, weight, co, ci, &mut self.packed),
            ConvKind::Up2 => pack::transform::<form::Up2>(level, weight, co, ci, &mut self.packed),
            ConvKind::Down2 => pack::transform::<form::Down2>(level, weight, co, ci, &mut self.packed),
        }
        Ok(())
    }
}

/// A convolution and the operations that are fused into it.
#[derive(Clone, Copy)]
pub struct Conv2d<'a> {
    /// Packed filters.
    pub filters: &'a PackedFilters,
    /// `[co]`
    pub bias: Option<&'a [f32]>,
    /// Group norm, and its activation, of the input.
    pub norm: Option<&'a Coefficients>,
    /// Adds to the output instead of replacing it.
    pub add: bool,
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
        Self { filters, bias: None, norm: None, add: false, sums: false }
    }

    /// Convolves `input` into `output`, which takes the result's shape or, if it is added to, must have it.
    pub fn run(&self, level: Level, input: &HostMap, output: &mut HostMap) -> Result<(), Error> {
        let kind = self.check(input.shape)?;
        let shape = kind.output(input.shape, self.filters.co);
        if !self.add {
            output.reshape(shape);
        } else if output.shape != shape {
            return Err(Error::Shape(format!("{shape} cannot be added to a map of {}", output.shape)));
        }
        let mut sums = self.segment_sums(kind, shape);
        let view = OutputView {
            out: Shared::new(output.data_mut()),
            shape,
            sums: sums.as_mut().map(SegmentSums::writer),
        };
        match kind {
            ConvKind::Point => dense::run(self, level, dense::LeftOperand::Pixels(input), view),
            ConvKind::Same if self.filters.ci <= FEW => {
                dense::run(self, level, dense::LeftOperand::Patches(input), view)
            }
            ConvKind::Same => winograd::run::<form::Same>(self, level, input, view),
            ConvKind::Up2 => winograd::run::<form::Up2>(self, level, input, view),
            ConvKind::Down2 => winograd::run::<form::Down2>(self, level, input, view),
        }
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
        let mut sums = self.segment_sums(kind, shape);
        let view = OutputView {
            out: Shared::new(map.data_mut()),
            shape,
            sums: sums.as_mut().map(SegmentSums::writer),
        };
        dense::run(self, level, dense::LeftOperand::InPlace { channels }, view);
        map.shape = shape;
        map.sums = sums.map(|sums| sums.total(shape.channels));
        Ok(())
    }

    /// Room for the sums, if they are wanted.
    fn segment_sums(&self, kind: ConvKind, output: Shape) -> Option<SegmentSums> {
        let segments = match kind {
            ConvKind::Point => dense::segments(output),
            ConvKind::Same if self.filters.ci <= FEW => dense::segments(output),
            ConvKind::Same => tiles::segments::<form::Same>(output),
            ConvKind::Up2 => tiles::segments::<form::Up2>(output),
            ConvKind::Down2 => tiles::segments::<form::Down2>(output),
        };
        self.sums.then(|| SegmentSums::new(output.blocks(), segments))
    }

    fn check(&self, input: Shape) -> Result<ConvKind, Error> {
        let PackedFilters { kind, co, ci, .. } = *self.filters;
        let kind = kind.ok_or_else(|| Error::Shape("the filters are not packed".to_owned()))?;
        kind.check(input, ci)?;
        if let Some(bias) = self.bias.filter(|bias| bias.len() != co) {
            return Err(Error::Shape(format!("a bias of {} for {co} channels", bias.len())));
        }
        let padded = input.blocks() * BLOCK;
        let misfit = |norm: &&Coefficients| norm.scale.len() != padded || norm.shift.len() != padded;
        if let Some(norm) = self.norm.filter(misfit) {
            return Err(Error::Shape(format!("a group norm of {} channels for {input}", norm.scale.len())));
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

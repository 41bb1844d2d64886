//! Convolution on feature maps, in the forms that an AutoencoderKL has.
//!
//! ```text
//! mod.rs       the door: checks shapes, picks a form
//! form.rs      three taps in one dimension: stride 1, nearest ×2 then stride 1, stride 2
//! pack.rs      filters as the products read them
//! winograd.rs  the driver of those forms: samples.rs → products → outputs.rs, cut up by tiles.rs
//! dense.rs     1×1, and 3×3 on few channels: a matrix product over pixels
//! naive.rs     what all of it must equal
//! ```

mod dense;
mod form;
pub mod naive;
mod outputs;
mod pack;
mod samples;
mod tiles;
mod winograd;

use crate::kernels::error::ShapeError;
use crate::kernels::feature_map::{ChannelSums, FeatureMap, Shape};
use crate::kernels::group_norm::Norm;
use crate::kernels::level::Level;
use crate::kernels::memory::{Aligned, Shared};
use crate::kernels::simd::BLOCK;
use outputs::PanelSums;

/// What is convolved how.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// 3×3, stride 1, one pixel of zeros around the picture.
    Same,
    /// Nearest ×2, then as `Same`.
    Up2,
    /// 3×3, stride 2, one pixel of zeros to the right and below.
    Down2,
    /// 1×1.
    Point,
}

impl Kind {
    /// The output's shape.
    pub fn output(self, input: Shape, channels: usize) -> Shape {
        let Shape { height, width, .. } = input;
        match self {
            Self::Same | Self::Point => Shape::new(channels, height, width),
            Self::Up2 => Shape::new(channels, 2 * height, 2 * width),
            Self::Down2 => Shape::new(channels, height / 2, width / 2),
        }
    }

    /// Whether it can read such a map, where its filters take `channels`.
    pub(in crate::kernels) fn check(self, input: Shape, channels: usize) -> Result<(), ShapeError> {
        let least = if self == Self::Down2 { 2 } else { 1 };
        if input.channels != channels || input.height < least || input.width < least {
            return Err(ShapeError(format!(
                "{input} does not fit a {self:?} convolution from {channels} channels"
            )));
        }
        Ok(())
    }

    /// Weights per pair of input and output channel.
    pub fn taps(self) -> usize {
        if self == Self::Point { 1 } else { 9 }
    }
}

/// Input channels up to which `Same` multiplies patches of the picture as they are.
const FEW: usize = 3;

/// Filters, packed for one kind of convolution. The memory is kept when others are packed into the same value.
#[derive(Default)]
pub struct Filters {
    packed: Aligned,
    kind: Option<Kind>,
    co: usize,
    ci: usize,
}

impl Filters {
    /// Packs `[co][ci][3][3]` (or `[co][ci]`, for 1×1) weights.
    pub fn pack(
        &mut self,
        level: Level,
        kind: Kind,
        weight: &[f32],
        co: usize,
        ci: usize,
    ) -> Result<(), ShapeError> {
        if co == 0 || ci == 0 || weight.len() != co * ci * kind.taps() {
            let message =
                format!("{} weights for a {kind:?} convolution from {ci} to {co} channels", weight.len());
            return Err(ShapeError(message));
        }
        (self.kind, self.co, self.ci) = (Some(kind), co, ci);
        match kind {
            Kind::Point => pack::plain(weight, (co, ci), &mut self.packed),
            Kind::Same if ci <= FEW => pack::plain(weight, (co, 9 * ci), &mut self.packed),
            Kind::Same => pack::transform::<form::Same>(level, weight, (co, ci), &mut self.packed),
            Kind::Up2 => pack::transform::<form::Up2>(level, weight, (co, ci), &mut self.packed),
            Kind::Down2 => pack::transform::<form::Down2>(level, weight, (co, ci), &mut self.packed),
        }
        Ok(())
    }
}

/// A convolution, with what is fused into it.
#[derive(Clone, Copy)]
pub struct Conv2d<'a> {
    /// Packed, for this kind.
    pub filters: &'a Filters,
    /// `[co]`
    pub bias: Option<&'a [f32]>,
    /// Group norm, and SiLU, of the input.
    pub norm: Option<&'a Norm>,
    /// Adds to what the output holds, instead of replacing it.
    pub add: bool,
    /// Leaves the sums that a group norm needs in the output.
    pub sums: bool,
}

/// Where a driver writes.
#[derive(Clone, Copy)]
struct Target<'a> {
    out: Shared<'a>,
    shape: Shape,
}

impl<'a> Conv2d<'a> {
    /// A convolution with nothing fused into it.
    pub fn new(filters: &'a Filters) -> Self {
        Self { filters, bias: None, norm: None, add: false, sums: false }
    }

    /// Convolves `input` into `output`, which takes the shape that comes out, or, if it is added to, has it already.
    pub fn run(&self, level: Level, input: &FeatureMap, output: &mut FeatureMap) -> Result<(), ShapeError> {
        let kind = self.check(input.shape)?;
        let shape = kind.output(input.shape, self.filters.co);
        if !self.add {
            output.reshape(shape);
        } else if output.shape != shape {
            return Err(ShapeError(format!("{shape} cannot be added to a map of {}", output.shape)));
        }
        let target = Target { out: Shared::new(output.data_mut()), shape };
        let sums = match kind {
            Kind::Point => dense::run(self, level, dense::Input::Pixels(input), target),
            Kind::Same if self.filters.ci <= FEW => {
                dense::run(self, level, dense::Input::Patches(input), target)
            }
            Kind::Same => winograd::run::<form::Same>(self, level, input, target),
            Kind::Up2 => winograd::run::<form::Up2>(self, level, input, target),
            Kind::Down2 => winograd::run::<form::Down2>(self, level, input, target),
        };
        output.sums = self.sums.then(|| total(&sums, shape.channels));
        Ok(())
    }

    /// A 1×1 convolution to as many or fewer channels, that takes its input's place.
    pub fn run_in_place(&self, level: Level, map: &mut FeatureMap) -> Result<(), ShapeError> {
        let kind = self.check(map.shape)?;
        let shape = kind.output(map.shape, self.filters.co);
        if kind != Kind::Point || self.add || shape.blocks() > map.shape.blocks() {
            return Err(ShapeError(format!("{kind:?} from {} to {shape} does not work in place", map.shape)));
        }
        let channels = map.shape.channels;
        let target = Target { out: Shared::new(map.data_mut()), shape };
        let sums = dense::run(self, level, dense::Input::InPlace { channels }, target);
        map.shape = shape;
        map.sums = self.sums.then(|| total(&sums, shape.channels));
        Ok(())
    }

    fn check(&self, input: Shape) -> Result<Kind, ShapeError> {
        let Filters { kind, co, ci, .. } = *self.filters;
        let kind = kind.ok_or_else(|| ShapeError("filters that were never packed".to_owned()))?;
        kind.check(input, ci)?;
        if let Some(bias) = self.bias.filter(|bias| bias.len() != co) {
            return Err(ShapeError(format!("a bias of {} for {co} channels", bias.len())));
        }
        let padded = input.blocks() * BLOCK;
        if let Some(norm) = self.norm.filter(|norm| norm.scale.len() != padded || norm.shift.len() != padded)
        {
            return Err(ShapeError(format!("a norm of {} channels for {input}", norm.scale.len())));
        }
        Ok(kind)
    }

    /// The biases of a panel of 16 channels.
    fn bias_of(&self, panel: usize) -> [f32; BLOCK] {
        let mut biases = [0.0; BLOCK];
        let channels = panel * BLOCK..self.filters.co.min((panel + 1) * BLOCK);
        if let Some(bias) = self.bias {
            biases[..channels.len()].copy_from_slice(&bias[channels]);
        }
        biases
    }
}

/// Adds up what the pieces counted, always in the same order.
fn total(pieces: &[(usize, PanelSums)], channels: usize) -> ChannelSums {
    let mut sums = ChannelSums { sum: vec![0.0; channels], squares: vec![0.0; channels] };
    for (panel, piece) in pieces {
        let first = panel * BLOCK;
        let last = channels.min(first + BLOCK);
        sums.sum[first..last].iter_mut().zip(piece[0]).for_each(|(sum, part)| *sum += part);
        sums.squares[first..last].iter_mut().zip(piece[1]).for_each(|(sum, part)| *sum += part);
    }
    sums
}

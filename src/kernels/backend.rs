//! The interface between the model and the devices: what a device must be able to do.
//!
//! The model is generic over [`Backend`] and does not name a specific one. The alternative, one map type behind a trait object, was
//! rejected: every operation would have to check at run time that its maps, weights and coefficients come from the same
//! backend. With associated types, mixing backends does not compile, and a call costs nothing. Programs that choose the device
//! at run time use [`Device`](crate::device::Device), which erases the type once per picture instead of once per layer.

use std::fmt;

use super::{Error, Parameter, Precision, Workspace, WorkspacePool};

/// The most channels of a map that all backends support. The group norm of a CUDA device sets this limit.
pub const MAX_CHANNELS: usize = 4096;

/// A device, or a kind of device, that computes the model's operations. Cheap to clone; clones share their memory.
///
/// `Convolution`, `Norm` and `Attention` hold weights in the layout that the backend uses.
pub trait Backend: Clone + fmt::Debug + Send + Sync + 'static {
    /// Activations of one picture.
    type Map: FeatureMap;
    /// The weights of a convolution.
    type Convolution: fmt::Debug + Send + Sync;
    /// The weights of a norm.
    type Norm: fmt::Debug + Send + Sync;
    /// What applies a norm to one map: a scale and a shift per channel, and for an RMS norm a factor per pixel.
    type Coefficients;
    /// The weights of an attention layer's four projections.
    type Attention: fmt::Debug + Send + Sync;
    /// Scratch memory that the operations on one picture share.
    type Scratch: Default + Send;

    /// The number format of maps and weights.
    fn precision(&self) -> Precision;
    /// The pool of unused workspaces.
    fn workspaces(&self) -> &WorkspacePool<Self>;
    /// Frees the memory of the pool and the scratch memory of threads. Models keep their weights.
    fn release(&self);

    /// Prepares a convolution's weights.
    fn convolution(&self, parameters: ConvParameters) -> Result<Self::Convolution, Error>;
    /// Prepares a group norm's weights.
    fn group_norm(&self, parameters: NormParameters) -> Result<Self::Norm, Error>;
    /// Prepares the weights γ `[c]` of an RMS norm over the channels of each pixel: `x/max(‖x‖₂, 1e-12)·√c·γ`.
    fn rms_norm(&self, weight: Vec<f32>) -> Result<Self::Norm, Error>;
    /// Prepares the weights of an attention layer.
    fn attention(&self, parameters: AttentionParameters) -> Result<Self::Attention, Error>;

    /// An empty map. The operation that writes it allocates its memory.
    fn empty_map(&self) -> Self::Map;
    /// Copies `[c, h, w]` planes into `map`, and sets its shape.
    fn load(&self, planes: &[f32], shape: Shape, map: &mut Self::Map) -> Result<(), Error>;
    /// Copies a map's `[c, h, w]` planes.
    ///
    /// # Errors
    /// [`Error::NotFinite`] if a precision with a narrow range gave NaN or infinite values.
    fn fetch(&self, map: &Self::Map) -> Result<Vec<f32>, Error>;

    /// Computes the coefficients of `norm` for `x`. The convolution or the attention that reads `x` next applies them.
    fn normalize(
        &self,
        norm: &Self::Norm,
        x: &Self::Map,
        activation: Activation,
    ) -> Result<Self::Coefficients, Error>;

    /// Convolves `input` into `output`.
    fn convolve(
        &self,
        convolution: &Self::Convolution,
        input: ConvInput<Self>,
        output: ConvOutput<Self>,
        workspace: &mut Workspace<Self>,
    ) -> Result<(), Error>;

    /// `conv(x)`, in place if the backend can.
    fn convolve_owned(
        &self,
        convolution: &Self::Convolution,
        x: Self::Map,
        workspace: &mut Workspace<Self>,
    ) -> Result<Self::Map, Error>;

    /// `x + to_out(attention(to_q(h), to_k(h), to_v(h)))` with `h = norm(x)` by its coefficients.
    ///
    /// The projections are part of the operation, so that a backend can merge them.
    fn attend(
        &self,
        attention: &Self::Attention,
        x: Self::Map,
        norm: &Self::Coefficients,
        workspace: &mut Workspace<Self>,
    ) -> Result<Self::Map, Error>;
}

/// Activations of one picture, in the memory of a backend.
pub trait FeatureMap: Send {
    /// Channels, height and width.
    fn shape(&self) -> Shape;
    /// The number format of the values.
    fn precision(&self) -> Precision;
    /// How many numbers fit into the map's memory.
    fn capacity(&self) -> usize;
    /// Whether a map of this shape fits into the map's memory.
    fn fits(&self, shape: Shape) -> bool;
    /// Waits until the values have been computed.
    fn wait(&self) -> Result<(), Error>;
    /// Calls `visit` with all values, slice by slice, without padding. The order is always the same, but not that of a tensor.
    fn visit(&self, visit: &mut dyn FnMut(&[f32])) -> Result<(), Error>;
}

/// What a convolution reads: a map, with a norm (and its activation) applied to it, or without.
pub struct ConvInput<'a, B: Backend> {
    /// The map.
    pub map: &'a B::Map,
    /// The norm's coefficients for this map.
    pub norm: Option<&'a B::Coefficients>,
}

/// Where a convolution writes.
pub enum ConvOutput<'a, B: Backend> {
    /// The result replaces the map.
    Replace(&'a mut B::Map),
    /// The result is added to the map, which has its shape.
    AddTo(&'a mut B::Map),
}

/// The activation after a norm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Activation {
    /// Nothing.
    #[default]
    Identity,
    /// `x / (1 + e⁻ˣ)`
    Silu,
}

/// The parameters of a convolution.
#[derive(Debug, Clone)]
pub struct ConvParameters {
    /// Size, stride and padding.
    pub kind: ConvKind,
    /// Input channels.
    pub c_in: usize,
    /// `[out, in, k, k]`; or `[out, in]` for 1×1.
    pub weight: Parameter,
    /// `[out]`
    pub bias: Vec<f32>,
    /// Whether ReLU follows the convolution, or its sum with the map that it is added to.
    pub relu: bool,
    /// Whether a group norm reads the result. It needs sums, which the convolution computes as it writes.
    pub sums: bool,
}

/// The least norm of a pixel that an RMS norm divides by, as in torch's `F.normalize`.
pub const LEAST_NORM: f32 = 1e-12;

/// The parameters of a group norm: `(x − mean)/√(variance + eps)·γ + β` over each group.
#[derive(Debug, Clone)]
pub struct NormParameters {
    /// γ `[c]`
    pub weight: Vec<f32>,
    /// β `[c]`
    pub bias: Vec<f32>,
    /// The number of groups; it divides the channels.
    pub groups: usize,
    /// Added to the variance.
    pub eps: f64,
}

/// The projections of an attention layer: 1×1 convolutions from c to c channels.
#[derive(Debug, Clone)]
pub struct AttentionParameters {
    /// Queries.
    pub to_q: ConvParameters,
    /// Keys.
    pub to_k: ConvParameters,
    /// Values.
    pub to_v: ConvParameters,
    /// The output projection.
    pub to_out: ConvParameters,
}

/// The convolutions that the models have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConvKind {
    /// 3×3, stride 1, one pixel of zeros around the picture.
    Same,
    /// Nearest ×2, then as `Same`.
    Up2,
    /// 3×3, stride 2, one pixel of zeros to the right and below.
    Down2,
    /// 3×3, stride 2, one pixel of zeros around the picture.
    Down2Around,
    /// 1×1.
    Point,
}

impl ConvKind {
    /// The output's shape.
    pub fn output(self, input: Shape, channels: usize) -> Shape {
        let Shape { height, width, .. } = input;
        match self {
            Self::Same | Self::Point => Shape::new(channels, height, width),
            Self::Up2 => Shape::new(channels, 2 * height, 2 * width),
            Self::Down2 => Shape::new(channels, height / 2, width / 2),
            Self::Down2Around => Shape::new(channels, height.div_ceil(2), width.div_ceil(2)),
        }
    }

    /// Checks that a map has `channels` channels and is large enough.
    pub(super) fn check(self, input: Shape, channels: usize) -> Result<(), Error> {
        let least = if self == Self::Down2 { 2 } else { 1 };
        if input.channels != channels || input.height < least || input.width < least {
            return Err(Error::Shape(format!(
                "{input} does not fit a {self:?} convolution from {channels} channels"
            )));
        }
        Ok(())
    }

    /// The side of the filter: 3 or 1.
    pub fn side(self) -> usize {
        if self == Self::Point { 1 } else { 3 }
    }

    /// Weights per pair of input and output channel.
    pub fn taps(self) -> usize {
        self.side() * self.side()
    }
}

/// Channels, height, width.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Shape {
    /// Channels.
    pub channels: usize,
    /// Pixels down.
    pub height: usize,
    /// Pixels across.
    pub width: usize,
}

impl Shape {
    /// Three numbers in the order of a tensor's dimensions.
    pub fn new(channels: usize, height: usize, width: usize) -> Self {
        Self { channels, height, width }
    }

    /// Height times width.
    pub fn pixels(self) -> usize {
        self.height * self.width
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}, {}, {}]", self.channels, self.height, self.width)
    }
}

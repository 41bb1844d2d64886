//! The layers with weights: convolution, norm, attention.

use candle_core::Result;

use crate::kernels::{
    Activation, AttentionParameters, Backend, ConvInput, ConvKind, ConvOutput, ConvParameters, FeatureMap,
    NormParameters, Workspace,
};

use super::parameters::Loader;

/// Every group norm of the VAE has this epsilon (`resnet_eps=1e-6` in `diffusers/models/autoencoders/vae.py`).
const NORM_EPS: f64 = 1e-6;

/// A convolution.
#[derive(Debug)]
pub struct Conv2d<B: Backend> {
    weights: B::Convolution,
    kind: ConvKind,
    c_out: usize,
}

impl<B: Backend> Conv2d<B> {
    /// Loads `weight` `[c_out, c_in, k, k]` and `bias` `[c_out]`. A group norm may read the result.
    pub fn new(c_in: usize, c_out: usize, kind: ConvKind, load: Loader<B>) -> Result<Self> {
        let weight = load.tensor("weight", &[c_out, c_in, kind.side(), kind.side()])?;
        let bias = load.vector("bias", c_out)?;
        Self::from_parameters(
            ConvParameters { kind, c_in, weight, bias, relu: false, sums: true },
            load.backend(),
        )
    }

    /// Prepares weights that were loaded otherwise.
    pub fn from_parameters(parameters: ConvParameters, backend: &B) -> Result<Self> {
        let (kind, c_out) = (parameters.kind, parameters.bias.len());
        Ok(Self { weights: backend.convolution(parameters)?, kind, c_out })
    }

    /// `conv(x)` of a map that is still needed.
    pub fn forward_kept(&self, x: &B::Map, workspace: &mut Workspace<B>) -> Result<B::Map> {
        let mut y = workspace.take(self.kind.output(x.shape(), self.c_out));
        self.convolve(ConvInput { map: x, norm: None }, ConvOutput::Replace(&mut y), workspace)?;
        Ok(y)
    }

    /// Adds `conv(x)` to y.
    pub fn add(&self, y: &mut B::Map, x: &B::Map, workspace: &mut Workspace<B>) -> Result<()> {
        self.convolve(ConvInput { map: x, norm: None }, ConvOutput::AddTo(y), workspace)
    }

    /// `conv(x)`
    pub fn forward(&self, x: B::Map, workspace: &mut Workspace<B>) -> Result<B::Map> {
        Ok(workspace.backend().convolve_owned(&self.weights, x, workspace)?)
    }

    /// `conv(norm(x))`
    pub fn forward_normed(&self, norm: &Norm<B>, x: &B::Map, workspace: &mut Workspace<B>) -> Result<B::Map> {
        let mut y = workspace.take(self.kind.output(x.shape(), self.c_out));
        self.convolve_normed(norm, x, ConvOutput::Replace(&mut y), workspace)?;
        Ok(y)
    }

    /// Adds `conv(norm(x))` to y.
    pub fn add_normed(
        &self,
        y: &mut B::Map,
        norm: &Norm<B>,
        x: &B::Map,
        workspace: &mut Workspace<B>,
    ) -> Result<()> {
        self.convolve_normed(norm, x, ConvOutput::AddTo(y), workspace)
    }

    fn convolve_normed(
        &self,
        norm: &Norm<B>,
        x: &B::Map,
        output: ConvOutput<B>,
        workspace: &mut Workspace<B>,
    ) -> Result<()> {
        let coefficients = norm.coefficients(x, workspace)?;
        self.convolve(ConvInput { map: x, norm: Some(&coefficients) }, output, workspace)
    }

    fn convolve(
        &self,
        input: ConvInput<B>,
        output: ConvOutput<B>,
        workspace: &mut Workspace<B>,
    ) -> Result<()> {
        Ok(workspace.backend().convolve(&self.weights, input, output, workspace)?)
    }
}

/// A norm, and the activation that follows it.
#[derive(Debug)]
pub struct Norm<B: Backend> {
    weights: B::Norm,
    activation: Activation,
}

impl<B: Backend> Norm<B> {
    /// A group norm: loads `weight` and `bias`, both `[channels]`.
    pub fn group(groups: usize, channels: usize, activation: Activation, load: Loader<B>) -> Result<Self> {
        let (weight, bias) = (load.vector("weight", channels)?, load.vector("bias", channels)?);
        let parameters = NormParameters { weight, bias, groups, eps: NORM_EPS };
        Ok(Self { weights: load.backend().group_norm(parameters)?, activation })
    }

    /// An RMS norm over the channels of each pixel, with weights γ `[channels]`.
    pub fn rms(weight: Vec<f32>, activation: Activation, backend: &B) -> Result<Self> {
        Ok(Self { weights: backend.rms_norm(weight)?, activation })
    }

    /// The norm of x as coefficients, which the layer that reads x next applies while it reads.
    fn coefficients(&self, x: &B::Map, workspace: &Workspace<B>) -> Result<B::Coefficients> {
        Ok(workspace.backend().normalize(&self.weights, x, self.activation)?)
    }
}

/// Self-attention with one head over all positions, with a residual connection.
///
/// `diffusers/models/attention_processor.py`, `Attention` with `residual_connection=True`.
#[derive(Debug)]
pub struct Attention<B: Backend> {
    norm: Norm<B>,
    projections: B::Attention,
}

impl<B: Backend> Attention<B> {
    /// Loads `group_norm` and the projections, by their current or their older names.
    pub fn new(groups: usize, channels: usize, load: Loader<B>) -> Result<Self> {
        let older = load.contains("query.weight");
        let [q, k, v, out] = if older { OLDER_NAMES } else { NAMES };
        let projections = AttentionParameters {
            to_q: load_projection(channels, &load.under(q))?,
            to_k: load_projection(channels, &load.under(k))?,
            to_v: load_projection(channels, &load.under(v))?,
            to_out: load_projection(channels, &load.under(out))?,
        };
        let norm = Norm::group(groups, channels, Activation::Identity, load.under("group_norm"))?;
        Self::from_parameters(norm, projections, load.backend())
    }

    /// Prepares weights that were loaded otherwise.
    pub fn from_parameters(norm: Norm<B>, projections: AttentionParameters, backend: &B) -> Result<Self> {
        Ok(Self { norm, projections: backend.attention(projections)? })
    }

    /// `x + to_out(attention(to_q(h), to_k(h), to_v(h)))` with h = norm(x); `[c, h, w]` → the same shape
    pub fn forward(&self, x: B::Map, workspace: &mut Workspace<B>) -> Result<B::Map> {
        let norm = self.norm.coefficients(&x, workspace)?;
        Ok(workspace.backend().attend(&self.projections, x, &norm, workspace)?)
    }
}

/// The names of the projections in current checkpoints, and in older ones.
const NAMES: [&str; 4] = ["to_q", "to_k", "to_v", "to_out.0"];
const OLDER_NAMES: [&str; 4] = ["query", "key", "value", "proj_attn"];

/// Loads a projection: a linear layer `[c, c]`, or a convolution `[c, c, 1, 1]`.
fn load_projection<B: Backend>(channels: usize, load: &Loader<B>) -> Result<ConvParameters> {
    let weight = load.tensor("weight", &[channels, channels, 1, 1]);
    let weight = weight.or_else(|_| load.tensor("weight", &[channels, channels]))?;
    let bias = load.vector("bias", channels)?;
    Ok(ConvParameters { kind: ConvKind::Point, c_in: channels, weight, bias, relu: false, sums: true })
}

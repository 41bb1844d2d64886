//! The layers that own weights: convolution, group norm, attention.

use std::sync::Arc;

use candle_core::{Error, Result};

use super::parameters::{Parameter, Parameters};
use crate::kernels::attention::attention;
use crate::kernels::cuda::{self, Affine, Engine, Filters, Folded, Uploaded};
use crate::kernels::{self, FeatureMap, Kind, Norm, Workspace};

/// Every group norm of the VAE has this epsilon (`resnet_eps=1e-6` in `diffusers/models/autoencoders/vae.py`).
const NORM_EPS: f64 = 1e-6;

/// A convolution with bias.
#[derive(Debug, Clone)]
pub struct Conv2d {
    weight: Parameter, // [out, in, k, k]
    bias: Vec<f32>,    // [out]
    c_in: usize,
    kind: Kind,
    on_device: Uploaded<Filters>,
}

impl Conv2d {
    /// Reads `weight` and `bias` under the prefix of `vb`.
    pub fn new(c_in: usize, c_out: usize, kind: Kind, vb: Parameters) -> Result<Self> {
        let k = if kind == Kind::Point { 1 } else { 3 };
        Self::with_weight(vb.get(&[c_out, c_in, k, k], "weight")?, c_in, c_out, kind, &vb)
    }

    fn with_weight(
        weight: Parameter,
        c_in: usize,
        c_out: usize,
        kind: Kind,
        vb: &Parameters,
    ) -> Result<Self> {
        Ok(Self { weight, bias: vb.vector(c_out, "bias")?, c_in, kind, on_device: Uploaded::default() })
    }

    /// `conv(norm(x))`, with or without the norm.
    pub fn forward(&self, x: &FeatureMap, norm: Option<&Norm>, space: &mut Workspace) -> Result<FeatureMap> {
        let mut y = space.take(self.kind.output(x.shape(), self.bias.len()));
        self.run(x, norm, &mut y, false, space)?;
        Ok(y)
    }

    /// `y + conv(norm(x))`, in the place of y.
    pub fn add_to(
        &self,
        y: &mut FeatureMap,
        x: &FeatureMap,
        norm: Option<&Norm>,
        space: &mut Workspace,
    ) -> Result<()> {
        self.run(x, norm, y, true, space)
    }

    /// `conv(x)`, in the place of x where it has room.
    pub fn replace(&self, mut x: FeatureMap, space: &mut Workspace) -> Result<FeatureMap> {
        if self.kind == Kind::Point && self.bias.len() <= self.c_in && space.engine.is_none() {
            let level = space.level;
            self.prepare(None, space)?.run_in_place(level, &mut x).map_err(Error::wrap)?;
            return Ok(x);
        }
        let y = self.forward(&x, None, space)?;
        space.give(x);
        Ok(y)
    }

    /// y becomes `conv(norm(x))` or has it added, where the workspace computes.
    fn run(
        &self,
        x: &FeatureMap,
        norm: Option<&Norm>,
        y: &mut FeatureMap,
        add: bool,
        space: &mut Workspace,
    ) -> Result<()> {
        if let Some(engine) = &space.engine {
            let norm = norm.and_then(|norm| norm.device.as_ref());
            return Ok(self.filters(engine)?.convolve(x, norm, y, add)?);
        }
        let level = space.level;
        let conv = kernels::conv2d::Conv2d { add, ..self.prepare(norm, space)? };
        conv.run(level, x, y).map_err(Error::wrap)
    }

    /// The filters on the device, copied there the first time.
    fn filters(&self, engine: &Arc<Engine>) -> Result<&Filters> {
        self.on_device
            .get_or_make(|| Ok(Filters::upload(engine, self.kind, &self.weight.to_f32()?, &self.bias)?))
    }

    /// Packs the filters; every output's sums are kept, for the group norm that may follow.
    fn prepare<'a>(
        &'a self,
        norm: Option<&'a Norm>,
        space: &'a mut Workspace,
    ) -> Result<kernels::conv2d::Conv2d<'a>> {
        let (c_out, c_in) = (self.bias.len(), self.c_in);
        let weight = self.weight.to_f32()?;
        space.filters.pack(space.level, self.kind, &weight, c_out, c_in).map_err(Error::wrap)?;
        let bias = Some(&self.bias[..]);
        Ok(kernels::conv2d::Conv2d { filters: &space.filters, bias, norm, add: false, sums: true })
    }
}

/// Group norm over channels, with or without the SiLU that follows it nearly everywhere.
#[derive(Debug, Clone)]
pub struct GroupNorm {
    weight: Vec<f32>, // [channels]
    bias: Vec<f32>,   // [channels]
    groups: usize,
    silu: bool,
    on_device: Uploaded<Affine>,
}

impl GroupNorm {
    /// Reads `weight` and `bias` under the prefix of `vb`.
    pub fn new(groups: usize, channels: usize, silu: bool, vb: Parameters) -> Result<Self> {
        let (weight, bias) = (vb.vector(channels, "weight")?, vb.vector(channels, "bias")?);
        Ok(Self { weight, bias, groups, silu, on_device: Uploaded::default() })
    }

    /// The norm of x, as a scale and a shift per channel that the next convolution applies while it reads x.
    pub fn of(&self, x: &FeatureMap) -> Result<Norm> {
        if let Some(engine) = x.engine() {
            let affine = || Affine::upload(engine, &self.weight, &self.bias);
            return Ok(self.on_device.get_or_make(affine)?.of(x, self.groups, NORM_EPS, self.silu)?);
        }
        let sums = x.sums().ok_or_else(|| Error::Msg("a norm of a map without sums".into()))?;
        let (weight, bias) = (&self.weight[..], &self.bias[..]);
        let norm = kernels::group_norm::GroupNorm { weight, bias, groups: self.groups, eps: NORM_EPS };
        Ok(norm.of(sums, x.shape(), self.silu))
    }
}

/// One head of self-attention over all positions, with a residual around it.
///
/// `diffusers/models/attention_processor.py`, `Attention` with `residual_connection=True`.
#[derive(Debug, Clone)]
pub struct Attention {
    group_norm: GroupNorm,
    to_q: Conv2d,
    to_k: Conv2d,
    to_v: Conv2d,
    to_out: Conv2d,
    on_device: Uploaded<Folded>,
}

impl Attention {
    /// Reads the current spelling (`to_q`, `to_k`, `to_v`, `to_out.0`) or the older one
    /// (`query`, `key`, `value`, `proj_attn`), as linear `[c,c]` or as convolution `[c,c,1,1]`.
    pub fn new(groups: usize, channels: usize, vb: Parameters) -> Result<Self> {
        let projection = |name: &str, older: &str| {
            let name = if vb.contains(&format!("{older}.weight")) { older } else { name };
            pointwise(channels, vb.pp(name))
        };
        Ok(Self {
            group_norm: GroupNorm::new(groups, channels, false, vb.pp("group_norm"))?,
            to_q: projection("to_q", "query")?,
            to_k: projection("to_k", "key")?,
            to_v: projection("to_v", "value")?,
            to_out: projection("to_out.0", "proj_attn")?,
            on_device: Uploaded::default(),
        })
    }

    /// `x + to_out(attention(to_q(h), to_k(h), to_v(h)))` with h = group_norm(x); `[c, h, w]` → the same shape.
    pub fn forward(&self, mut x: FeatureMap, space: &mut Workspace) -> Result<FeatureMap> {
        let norm = self.group_norm.of(&x)?;
        if let Some(norm) = &norm.device {
            return self.forward_on_device(x, norm, space);
        }
        let q = self.to_q.forward(&x, Some(&norm), space)?;
        let k = self.to_k.forward(&x, Some(&norm), space)?;
        let v = self.to_v.forward(&x, Some(&norm), space)?;
        let mut h = space.take(x.shape());
        attention(space.level, [&q, &k, &v], &mut h).map_err(Error::wrap)?;
        self.to_out.add_to(&mut x, &h, None, space)?;
        for map in [q, k, v, h] {
            space.give(map);
        }
        Ok(x)
    }

    /// The same with to_v and to_out as one projection, and without v itself.
    fn forward_on_device(
        &self,
        mut x: FeatureMap,
        norm: &cuda::Norm,
        space: &mut Workspace,
    ) -> Result<FeatureMap> {
        let mut h = space.take(x.shape());
        norm.apply(&x, &mut h)?;
        let q = self.to_q.forward(&h, None, space)?;
        let k = self.to_k.forward(&h, None, space)?;
        self.folded(norm.engine())?.attend([&q, &k, &h], &mut x)?;
        for map in [q, k, h] {
            space.give(map);
        }
        Ok(x)
    }

    /// to_v and to_out on the device, copied there the first time.
    fn folded(&self, engine: &Arc<Engine>) -> Result<&Folded> {
        let (v, out) = (&self.to_v, &self.to_out);
        self.on_device.get_or_make(|| {
            let (v_weight, out_weight) = (v.weight.to_f32()?, out.weight.to_f32()?);
            Ok(Folded::upload(engine, (&v_weight, &v.bias), (&out_weight, &out.bias))?)
        })
    }
}

/// A projection of every position by itself, stored as `[c,c,1,1]` or as `[c,c]`.
fn pointwise(channels: usize, vb: Parameters) -> Result<Conv2d> {
    let weight =
        vb.get(&[channels, channels, 1, 1], "weight").or_else(|_| vb.get(&[channels, channels], "weight"));
    Conv2d::with_weight(weight?, channels, channels, Kind::Point, &vb)
}

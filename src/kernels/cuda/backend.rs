//! A CUDA device as a backend of the model.

use std::fmt;
use std::sync::Arc;

use crate::kernels::{
    Activation, AttentionParameters, Backend, ConvInput, ConvOutput, ConvParameters, Error, FeatureMap,
    NormParameters, Precision, Shape, Workspace, WorkspacePool,
};

use super::attention::FoldedProjections;
use super::engine::Engine;
use super::error::CudaError;
use super::filters::DeviceFilters;
use super::map::DeviceMap;
use super::norm::{DeviceCoefficients, DeviceNorm};

/// An NVIDIA GPU that computes in one precision. Weights are copied to it when a model is loaded.
#[derive(Clone)]
pub struct Cuda {
    engine: Arc<Engine>,
    workspaces: WorkspacePool<Self>,
}

/// The weights of an attention layer: queries and keys, and the projections of values and output as one.
#[derive(Debug)]
pub struct DeviceAttention {
    to_q: DeviceFilters,
    to_k: DeviceFilters,
    values: FoldedProjections,
}

impl Cuda {
    /// Starts the device `cuda:index`. The first time on a machine, the kernels are compiled, which takes some seconds. The device
    /// is not checked; [`Device::choose`](crate::device::Device::choose) does that.
    ///
    /// # Errors
    /// If there is no such device, it is too old, or a library is missing; the message says what to install.
    pub fn new(index: usize, precision: Precision) -> Result<Self, CudaError> {
        let engine = Arc::new(Engine::new(index, precision)?);
        Ok(Self { engine, workspaces: WorkspacePool::default() })
    }

    /// The device's number.
    pub fn index(&self) -> usize {
        self.engine.stream.index
    }

    /// Waits until all queued work is done.
    pub fn synchronize(&self) -> Result<(), CudaError> {
        self.engine.stream.synchronize()
    }

    /// The most bytes of the device's memory that this process has used at a time since it started or since
    /// [`Cuda::reset_peak`]; unknown on devices without memory pools. The libraries' own memory does not count.
    pub fn peak_bytes(&self) -> Option<u64> {
        self.engine.stream.peak_bytes()
    }

    /// Restarts the count of [`Cuda::peak_bytes`].
    pub fn reset_peak(&self) {
        self.engine.stream.reset_peak();
    }

    /// How many shapes cuDNN convolves with the bias fused, without it, and with the fallback algorithm.
    pub fn convolution_counts(&self) -> [usize; 3] {
        self.engine.scratch().cudnn.strategy_counts()
    }

    /// What an earlier run of this build found out about `topic` on this device.
    pub(crate) fn recall(&self, topic: &str) -> Option<String> {
        self.engine.identity.recall(topic)
    }

    /// Writes a finding about `topic` for later runs, if that is possible.
    pub(crate) fn remember(&self, topic: &str, finding: &str) {
        self.engine.identity.remember(topic, finding);
    }

    /// For tests of the operations.
    #[doc(hidden)]
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }
}

impl fmt::Debug for Cuda {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.engine.fmt(f)
    }
}

impl Backend for Cuda {
    type Map = DeviceMap;
    type Convolution = DeviceFilters;
    type Norm = DeviceNorm;
    type Coefficients = DeviceCoefficients;
    type Attention = DeviceAttention;
    /// The engine has the scratch memory of operations, since they are done one after the other.
    type Scratch = ();

    fn precision(&self) -> Precision {
        self.engine.precision
    }

    fn workspaces(&self) -> &WorkspacePool<Self> {
        &self.workspaces
    }

    fn release(&self) {
        self.workspaces.clear();
        self.engine.release();
    }

    fn convolution(&self, parameters: ConvParameters) -> Result<DeviceFilters, Error> {
        let ConvParameters { kind, weight, bias, relu, .. } = parameters;
        let filters = DeviceFilters::upload(&self.engine, kind, &weight.to_f32()?, &bias)?;
        Ok(if relu { filters.with_relu() } else { filters })
    }

    fn group_norm(&self, parameters: NormParameters) -> Result<DeviceNorm, Error> {
        Ok(DeviceNorm::upload(&self.engine, &parameters)?)
    }

    fn rms_norm(&self, weight: Vec<f32>) -> Result<DeviceNorm, Error> {
        Ok(DeviceNorm::upload_rms(&self.engine, &weight)?)
    }

    fn attention(&self, parameters: AttentionParameters) -> Result<DeviceAttention, Error> {
        let AttentionParameters { to_q, to_k, to_v, to_out } = parameters;
        let (v, out) = (to_v.weight.to_f32()?, to_out.weight.to_f32()?);
        let values = FoldedProjections::upload(&self.engine, (&v, &to_v.bias), (&out, &to_out.bias))?;
        Ok(DeviceAttention { to_q: self.convolution(to_q)?, to_k: self.convolution(to_k)?, values })
    }

    fn empty_map(&self) -> DeviceMap {
        DeviceMap::new(&self.engine)
    }

    fn load(&self, planes: &[f32], shape: Shape, map: &mut DeviceMap) -> Result<(), Error> {
        Ok(map.load(planes, shape)?)
    }

    fn fetch(&self, map: &DeviceMap) -> Result<Vec<f32>, Error> {
        Ok(map.fetch()?)
    }

    fn normalize(
        &self,
        norm: &DeviceNorm,
        x: &DeviceMap,
        activation: Activation,
    ) -> Result<DeviceCoefficients, Error> {
        Ok(norm.of(x, activation)?)
    }

    fn convolve(
        &self,
        convolution: &DeviceFilters,
        input: ConvInput<Self>,
        output: ConvOutput<Self>,
        _: &mut Workspace<Self>,
    ) -> Result<(), Error> {
        Ok(match output {
            ConvOutput::Replace(y) => convolution.convolve(input.map, input.norm, y),
            ConvOutput::AddTo(y) => convolution.convolve_add(input.map, input.norm, y),
        }?)
    }

    fn convolve_owned(
        &self,
        convolution: &DeviceFilters,
        x: DeviceMap,
        workspace: &mut Workspace<Self>,
    ) -> Result<DeviceMap, Error> {
        let mut y = workspace.take(convolution.output(x.shape()));
        convolution.convolve(&x, None, &mut y)?;
        workspace.give(x);
        Ok(y)
    }

    fn attend(
        &self,
        attention: &DeviceAttention,
        mut x: DeviceMap,
        norm: &DeviceCoefficients,
        workspace: &mut Workspace<Self>,
    ) -> Result<DeviceMap, Error> {
        let mut h = workspace.take(x.shape());
        norm.apply(&x, &mut h)?;
        let [mut q, mut k] = [workspace.take(x.shape()), workspace.take(x.shape())];
        attention.to_q.convolve(&h, None, &mut q)?;
        attention.to_k.convolve(&h, None, &mut k)?;
        attention.values.attend([&q, &k, &h], &mut x)?;
        for map in [q, k, h] {
            workspace.give(map);
        }
        Ok(x)
    }
}

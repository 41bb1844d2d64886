//! The CPU as a backend of the model.

use crate::kernels::{
    Activation, AttentionParameters, Backend, ConvInput, ConvKind, ConvOutput, ConvParameters, Error,
    NormParameters, Precision, Shape, Workspace, WorkspacePool,
};

use super::attention::attention;
use super::conv2d::{Conv2d, PackedFilters};
use super::feature_map::HostMap;
use super::level::{Level, LevelError};
use super::memory::free_scratch;
use super::norm::{Coefficients, Norm};

/// The CPU, at one level of instructions. Computes in f32, on the current rayon thread pool.
///
/// The results do not depend on the number of threads.
#[derive(Clone)]
pub struct Cpu {
    level: Level,
    workspaces: WorkspacePool<Self>,
}

impl Cpu {
    /// The CPU at the level that the environment variable `VAE_CPU` names, or the machine's best.
    ///
    /// # Errors
    /// If the variable names an unknown level or one that the machine does not have.
    pub fn new() -> Result<Self, LevelError> {
        Ok(Self::at(Level::from_env()?))
    }

    /// The CPU at a level.
    pub fn at(level: Level) -> Self {
        Self { level, workspaces: WorkspacePool::default() }
    }

    /// The instructions that it uses.
    pub fn level(&self) -> Level {
        self.level
    }

    /// Packs the filters, just before they are used.
    fn pack<'a>(
        &self,
        parameters: &'a ConvParameters,
        norm: Option<&'a Coefficients>,
        filters: &'a mut PackedFilters,
    ) -> Result<Conv2d<'a>, Error> {
        let &ConvParameters { kind, c_in, ref weight, ref bias, relu, sums } = parameters;
        filters.pack(self.level, kind, &weight.to_f32()?, bias.len(), c_in)?;
        Ok(Conv2d { filters, bias: Some(bias), norm, add: false, relu, sums })
    }

    /// A projection of a map to one of the same shape.
    fn project(
        &self,
        projection: &ConvParameters,
        map: &HostMap,
        norm: &Coefficients,
        workspace: &mut Workspace<Self>,
    ) -> Result<HostMap, Error> {
        let mut y = workspace.take(map.shape);
        let input = ConvInput { map, norm: Some(norm) };
        self.convolve(projection, input, ConvOutput::Replace(&mut y), workspace)?;
        Ok(y)
    }
}

impl std::fmt::Debug for Cpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cpu ({})", self.level.name())
    }
}

impl Backend for Cpu {
    type Map = HostMap;
    /// As they are: filters are packed when they are used, since all packed filters would need twice the checkpoint's memory.
    type Convolution = ConvParameters;
    type Norm = Norm;
    type Coefficients = Coefficients;
    type Attention = AttentionParameters;
    type Scratch = PackedFilters;

    fn precision(&self) -> Precision {
        Precision::F32
    }

    fn workspaces(&self) -> &WorkspacePool<Self> {
        &self.workspaces
    }

    fn release(&self) {
        self.workspaces.clear();
        free_scratch();
    }

    fn convolution(&self, parameters: ConvParameters) -> Result<ConvParameters, Error> {
        Ok(parameters)
    }

    fn group_norm(&self, parameters: NormParameters) -> Result<Norm, Error> {
        Ok(Norm::Group(parameters))
    }

    fn rms_norm(&self, weight: Vec<f32>) -> Result<Norm, Error> {
        Ok(Norm::Rms(weight))
    }

    fn attention(&self, parameters: AttentionParameters) -> Result<AttentionParameters, Error> {
        Ok(parameters)
    }

    fn empty_map(&self) -> HostMap {
        HostMap::default()
    }

    fn load(&self, planes: &[f32], shape: Shape, map: &mut HostMap) -> Result<(), Error> {
        map.read_planes(planes, shape)
    }

    fn fetch(&self, map: &HostMap) -> Result<Vec<f32>, Error> {
        map.to_planes()
    }

    fn normalize(&self, norm: &Norm, x: &HostMap, activation: Activation) -> Result<Coefficients, Error> {
        match norm {
            Norm::Group(parameters) => {
                let sums = x
                    .sums()
                    .ok_or_else(|| Error::Shape(format!("a group norm of a map {} without sums", x.shape)))?;
                Ok(Coefficients::of_groups(parameters, sums, x.shape, activation))
            }
            Norm::Rms(weight) => Coefficients::of_pixels(self.level, weight, x, activation),
        }
    }

    fn convolve(
        &self,
        convolution: &ConvParameters,
        input: ConvInput<Self>,
        output: ConvOutput<Self>,
        workspace: &mut Workspace<Self>,
    ) -> Result<(), Error> {
        let conv = self.pack(convolution, input.norm, workspace.scratch())?;
        match output {
            ConvOutput::Replace(y) => conv.run(self.level, input.map, y),
            ConvOutput::AddTo(y) => Conv2d { add: true, ..conv }.run(self.level, input.map, y),
        }
    }

    fn convolve_owned(
        &self,
        convolution: &ConvParameters,
        mut x: HostMap,
        workspace: &mut Workspace<Self>,
    ) -> Result<HostMap, Error> {
        let ConvParameters { kind, c_in, bias, .. } = convolution;
        if *kind == ConvKind::Point && bias.len() <= *c_in {
            self.pack(convolution, None, workspace.scratch())?.run_in_place(self.level, &mut x)?;
            return Ok(x);
        }
        let mut y = workspace.take(kind.output(x.shape, bias.len()));
        self.convolve(
            convolution,
            ConvInput { map: &x, norm: None },
            ConvOutput::Replace(&mut y),
            workspace,
        )?;
        workspace.give(x);
        Ok(y)
    }

    fn attend(
        &self,
        attention_layer: &AttentionParameters,
        mut x: HostMap,
        norm: &Coefficients,
        workspace: &mut Workspace<Self>,
    ) -> Result<HostMap, Error> {
        let AttentionParameters { to_q, to_k, to_v, to_out } = attention_layer;
        let q = self.project(to_q, &x, norm, workspace)?;
        let k = self.project(to_k, &x, norm, workspace)?;
        let v = self.project(to_v, &x, norm, workspace)?;
        let mut h = workspace.take(x.shape);
        attention(self.level, [&q, &k, &v], &mut h)?;
        self.convolve(to_out, ConvInput { map: &h, norm: None }, ConvOutput::AddTo(&mut x), workspace)?;
        for map in [q, k, v, h] {
            workspace.give(map);
        }
        Ok(x)
    }
}

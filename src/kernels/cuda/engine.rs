//! A device that computes in one precision.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cudarc::driver::{CudaContext, CudaFunction, CudaModule, CudaSlice, PushKernelArg};

use crate::kernels::Precision;

use super::cudnn::Cudnn;
use super::device::{count, device, require};
use super::error::{CudaError, Library, driver};
use super::identity::Identity;
use super::memory::{Buffer, Stream};
use super::program;

/// A CUDA device that computes in one precision: its stream, its kernels, and its scratch memory.
pub struct Engine {
    pub(super) precision: Precision,
    pub(super) kernels: Kernels,
    pub(super) stream: Stream,
    pub(super) identity: Identity,
    scratch: Mutex<Scratch>,
}

/// Memory for one operation at a time. It is locked while an operation is queued, not while the device runs it.
pub struct Scratch {
    pub cudnn: Cudnn,
    /// For maps that live for one operation only: an input after the norm, the phases of an upsampled output.
    pub buffers: [Buffer; 2],
    pub norm: NormScratch,
}

/// Scratch memory for the statistics of a group norm.
#[derive(Default)]
pub struct NormScratch {
    pub moments: Buffer,
    /// How many blocks are done; zero between launches.
    pub ended: Option<CudaSlice<u32>>,
}

/// The kernels in `source/`, by their names.
pub struct Kernels {
    pub narrow_all: CudaFunction,
    pub from_planes: CudaFunction,
    pub to_planes: CudaFunction,
    pub interleave: CudaFunction,
    pub add_bias: CudaFunction,
    pub relu: CudaFunction,
    pub norm_statistics: CudaFunction,
    pub norm_apply: CudaFunction,
    pub rms_norm: CudaFunction,
    pub values_across: CudaFunction,
    pub scores: CudaFunction,
    pub exponentials: CudaFunction,
    pub attend: CudaFunction,
}

impl Engine {
    /// Starts the device `cuda:index`. The first time on a machine, the kernels are compiled, which takes some seconds.
    pub fn new(index: usize, precision: Precision) -> Result<Self, CudaError> {
        let count = count()?;
        if index >= count {
            return Err(CudaError::NoSuchDevice { index, count });
        }
        require(Library::Nvrtc)?;
        require(Library::Cudnn)?;
        let context = CudaContext::new(index).map_err(driver("start a device"))?;
        let info = device(index)?; // in the context that exists already
        if info.capability < (8, 0) {
            return Err(CudaError::DeviceTooOld { name: info.name, capability: info.capability });
        }
        let stream = Stream::new(&context, index)?;
        let kernels = Kernels::load(&context, program::load(&context, &info, precision)?)?;
        let cudnn = Cudnn::new(&stream, precision)?;
        let identity = Identity::new(&context, &info)?;
        let scratch = Scratch { cudnn, buffers: Default::default(), norm: NormScratch::default() };
        Ok(Self { precision, kernels, stream, identity, scratch: Mutex::new(scratch) })
    }

    /// Memory for one operation at a time.
    pub(super) fn scratch(&self) -> MutexGuard<'_, Scratch> {
        // A poisoned lock is harmless: the content is unspecified before every operation.
        self.scratch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Checks that maps and coefficients are in this engine's memory.
    pub(super) fn require_all<'a>(
        &self,
        engines: impl IntoIterator<Item = &'a Arc<Self>>,
    ) -> Result<(), CudaError> {
        match engines.into_iter().find(|engine| !std::ptr::eq(&***engine, self)) {
            Some(other) => Err(CudaError::Shape(format!("a map on {other:?} in an operation on {self:?}"))),
            None => Ok(()),
        }
    }

    /// Copies values to the device and converts them to the engine's precision.
    pub(super) fn upload_narrow(&self, values: &[f32]) -> Result<CudaSlice<u8>, CudaError> {
        let wide = self.stream.upload(values)?;
        let narrow = self.stream.alloc::<u8>(values.len() * self.precision.bytes())?;
        let count = values.len() as u64;
        let mut launch = self.stream.queue.launch_builder(&self.kernels.narrow_all);
        launch.arg(&wide).arg(&narrow).arg(&count);
        // SAFETY: both hold `count` values.
        unsafe { launch.launch(self.stream.each(values.len())) }.map_err(driver("convert weights"))?;
        Ok(narrow)
    }

    /// Frees the memory that operations use. Maps and weights stay.
    pub(super) fn release(&self) {
        let mut scratch = self.scratch();
        scratch.cudnn.release();
        scratch.buffers = Default::default();
        scratch.norm = NormScratch::default();
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cuda:{} in {}", self.stream.index, self.precision)
    }
}

impl Kernels {
    fn load(context: &CudaContext, module: Arc<CudaModule>) -> Result<Self, CudaError> {
        context.bind_to_thread().map_err(driver("start a device"))?;
        let find = |name: &str| module.load_function(name).map_err(driver("find a kernel"));
        Ok(Self {
            narrow_all: find("narrow_all")?,
            from_planes: find("from_planes")?,
            to_planes: find("to_planes")?,
            interleave: find("interleave")?,
            add_bias: find("add_bias")?,
            relu: find("relu")?,
            norm_statistics: find("norm_statistics")?,
            norm_apply: find("norm_apply")?,
            rms_norm: find("rms_norm")?,
            values_across: find("values_across")?,
            scores: find("scores")?,
            exponentials: find("exponentials")?,
            attend: find("attend")?,
        })
    }
}

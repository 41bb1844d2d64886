//! A device at work in one precision.

use super::cudnn::Cudnn;
use super::device::{count, device, require};
use super::error::{CudaError, Library};
use super::group_norm::Statistics;
use super::{Element, program};
use cudarc::driver::sys::CUmemPool_attribute as Pool;
use cudarc::driver::sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY;
use cudarc::driver::{
    CudaContext, CudaFunction, CudaSlice, CudaStream, DevicePtr, DeviceRepr, DriverError, LaunchConfig,
    PushKernelArg, result, sys,
};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Threads per block of every kernel: they ask for it in their launch bounds.
pub const THREADS: u32 = 256;

/// A CUDA device that computes in one precision: its stream, its kernels, its memory.
pub struct Engine {
    device: usize,
    element: Element,
    multiprocessors: usize,
    pub(super) kernels: Kernels,
    pub(super) stream: Arc<CudaStream>,
    work: Mutex<Work>,
}

/// What one operation at a time uses.
pub struct Work {
    pub cudnn: Cudnn,
    /// For maps that live for one operation only: a normed input, the phases of an upsampled output.
    pub scratch: [Buffer; 2],
    pub statistics: Statistics,
}

/// The functions of `source/`, by their names.
pub struct Kernels {
    pub narrow_all: CudaFunction,
    pub from_planes: CudaFunction,
    pub to_planes: CudaFunction,
    pub interleave: CudaFunction,
    pub add_bias: CudaFunction,
    pub norm_statistics: CudaFunction,
    pub norm_apply: CudaFunction,
    pub values_across: CudaFunction,
    pub scores: CudaFunction,
    pub exponentials: CudaFunction,
    pub attend: CudaFunction,
}

impl Engine {
    /// Starts the device `cuda:device`. The first time that a machine does so, the kernels are compiled: some seconds.
    pub fn new(device_index: usize, element: Element) -> Result<Self, CudaError> {
        let count = count()?;
        if device_index >= count {
            return Err(CudaError::NoSuchDevice { index: device_index, count });
        }
        require(Library::Nvrtc)?;
        require(Library::Cudnn)?;
        let start = driver("start a device");
        let context = CudaContext::new(device_index).map_err(&start)?;
        let info = device(device_index)?; // in the context that is there, not in one of its own
        if info.capability < (8, 0) {
            return Err(CudaError::DeviceTooOld { name: info.name, capability: info.capability });
        }
        // SAFETY: everything is queued on the one stream made here, in the order in which it must be done.
        unsafe { context.disable_event_tracking() };
        let stream = context.new_stream().map_err(&start)?;
        use sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT as MULTIPROCESSORS;
        let multiprocessors = context.attribute(MULTIPROCESSORS).map_err(&start)?;
        let kernels = Kernels::load(&context, program::load(&context, &info, element)?)?;
        let cudnn = Cudnn::new(&stream, element)?;
        let work = Work { cudnn, scratch: Default::default(), statistics: Statistics::default() };
        let engine = Self {
            device: device_index,
            element,
            multiprocessors: multiprocessors.unsigned_abs().max(1) as usize,
            kernels,
            stream,
            work: Mutex::new(work),
        };
        // Freed memory stays with the process: it is asked for again by the next operation.
        engine.set_pool(Pool::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, u64::MAX);
        Ok(engine)
    }

    /// The device's number.
    pub fn device(&self) -> usize {
        self.device
    }

    /// The precision of maps and weights.
    pub fn element(&self) -> Element {
        self.element
    }

    /// Waits until everything that was asked for is done.
    pub fn synchronize(&self) -> Result<(), CudaError> {
        self.stream.synchronize().map_err(driver("finish"))
    }

    /// The most bytes of the device's memory that this process has used at a time since it started or since
    /// [`Engine::reset_peak`]; unknown on devices without memory pools. The libraries' own memory does not count.
    pub fn peak_bytes(&self) -> Option<u64> {
        self.pool(Pool::CU_MEMPOOL_ATTR_USED_MEM_HIGH)
    }

    /// Starts the count of [`Engine::peak_bytes`] anew.
    pub fn reset_peak(&self) {
        self.set_pool(Pool::CU_MEMPOOL_ATTR_USED_MEM_HIGH, 0);
    }

    /// What one operation at a time uses.
    pub(super) fn work(&self) -> MutexGuard<'_, Work> {
        // A panic elsewhere leaves memory of unspecified content, as it always is before an operation.
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Memory of unspecified content.
    pub(super) fn alloc<T: DeviceRepr>(&self, count: usize) -> Result<CudaSlice<T>, CudaError> {
        // SAFETY: `T` is a number; whoever asks writes before reading.
        let alloc = || unsafe { self.stream.alloc::<T>(count.max(1)) };
        let full = |e: &DriverError| e.0 == CUDA_ERROR_OUT_OF_MEMORY;
        match alloc() {
            Err(e) if full(&e) => {
                self.trim();
                alloc().map_err(|e| match full(&e) {
                    true => self.out_of_memory(count * size_of::<T>()),
                    false => driver("take memory")(e),
                })
            }
            other => other.map_err(driver("take memory")),
        }
    }

    /// A copy on the device.
    pub(super) fn upload<T: DeviceRepr>(&self, values: &[T]) -> Result<CudaSlice<T>, CudaError> {
        let mut copy = self.alloc(values.len())?;
        self.stream.memcpy_htod(values, &mut copy).map_err(driver("copy to the device"))?;
        Ok(copy)
    }

    /// A copy on the device, in the engine's precision.
    pub(super) fn upload_narrow(&self, values: &[f32]) -> Result<CudaSlice<u8>, CudaError> {
        let wide = self.upload(values)?;
        let narrow = self.alloc::<u8>(values.len() * self.element.bytes())?;
        let count = values.len() as u64;
        let mut launch = self.stream.launch_builder(&self.kernels.narrow_all);
        launch.arg(&wide).arg(&narrow).arg(&count);
        // SAFETY: both hold `count` values.
        unsafe { launch.launch(self.each(values.len())) }.map_err(driver("narrow weights"))?;
        Ok(narrow)
    }

    /// A copy here, once all that was asked for before is done.
    pub(super) fn download<T: DeviceRepr + Clone + Default>(
        &self,
        values: &impl DevicePtr<T>,
    ) -> Result<Vec<T>, CudaError> {
        let mut copy = vec![T::default(); values.len()];
        self.stream.memcpy_dtoh(values, &mut copy).map_err(driver("copy from the device"))?;
        self.synchronize()?;
        Ok(copy)
    }

    /// A launch in which each thread takes some of `count` items.
    pub(super) fn each(&self, count: usize) -> LaunchConfig {
        let blocks = count.div_ceil(THREADS as usize).clamp(1, self.most_blocks());
        launch((blocks as u32, 1), 0)
    }

    /// Blocks of the largest kernels that run at a time.
    pub(super) fn multiprocessors(&self) -> usize {
        self.multiprocessors
    }

    /// More blocks than this do not make the device any busier.
    pub(super) fn most_blocks(&self) -> usize {
        32 * self.multiprocessors
    }

    /// Bytes that could be had.
    pub(super) fn free(&self) -> usize {
        let here = self.stream.context().mem_get_info().map_or(0, |(free, _)| free);
        let (kept, used) =
            (Pool::CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT, Pool::CU_MEMPOOL_ATTR_USED_MEM_CURRENT);
        let pooled = self.pool(kept).unwrap_or(0).saturating_sub(self.pool(used).unwrap_or(0));
        here + pooled as usize
    }

    /// Gives back the memory of operations, of which the next ones take new. Maps and weights stay.
    pub fn release(&self) {
        let mut work = self.work();
        work.cudnn.release();
        work.scratch = Default::default();
        work.statistics = Statistics::default();
    }

    /// How many shapes of convolutions cuDNN computes with the bias fused, without it, and in its slowest way.
    pub fn convolutions(&self) -> [usize; 3] {
        self.work().cudnn.ways()
    }

    /// Gives back to the device what the pool keeps and nobody uses.
    fn trim(&self) {
        if let Some(pool) = self.default_pool() {
            self.synchronize().ok(); // memory is free when what used it is done
            // SAFETY: the pool is the device's. Where it cannot be trimmed, the memory is asked for in vain.
            unsafe { result::mem_pool::trim_to(pool, 0) }.ok();
        }
    }

    fn out_of_memory(&self, asked: usize) -> CudaError {
        let total = self.stream.context().total_mem().unwrap_or(0);
        CudaError::OutOfMemory { device: self.device, asked, free: self.free(), total }
    }

    fn pool(&self, attribute: Pool) -> Option<u64> {
        let mut value = 0u64;
        // SAFETY: the value of each attribute asked for is a 64-bit number.
        unsafe { result::mem_pool::get_attribute(self.default_pool()?, attribute, (&raw mut value).cast()) }
            .ok()?;
        Some(value)
    }

    fn set_pool(&self, attribute: Pool, mut value: u64) {
        if let Some(pool) = self.default_pool() {
            // SAFETY: as above. Where it cannot be set, memory is asked for more often.
            unsafe { result::mem_pool::set_attribute(pool, attribute, (&raw mut value).cast()) }.ok();
        }
    }

    fn default_pool(&self) -> Option<sys::CUmemoryPool> {
        let context = self.stream.context();
        // SAFETY: the device is the context's.
        let pool = || unsafe { result::device::get_default_mem_pool(context.cu_device()) }.ok();
        context.has_async_alloc().then(pool).flatten()
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cuda:{} in {}", self.device, self.element)
    }
}

impl Kernels {
    fn load(context: &CudaContext, module: Arc<cudarc::driver::CudaModule>) -> Result<Self, CudaError> {
        context.bind_to_thread().map_err(driver("start a device"))?;
        let find = |name: &str| module.load_function(name).map_err(driver("find a kernel"));
        Ok(Self {
            narrow_all: find("narrow_all")?,
            from_planes: find("from_planes")?,
            to_planes: find("to_planes")?,
            interleave: find("interleave")?,
            add_bias: find("add_bias")?,
            norm_statistics: find("norm_statistics")?,
            norm_apply: find("norm_apply")?,
            values_across: find("values_across")?,
            scores: find("scores")?,
            exponentials: find("exponentials")?,
            attend: find("attend")?,
        })
    }
}

/// Memory that is asked for anew, its content lost, where it is too small.
#[derive(Default)]
pub struct Buffer(Option<CudaSlice<u8>>);

impl Buffer {
    /// Bytes that it has.
    pub fn capacity(&self) -> usize {
        self.0.as_ref().map_or(0, |memory| memory.len())
    }

    /// All of it, if there is any.
    pub fn memory(&self) -> Option<&CudaSlice<u8>> {
        self.0.as_ref()
    }

    /// Makes room.
    pub fn ensure(&mut self, engine: &Engine, bytes: usize) -> Result<&CudaSlice<u8>, CudaError> {
        match self.0.take() {
            Some(memory) if memory.len() >= bytes => Ok(self.0.insert(memory)),
            small => {
                drop(small); // goes back before more is asked for
                Ok(self.0.insert(engine.alloc(bytes)?))
            }
        }
    }
}

/// So many blocks across and down, and so many bytes of shared memory for each.
pub fn launch((across, down): (u32, u32), shared: usize) -> LaunchConfig {
    LaunchConfig { grid_dim: (across, down, 1), block_dim: (THREADS, 1, 1), shared_mem_bytes: shared as u32 }
}

/// What the driver says when it was told to do something.
pub fn driver(action: &'static str) -> impl Fn(DriverError) -> CudaError {
    move |e| {
        let (name, text) = (e.error_name(), e.error_string());
        let reason = match (name, text) {
            (Ok(name), Ok(text)) => format!("{} ({})", text.to_string_lossy(), name.to_string_lossy()),
            _ => e.to_string(),
        };
        CudaError::Driver { action, reason }
    }
}

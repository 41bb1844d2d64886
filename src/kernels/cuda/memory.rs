//! A device's stream and memory. All work is queued on the one stream and done in that order.

use std::sync::Arc;

use cudarc::driver::sys::CUmemPool_attribute as Pool;
use cudarc::driver::sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY;
use cudarc::driver::{
    CudaContext, CudaSlice, CudaStream, DevicePtr, DeviceRepr, DriverError, LaunchConfig, result, sys,
};

use super::error::{CudaError, driver};

/// Threads per block of every kernel: the kernels state it in their launch bounds.
pub const THREADS: u32 = 256;

/// A stream of a device, and the device's memory. Cheap to clone.
#[derive(Clone)]
pub struct Stream {
    /// The device's number.
    pub index: usize,
    /// Blocks of the largest kernels that run at the same time.
    pub multiprocessors: usize,
    pub queue: Arc<CudaStream>,
}

impl Stream {
    /// A new stream of the device `index`.
    pub fn new(context: &Arc<CudaContext>, index: usize) -> Result<Self, CudaError> {
        use sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT as MULTIPROCESSORS;
        let start = driver("start a device");
        // SAFETY: everything is queued on the one stream created here, in the order in which it must be done.
        unsafe { context.disable_event_tracking() };
        let queue = context.new_stream().map_err(&start)?;
        let multiprocessors = context.attribute(MULTIPROCESSORS).map_err(&start)?;
        let stream = Self { index, queue, multiprocessors: multiprocessors.unsigned_abs().max(1) as usize };
        // Freed memory stays with the process, since the next operation allocates it again.
        stream.set_pool(Pool::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, u64::MAX);
        Ok(stream)
    }

    /// Waits until all queued work is done.
    pub fn synchronize(&self) -> Result<(), CudaError> {
        self.queue.synchronize().map_err(driver("finish"))
    }

    /// Memory of unspecified content.
    pub fn alloc<T: DeviceRepr>(&self, count: usize) -> Result<CudaSlice<T>, CudaError> {
        // SAFETY: `T` is a number, and every caller writes before it reads.
        let alloc = || unsafe { self.queue.alloc::<T>(count.max(1)) };
        let full = |e: &DriverError| e.0 == CUDA_ERROR_OUT_OF_MEMORY;
        match alloc() {
            Err(e) if full(&e) => {
                self.trim();
                alloc().map_err(|e| match full(&e) {
                    true => self.out_of_memory(count * size_of::<T>()),
                    false => driver("allocate memory")(e),
                })
            }
            other => other.map_err(driver("allocate memory")),
        }
    }

    /// Copies to the device.
    pub fn upload<T: DeviceRepr>(&self, values: &[T]) -> Result<CudaSlice<T>, CudaError> {
        let mut copy = self.alloc(values.len())?;
        self.queue.memcpy_htod(values, &mut copy).map_err(driver("copy to the device"))?;
        Ok(copy)
    }

    /// Copies from the device, once all work that was queued before is done.
    pub fn download<T: DeviceRepr + Clone + Default>(
        &self,
        values: &impl DevicePtr<T>,
    ) -> Result<Vec<T>, CudaError> {
        let mut copy = vec![T::default(); values.len()];
        self.queue.memcpy_dtoh(values, &mut copy).map_err(driver("copy from the device"))?;
        self.synchronize()?;
        Ok(copy)
    }

    /// A launch in which each thread takes some of `count` items.
    pub fn each(&self, count: usize) -> LaunchConfig {
        let blocks = count.div_ceil(THREADS as usize).clamp(1, self.most_blocks());
        launch((blocks as u32, 1), 0)
    }

    /// More blocks than this do not use the device any better.
    pub fn most_blocks(&self) -> usize {
        32 * self.multiprocessors
    }

    /// Bytes of memory that can be allocated.
    pub fn free(&self) -> usize {
        let here = self.queue.context().mem_get_info().map_or(0, |(free, _)| free);
        let (kept, used) =
            (Pool::CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT, Pool::CU_MEMPOOL_ATTR_USED_MEM_CURRENT);
        let pooled = self.pool(kept).unwrap_or(0).saturating_sub(self.pool(used).unwrap_or(0));
        here + pooled as usize
    }

    /// The most bytes of the device's memory that this process has used at a time since it started or since
    /// [`Stream::reset_peak`]; unknown on devices without memory pools. The libraries' own memory does not count.
    pub fn peak_bytes(&self) -> Option<u64> {
        self.pool(Pool::CU_MEMPOOL_ATTR_USED_MEM_HIGH)
    }

    /// Restarts the count of [`Stream::peak_bytes`].
    pub fn reset_peak(&self) {
        self.set_pool(Pool::CU_MEMPOOL_ATTR_USED_MEM_HIGH, 0);
    }

    /// Returns the pool's unused memory to the device.
    fn trim(&self) {
        if let Some(pool) = self.default_pool() {
            self.synchronize().ok(); // memory is free once the work that used it is done
            // SAFETY: the pool is the device's. If it cannot be trimmed, the next allocation fails.
            unsafe { result::mem_pool::trim_to(pool, 0) }.ok();
        }
    }

    fn out_of_memory(&self, asked: usize) -> CudaError {
        let total = self.queue.context().total_mem().unwrap_or(0);
        CudaError::OutOfMemory { device: self.index, asked, free: self.free(), total }
    }

    fn pool(&self, attribute: Pool) -> Option<u64> {
        let mut value = 0u64;
        // SAFETY: the value of each attribute used here is a 64-bit number.
        unsafe { result::mem_pool::get_attribute(self.default_pool()?, attribute, (&raw mut value).cast()) }
            .ok()?;
        Some(value)
    }

    fn set_pool(&self, attribute: Pool, mut value: u64) {
        if let Some(pool) = self.default_pool() {
            // SAFETY: as above. If it cannot be set, memory is allocated more often.
            unsafe { result::mem_pool::set_attribute(pool, attribute, (&raw mut value).cast()) }.ok();
        }
    }

    fn default_pool(&self) -> Option<sys::CUmemoryPool> {
        let context = self.queue.context();
        // SAFETY: the device is the context's.
        let pool = || unsafe { result::device::get_default_mem_pool(context.cu_device()) }.ok();
        context.has_async_alloc().then(pool).flatten()
    }
}

/// Memory that is replaced, and its content lost, when more is needed.
#[derive(Default)]
pub struct Buffer(Option<CudaSlice<u8>>);

impl Buffer {
    /// Its size in bytes.
    pub fn capacity(&self) -> usize {
        self.0.as_ref().map_or(0, |memory| memory.len())
    }

    /// All of it, if there is any.
    pub fn memory(&self) -> Option<&CudaSlice<u8>> {
        self.0.as_ref()
    }

    /// At least `bytes` of memory.
    pub fn ensure(&mut self, stream: &Stream, bytes: usize) -> Result<&CudaSlice<u8>, CudaError> {
        match self.0.take() {
            Some(memory) if memory.len() >= bytes => Ok(self.0.insert(memory)),
            small => {
                drop(small); // freed before more is allocated
                Ok(self.0.insert(stream.alloc(bytes)?))
            }
        }
    }
}

/// A launch of so many blocks across and down, with so many bytes of shared memory each.
pub fn launch((across, down): (u32, u32), shared: usize) -> LaunchConfig {
    LaunchConfig { grid_dim: (across, down, 1), block_dim: (THREADS, 1, 1), shared_mem_bytes: shared as u32 }
}

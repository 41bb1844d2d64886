//! cuDNN's handle and descriptors, each destroyed by its owner, and convolutions that are planned once per shape.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::c_int;

use cudarc::cudnn::{CudnnError, result, sys};
use cudarc::driver::DevicePtr;
use cudarc::driver::sys::CUdeviceptr;
use sys::cudnnConvolutionFwdAlgo_t::{
    self as Algorithm, CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM as GEMM,
    CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM as PRECOMPUTED,
};
use sys::cudnnTensorFormat_t::CUDNN_TENSOR_NHWC as NHWC;

use crate::kernels::{Precision, Shape};

use super::error::{CudaError, driver};
use super::memory::{Buffer, Stream};

/// A convolution in cuDNN's terms: of a map `[height][width][c_in]` to `c_out` channels.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Convolution {
    pub height: usize,
    pub width: usize,
    pub c_in: usize,
    pub c_out: usize,
    /// Height and width of the filters.
    pub side: usize,
    pub pad: usize,
    pub stride: usize,
}

impl Convolution {
    /// The output's shape.
    pub fn output(&self) -> Shape {
        let out = |side: usize| (side + 2 * self.pad - self.side) / self.stride + 1;
        Shape::new(self.c_out, out(self.height), out(self.width))
    }
}

/// What a convolution reads and writes in the device's memory.
pub struct Operands {
    pub input: CUdeviceptr,
    pub filters: CUdeviceptr,
    /// Elements.
    pub bias: CUdeviceptr,
    pub output: CUdeviceptr,
    /// Whether the result is added to the output.
    pub add: bool,
}

/// cuDNN's version number: 92100 is 9.21.0.
pub fn version() -> usize {
    result::get_version()
}

/// A handle, and the convolutions that have been planned with it.
pub struct Cudnn {
    handle: Handle,
    precision: Precision,
    stream: Stream,
    identity: ActivationDescriptor,
    plans: HashMap<Convolution, Plan>,
    /// cuDNN's workspace, for one convolution at a time.
    space: Buffer,
}

/// Descriptors, the strategy, and the bytes of workspace that cuDNN needs for it.
struct Plan {
    input: TensorDescriptor,
    filters: FilterDescriptor,
    convolution: ConvolutionDescriptor,
    bias: TensorDescriptor,
    output: TensorDescriptor,
    /// An index of [`STRATEGIES`].
    strategy: usize,
    space: Option<usize>,
}

/// Whether the bias is fused, and the algorithm, in the order in which they are tried. All of them sum the products
/// directly, without transforms that would need more range and precision.
const STRATEGIES: [(bool, Algorithm); 3] = [(true, PRECOMPUTED), (false, PRECOMPUTED), (false, GEMM)];

/// How many shapes use each of the [`STRATEGIES`].
pub type StrategyCounts = [usize; STRATEGIES.len()];

impl Cudnn {
    /// A handle that queues its work on `stream`.
    pub fn new(stream: &Stream, precision: Precision) -> Result<Self, CudaError> {
        let found = version();
        if found < 90000 {
            return Err(CudaError::CudnnTooOld { found });
        }
        let start = status("start");
        stream.queue.context().bind_to_thread().map_err(driver("start a device"))?;
        let handle = Handle(result::create_handle().map_err(&start)?);
        // SAFETY: the handle is valid, and the stream outlives it.
        unsafe { result::set_stream(handle.0, stream.queue.cu_stream().cast()) }.map_err(&start)?;
        let identity = ActivationDescriptor::identity().map_err(&start)?;
        let (plans, space) = Default::default();
        Ok(Self { handle, precision, stream: stream.clone(), identity, plans, space })
    }

    /// How many shapes use each strategy.
    pub fn strategy_counts(&self) -> StrategyCounts {
        let mut counts = StrategyCounts::default();
        self.plans.values().for_each(|plan| counts[plan.strategy] += 1);
        counts
    }

    /// Frees cuDNN's workspace.
    pub fn release(&mut self) {
        self.space = Buffer::default();
    }

    /// Queues a convolution. Returns whether the bias was added.
    ///
    /// # Safety
    /// The operands are as large as the convolution says, and nothing else touches them until the stream has finished it.
    pub unsafe fn run(&mut self, convolution: &Convolution, operands: &Operands) -> Result<bool, CudaError> {
        self.stream.queue.context().bind_to_thread().map_err(driver("start a convolution"))?;
        let plan = match self.plans.entry(*convolution) {
            Entry::Occupied(plan) => plan.into_mut(),
            Entry::Vacant(place) => {
                place.insert(Plan::new(convolution, self.precision).map_err(status("plan a convolution"))?)
            }
        };
        loop {
            let (fused, algorithm) = STRATEGIES[plan.strategy];
            let activation = fused.then_some(&self.identity);
            let queued = match plan.space.map_or_else(|| plan.ask_for_space(&self.handle, algorithm), Ok) {
                Ok(bytes) => {
                    plan.space = Some(bytes);
                    let space = self.space.ensure(&self.stream, bytes)?.device_ptr(&self.stream.queue).0;
                    // SAFETY: by contract; the space has the size that cuDNN asked for.
                    unsafe { plan.queue(&self.handle, activation, algorithm, operands, (space, bytes)) }
                }
                Err(e) => Err(e),
            };
            match queued {
                Ok(()) => return Ok(fused),
                Err(e) if refused(e) && plan.strategy + 1 < STRATEGIES.len() => {
                    (plan.strategy, plan.space) = (plan.strategy + 1, None)
                }
                Err(e) => return Err(status("convolve")(e)),
            }
        }
    }
}

impl Drop for Cudnn {
    /// cuDNN frees its memory on the device that is current.
    fn drop(&mut self) {
        self.stream.queue.context().bind_to_thread().ok();
    }
}

impl Plan {
    fn new(of: &Convolution, precision: Precision) -> Result<Self, CudnnError> {
        let Shape { height, width, .. } = of.output();
        Ok(Self {
            input: TensorDescriptor::new(precision, [1, of.c_in, of.height, of.width])?,
            filters: FilterDescriptor::new(precision, [of.c_out, of.c_in, of.side, of.side])?,
            convolution: ConvolutionDescriptor::new(precision, of.pad, of.stride)?,
            bias: TensorDescriptor::new(precision, [1, of.c_out, 1, 1])?,
            output: TensorDescriptor::new(precision, [1, of.c_out, height, width])?,
            strategy: 0,
            space: None,
        })
    }

    fn ask_for_space(&self, handle: &Handle, algorithm: Algorithm) -> Result<usize, CudnnError> {
        let (x, w, y) = (self.input.0, self.filters.0, self.output.0);
        // SAFETY: the descriptors are valid and initialised.
        unsafe {
            result::get_convolution_forward_workspace_size(handle.0, x, w, self.convolution.0, y, algorithm)
        }
    }

    /// Queues the convolution; with the bias if there is an activation to fuse it with.
    ///
    /// # Safety
    /// As for [`Cudnn::run`], and the space has `bytes` bytes.
    unsafe fn queue(
        &self,
        handle: &Handle,
        activation: Option<&ActivationDescriptor>,
        algorithm: Algorithm,
        operands: &Operands,
        (space, bytes): (CUdeviceptr, usize),
    ) -> Result<(), CudnnError> {
        let (one, kept) = (1f32, if operands.add { 1f32 } else { 0f32 });
        let (one, kept) = ((&raw const one).cast(), (&raw const kept).cast());
        let (x, w, b) = (operands.input as _, operands.filters as _, operands.bias as _);
        let (y, space) = (operands.output as _, space as _);
        let (x_is, w_is, b_is) = (self.input.0, self.filters.0, self.bias.0);
        let (y_is, how) = (self.output.0, self.convolution.0);
        // SAFETY: the descriptors are alive; the rest is the caller's contract. z may be y, and cuDNN does not read it if
        // its factor is zero.
        unsafe {
            match activation {
                Some(activation) => result::convolution_bias_activation_forward(
                    handle.0,
                    one,
                    x_is,
                    x,
                    w_is,
                    w,
                    how,
                    algorithm,
                    space,
                    bytes,
                    kept,
                    y_is,
                    y as _,
                    b_is,
                    b,
                    activation.0,
                    y_is,
                    y,
                ),
                None => result::convolution_forward(
                    handle.0, one, x_is, x, w_is, w, how, algorithm, space, bytes, kept, y_is, y,
                ),
            }
        }
    }
}

/// Whether cuDNN refuses a strategy: as not supported, as a bad parameter (the workspace that it wants for a plain convolution can be
/// too small for the fused one), or because it cannot plan it. Another strategy may work then, but not if the device itself failed. A lack
/// of memory says nothing about the strategy.
fn refused(e: CudnnError) -> bool {
    use sys::cudnnStatus_t::{
        CUDNN_STATUS_BAD_PARAM as BAD, CUDNN_STATUS_INTERNAL_ERROR as INTERNAL,
        CUDNN_STATUS_NOT_SUPPORTED as UNSUPPORTED,
    };
    !is_out_of_memory(e)
        && [BAD, UNSUPPORTED, INTERNAL].iter().any(|&kind| e.0 as u32 / 1000 == kind as u32 / 1000)
}

/// Whether cuDNN could not allocate memory, on the device or on the host.
fn is_out_of_memory(e: CudnnError) -> bool {
    use sys::cudnnStatus_t::{
        CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED as DEVICE,
        CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED as HOST,
    };
    matches!(e.0, DEVICE | HOST)
}

/// Converts what cuDNN reports about an action.
fn status(action: &'static str) -> impl Fn(CudnnError) -> CudaError {
    move |e| match is_out_of_memory(e) {
        true => CudaError::NoMemoryFor { library: "cuDNN", action },
        false => CudaError::Cudnn { action, reason: format!("{:?}", e.0) },
    }
}

struct Handle(sys::cudnnHandle_t);
struct TensorDescriptor(sys::cudnnTensorDescriptor_t);
struct FilterDescriptor(sys::cudnnFilterDescriptor_t);
struct ConvolutionDescriptor(sys::cudnnConvolutionDescriptor_t);
struct ActivationDescriptor(sys::cudnnActivationDescriptor_t);

// SAFETY: cuDNN allows any thread to use a handle and its descriptors, one thread at a time.
unsafe impl Send for Cudnn {}

fn data_type(precision: Precision) -> sys::cudnnDataType_t {
    match precision {
        Precision::F16 => sys::cudnnDataType_t::CUDNN_DATA_HALF,
        Precision::Bf16 => sys::cudnnDataType_t::CUDNN_DATA_BFLOAT16,
        Precision::F32 => sys::cudnnDataType_t::CUDNN_DATA_FLOAT,
    }
}

/// Sizes of maps below 2³¹ elements.
fn sizes(sizes: [usize; 4]) -> [c_int; 4] {
    sizes.map(|size| size as c_int)
}

impl TensorDescriptor {
    /// Sizes n, c, h, w; NHWC in memory.
    fn new(precision: Precision, size: [usize; 4]) -> Result<Self, CudnnError> {
        let tensor = Self(result::create_tensor_descriptor()?);
        // SAFETY: the descriptor is new.
        unsafe { result::set_tensor4d_descriptor(tensor.0, NHWC, data_type(precision), sizes(size)) }?;
        Ok(tensor)
    }
}

impl FilterDescriptor {
    /// Sizes k, c, r, s; KRSC in memory.
    fn new(precision: Precision, size: [usize; 4]) -> Result<Self, CudnnError> {
        let filters = Self(result::create_filter_descriptor()?);
        // SAFETY: the descriptor is new.
        unsafe { result::set_filter4d_descriptor(filters.0, data_type(precision), NHWC, sizes(size)) }?;
        Ok(filters)
    }
}

impl ConvolutionDescriptor {
    /// Sums in f32; tensor cores for half precision only, so that f32 is not rounded to TF32.
    fn new(precision: Precision, pad: usize, stride: usize) -> Result<Self, CudnnError> {
        use sys::cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION as CORRELATION;
        use sys::cudnnMathType_t::{CUDNN_FMA_MATH, CUDNN_TENSOR_OP_MATH};
        let descriptor = Self(result::create_convolution_descriptor()?);
        let (pad, stride) = (pad as c_int, stride as c_int);
        let sums = data_type(Precision::F32);
        let math = if precision == Precision::F32 { CUDNN_FMA_MATH } else { CUDNN_TENSOR_OP_MATH };
        // SAFETY: the descriptor is new.
        unsafe {
            let of = descriptor.0;
            result::set_convolution2d_descriptor(of, pad, pad, stride, stride, 1, 1, CORRELATION, sums)?;
            result::set_convolution_math_type(of, math)?;
        }
        Ok(descriptor)
    }
}

impl ActivationDescriptor {
    /// No activation.
    fn identity() -> Result<Self, CudnnError> {
        use sys::cudnnActivationMode_t::CUDNN_ACTIVATION_IDENTITY as IDENTITY;
        // The identity passes on every value with either option.
        use sys::cudnnNanPropagation_t::CUDNN_NOT_PROPAGATE_NAN as OPTION;
        let activation = Self(result::create_activation_descriptor()?);
        // SAFETY: the descriptor is new.
        unsafe { result::set_activation_descriptor(activation.0, IDENTITY, OPTION, 0.0) }?;
        Ok(activation)
    }
}

// A failure to destroy is ignored: the resource is lost, and the work can go on.
impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: cuDNN created it, and this is its last use.
        unsafe { result::destroy_handle(self.0) }.ok();
    }
}

impl Drop for TensorDescriptor {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe { result::destroy_tensor_descriptor(self.0) }.ok();
    }
}

impl Drop for FilterDescriptor {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe { result::destroy_filter_descriptor(self.0) }.ok();
    }
}

impl Drop for ConvolutionDescriptor {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe { result::destroy_convolution_descriptor(self.0) }.ok();
    }
}

impl Drop for ActivationDescriptor {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe { sys::cudnnDestroyActivationDescriptor(self.0).result() }.ok();
    }
}

#[cfg(test)]
mod tests {
    use sys::cudnnStatus_t::{
        CUDNN_STATUS_EXECUTION_FAILED, CUDNN_STATUS_INTERNAL_ERROR,
        CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED as DEVICE,
        CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED as HOST, CUDNN_STATUS_NOT_SUPPORTED_SHAPE,
    };

    use super::*;

    #[test]
    fn a_lack_of_memory_does_not_change_the_strategy() {
        for code in [DEVICE, HOST] {
            assert!(!refused(CudnnError(code)));
            assert!(matches!(status("convolve")(CudnnError(code)), CudaError::NoMemoryFor { .. }));
        }
        assert!(refused(CudnnError(CUDNN_STATUS_INTERNAL_ERROR)));
        assert!(refused(CudnnError(CUDNN_STATUS_NOT_SUPPORTED_SHAPE)));
        assert!(!refused(CudnnError(CUDNN_STATUS_EXECUTION_FAILED)));
    }
}

//! cuDNN's handle and descriptors, each destroyed by its owner, and convolutions planned once per shape.

use super::Element;
use super::engine::{Buffer, Engine, driver};
use super::error::CudaError;
use crate::kernels::feature_map::Shape;
use cudarc::cudnn::{CudnnError, result, sys};
use cudarc::driver::sys::CUdeviceptr;
use cudarc::driver::{CudaStream, DevicePtr};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::c_int;
use std::sync::Arc;
use sys::cudnnConvolutionFwdAlgo_t::{
    self as Algorithm, CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM as GEMM,
    CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM as PRECOMPUTED,
};
use sys::cudnnTensorFormat_t::CUDNN_TENSOR_NHWC as NHWC;

/// A convolution as cuDNN knows it: of a map `[height][width][c_in]` to `c_out` channels.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Convolution {
    pub height: usize,
    pub width: usize,
    pub c_in: usize,
    pub c_out: usize,
    /// Taps down and across.
    pub side: usize,
    pub pad: usize,
    pub stride: usize,
}

impl Convolution {
    /// The shape that comes out.
    pub fn output(&self) -> Shape {
        let out = |side: usize| (side + 2 * self.pad - self.side) / self.stride + 1;
        Shape::new(self.c_out, out(self.height), out(self.width))
    }
}

/// What a convolution reads and writes, on the device.
pub struct Operands {
    pub input: CUdeviceptr,
    pub filters: CUdeviceptr,
    /// Elements.
    pub bias: CUdeviceptr,
    pub output: CUdeviceptr,
    /// Whether the output is added to.
    pub add: bool,
}

/// A handle, and what has been planned with it.
pub struct Cudnn {
    handle: Handle,
    element: Element,
    stream: Arc<CudaStream>,
    identity: Activation,
    plans: HashMap<Convolution, Plan>,
    /// cuDNN's own, for one convolution at a time.
    space: Buffer,
}

/// Descriptors, the way to go, and the bytes that cuDNN wants for it.
struct Plan {
    input: Tensor,
    filters: Filters,
    convolution: Descriptor,
    bias: Tensor,
    output: Tensor,
    way: usize,
    space: Option<usize>,
}

/// Whether the bias is fused, and the algorithm, in the order in which they are tried. All of them add up products
/// as they are, without transforms that would need more range and precision.
const WAYS: [(bool, Algorithm); 3] = [(true, PRECOMPUTED), (false, PRECOMPUTED), (false, GEMM)];

/// How many shapes are convolved in which of [`WAYS`].
pub type Ways = [usize; WAYS.len()];

impl Cudnn {
    /// One that queues its work on `stream`.
    pub fn new(stream: &Arc<CudaStream>, element: Element) -> Result<Self, CudaError> {
        let found = result::get_version();
        if found < 90000 {
            return Err(CudaError::CudnnTooOld { found });
        }
        let start = status("start");
        stream.context().bind_to_thread().map_err(driver("start a device"))?;
        let handle = Handle(result::create_handle().map_err(&start)?);
        // SAFETY: the handle is new, and the stream outlives it.
        unsafe { result::set_stream(handle.0, stream.cu_stream().cast()) }.map_err(&start)?;
        let identity = Activation::identity().map_err(&start)?;
        let (plans, space) = Default::default();
        Ok(Self { handle, element, stream: stream.clone(), identity, plans, space })
    }

    /// How many shapes are convolved in which way.
    pub fn ways(&self) -> Ways {
        let mut ways = Ways::default();
        self.plans.values().for_each(|plan| ways[plan.way] += 1);
        ways
    }

    /// Gives back the memory that cuDNN works in.
    pub fn release(&mut self) {
        self.space = Buffer::default();
    }

    /// Queues a convolution; tells whether the bias was added.
    ///
    /// # Safety
    /// The operands are as large as the convolution says, and nothing else touches them until the stream has done it.
    pub unsafe fn run(
        &mut self,
        engine: &Engine,
        convolution: &Convolution,
        operands: &Operands,
    ) -> Result<bool, CudaError> {
        self.stream.context().bind_to_thread().map_err(driver("start a convolution"))?;
        let plan = match self.plans.entry(*convolution) {
            Entry::Occupied(plan) => plan.into_mut(),
            Entry::Vacant(place) => {
                place.insert(Plan::new(convolution, self.element).map_err(status("plan a convolution"))?)
            }
        };
        loop {
            let (fused, algorithm) = WAYS[plan.way];
            let activation = fused.then_some(&self.identity);
            let queued = match plan.space.map_or_else(|| plan.ask_for_space(&self.handle, algorithm), Ok) {
                Ok(bytes) => {
                    plan.space = Some(bytes);
                    let space = self.space.ensure(engine, bytes)?.device_ptr(&self.stream).0;
                    // SAFETY: by contract; the space is as large as cuDNN asked for.
                    unsafe { plan.queue(&self.handle, activation, algorithm, operands, (space, bytes)) }
                }
                Err(e) => Err(e),
            };
            match queued {
                Ok(()) => return Ok(fused),
                Err(e) if refused(e) && plan.way + 1 < WAYS.len() => {
                    (plan.way, plan.space) = (plan.way + 1, None)
                }
                Err(e) => return Err(status("convolve")(e)),
            }
        }
    }
}

impl Drop for Cudnn {
    /// cuDNN gives back what it has on the device that is current.
    fn drop(&mut self) {
        self.stream.context().bind_to_thread().ok();
    }
}

impl Plan {
    fn new(of: &Convolution, element: Element) -> Result<Self, CudnnError> {
        let Shape { height, width, .. } = of.output();
        Ok(Self {
            input: Tensor::new(element, [1, of.c_in, of.height, of.width])?,
            filters: Filters::new(element, [of.c_out, of.c_in, of.side, of.side])?,
            convolution: Descriptor::new(element, of.pad, of.stride)?,
            bias: Tensor::new(element, [1, of.c_out, 1, 1])?,
            output: Tensor::new(element, [1, of.c_out, height, width])?,
            way: 0,
            space: None,
        })
    }

    fn ask_for_space(&self, handle: &Handle, algorithm: Algorithm) -> Result<usize, CudnnError> {
        let (x, w, y) = (self.input.0, self.filters.0, self.output.0);
        // SAFETY: the descriptors are alive, and have been set.
        unsafe {
            result::get_convolution_forward_workspace_size(handle.0, x, w, self.convolution.0, y, algorithm)
        }
    }

    /// With the bias, where there is an activation to go with it.
    ///
    /// # Safety
    /// As [`Cudnn::run`], and the space is as large as it says.
    unsafe fn queue(
        &self,
        handle: &Handle,
        activation: Option<&Activation>,
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
        // SAFETY: the descriptors are alive; the rest is the caller's contract. z is y: it may be, and where its
        // factor is zero cuDNN does not read it.
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

/// Whether cuDNN refuses what it is asked for: as not supported, as a bad parameter (the space that it wants for a plain convolution
/// can be too small for the fused one), or because it cannot plan it. Then another way may do; not where the device itself failed.
fn refused(e: CudnnError) -> bool {
    use sys::cudnnStatus_t::{
        CUDNN_STATUS_BAD_PARAM as BAD, CUDNN_STATUS_INTERNAL_ERROR as INTERNAL,
        CUDNN_STATUS_NOT_SUPPORTED as UNSUPPORTED,
    };
    [BAD, UNSUPPORTED, INTERNAL].iter().any(|&kind| e.0 as u32 / 1000 == kind as u32 / 1000)
}

/// What cuDNN says when it was told to do something.
fn status(action: &'static str) -> impl Fn(CudnnError) -> CudaError {
    move |e| CudaError::Cudnn { action, reason: format!("{:?}", e.0) }
}

struct Handle(sys::cudnnHandle_t);
struct Tensor(sys::cudnnTensorDescriptor_t);
struct Filters(sys::cudnnFilterDescriptor_t);
struct Descriptor(sys::cudnnConvolutionDescriptor_t);
struct Activation(sys::cudnnActivationDescriptor_t);

// SAFETY: cuDNN lets any thread use a handle and its descriptors, one thread at a time.
unsafe impl Send for Cudnn {}

fn data_type(element: Element) -> sys::cudnnDataType_t {
    match element {
        Element::F16 => sys::cudnnDataType_t::CUDNN_DATA_HALF,
        Element::Bf16 => sys::cudnnDataType_t::CUDNN_DATA_BFLOAT16,
        Element::F32 => sys::cudnnDataType_t::CUDNN_DATA_FLOAT,
    }
}

/// Sizes of maps below 2³¹ elements.
fn sizes(sizes: [usize; 4]) -> [c_int; 4] {
    sizes.map(|size| size as c_int)
}

impl Tensor {
    /// Of sizes n, c, h, w, and NHWC in memory.
    fn new(element: Element, size: [usize; 4]) -> Result<Self, CudnnError> {
        let tensor = Self(result::create_tensor_descriptor()?);
        // SAFETY: the descriptor is new.
        unsafe { result::set_tensor4d_descriptor(tensor.0, NHWC, data_type(element), sizes(size)) }?;
        Ok(tensor)
    }
}

impl Filters {
    /// Of sizes k, c, r, s, and KRSC in memory.
    fn new(element: Element, size: [usize; 4]) -> Result<Self, CudnnError> {
        let filters = Self(result::create_filter_descriptor()?);
        // SAFETY: the descriptor is new.
        unsafe { result::set_filter4d_descriptor(filters.0, data_type(element), NHWC, sizes(size)) }?;
        Ok(filters)
    }
}

impl Descriptor {
    /// Sums in f32; tensor cores for half precision, and for f32 no precision that is less.
    fn new(element: Element, pad: usize, stride: usize) -> Result<Self, CudnnError> {
        use sys::cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION as CORRELATION;
        use sys::cudnnMathType_t::{CUDNN_FMA_MATH, CUDNN_TENSOR_OP_MATH};
        let descriptor = Self(result::create_convolution_descriptor()?);
        let (pad, stride) = (pad as c_int, stride as c_int);
        let sums = data_type(Element::F32);
        let math = if element == Element::F32 { CUDNN_FMA_MATH } else { CUDNN_TENSOR_OP_MATH };
        // SAFETY: the descriptor is new.
        unsafe {
            let of = descriptor.0;
            result::set_convolution2d_descriptor(of, pad, pad, stride, stride, 1, 1, CORRELATION, sums)?;
            result::set_convolution_math_type(of, math)?;
        }
        Ok(descriptor)
    }
}

impl Activation {
    /// None.
    fn identity() -> Result<Self, CudnnError> {
        use sys::cudnnActivationMode_t::CUDNN_ACTIVATION_IDENTITY as IDENTITY;
        // The identity hands on every value, with either option.
        use sys::cudnnNanPropagation_t::CUDNN_NOT_PROPAGATE_NAN as OPTION;
        let activation = Self(result::create_activation_descriptor()?);
        // SAFETY: the descriptor is new.
        unsafe { result::set_activation_descriptor(activation.0, IDENTITY, OPTION, 0.0) }?;
        Ok(activation)
    }
}

// What cannot be destroyed is lost, and no reason to stop.
impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: it was made by cuDNN, and nobody uses it any more.
        unsafe { result::destroy_handle(self.0) }.ok();
    }
}

impl Drop for Tensor {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe { result::destroy_tensor_descriptor(self.0) }.ok();
    }
}

impl Drop for Filters {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe { result::destroy_filter_descriptor(self.0) }.ok();
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe { result::destroy_convolution_descriptor(self.0) }.ok();
    }
}

impl Drop for Activation {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe { sys::cudnnDestroyActivationDescriptor(self.0).result() }.ok();
    }
}

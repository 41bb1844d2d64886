// cuDNN's forward convolutions of maps [height][width][channels] with filters [k][height][width][channels]. Arguments that
// the real library is not known to accept are rejected.

#include "convolution.h"
#include "device.h"
#include "numbers.h"

using namespace emulated;

namespace {

enum Kind { TENSOR = 0x7e501, FILTER, CONVOLUTION, ACTIVATION };

struct Descriptor {
    Kind kind;
    bool set;
    int type, format, n, c, h, w; // of a tensor; for a filter, n is k
    int pad_h, pad_w, stride_h, stride_w, math;
    int mode, nan;
};

struct Handle {
    void *stream;
};

CudnnStatus create(void **descriptor, Kind kind) {
    if (!descriptor) return CUDNN_STATUS_BAD_PARAM_NULL_POINTER;
    auto *one = new Descriptor{};
    one->kind = kind;
    *descriptor = one;
    return CUDNN_STATUS_SUCCESS;
}

Descriptor *as(void *descriptor, Kind kind) {
    auto *one = (Descriptor *)descriptor;
    return one && one->kind == kind ? one : nullptr;
}

CudnnStatus destroy(void *descriptor, Kind kind) {
    Descriptor *one = as(descriptor, kind);
    if (!one) return CUDNN_STATUS_BAD_PARAM;
    one->kind = {};
    delete one;
    return CUDNN_STATUS_SUCCESS;
}

size_t size_of(int type) {
    return type == CUDNN_DATA_FLOAT ? 4 : 2;
}

// The precision's number in VAE_EMULATED_WRONG, which is that of the kernels' ELEMENT.
int bits_of(int type) {
    return type == CUDNN_DATA_FLOAT ? 32 : type == CUDNN_DATA_HALF ? 16 : 17;
}

CudnnStatus set_shape(Descriptor *one, int type, int format, int n, int c, int h, int w) {
    if (!one || n <= 0 || c <= 0 || h <= 0 || w <= 0) return CUDNN_STATUS_BAD_PARAM;
    if (type != CUDNN_DATA_FLOAT && type != CUDNN_DATA_HALF && type != CUDNN_DATA_BFLOAT16) return CUDNN_STATUS_NOT_SUPPORTED;
    if (format != CUDNN_TENSOR_NCHW && format != CUDNN_TENSOR_NHWC) return CUDNN_STATUS_NOT_SUPPORTED;
    if ((size_t)n * c * h * w >= 1ull << 31) return CUDNN_STATUS_NOT_SUPPORTED; // elements
    one->set = true;
    one->type = type, one->format = format, one->n = n, one->c = c, one->h = h, one->w = w;
    return CUDNN_STATUS_SUCCESS;
}

// The checked descriptors of a convolution, and its shape.
struct Problem {
    const Descriptor *x, *w, *convolution, *y;
    Convolution shape;
};

CudnnStatus understand(Problem &problem, void *x, void *w, void *convolution, void *y) {
    problem = {as(x, TENSOR), as(w, FILTER), as(convolution, CONVOLUTION), as(y, TENSOR), {}};
    auto ready = [](const Descriptor *one) { return one && one->set; };
    if (!ready(problem.x) || !ready(problem.w) || !ready(problem.convolution)) return CUDNN_STATUS_BAD_PARAM;
    const Descriptor &from = *problem.x, &filter = *problem.w, &how = *problem.convolution;
    if (from.c != filter.c || from.type != filter.type) return CUDNN_STATUS_BAD_PARAM;
    int height = from.h + 2 * how.pad_h - filter.h, width = from.w + 2 * how.pad_w - filter.w;
    if (height < 0 || width < 0) return CUDNN_STATUS_BAD_PARAM;
    problem.shape = {from.h, from.w, from.c, height / how.stride_h + 1, width / how.stride_w + 1, filter.n,
                     filter.h, filter.w, how.pad_h, how.pad_w, how.stride_h, how.stride_w};
    if (!y) return CUDNN_STATUS_SUCCESS;
    if (!ready(problem.y)) return CUDNN_STATUS_BAD_PARAM;
    const Descriptor &to = *problem.y;
    if (to.n != from.n || to.c != filter.n || to.type != from.type) return CUDNN_STATUS_BAD_PARAM;
    if (to.h != problem.shape.out_height || to.w != problem.shape.out_width) return CUDNN_STATUS_BAD_PARAM;
    bool last = from.format == CUDNN_TENSOR_NHWC && filter.format == CUDNN_TENSOR_NHWC && to.format == CUDNN_TENSOR_NHWC;
    return last && from.n == 1 ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_NOT_SUPPORTED;
}

// Only one algorithm needs a workspace: an odd number of bytes that grows with the picture.
size_t workspace_of(const Problem &problem, int algorithm) {
    return algorithm == CUDNN_IMPLICIT_PRECOMP_GEMM ? 1001 + 2 * (size_t)problem.x->h * problem.x->w : 0;
}

bool has_algorithm(int algorithm) {
    return algorithm == CUDNN_IMPLICIT_GEMM || algorithm == CUDNN_IMPLICIT_PRECOMP_GEMM;
}

float widen(const void *from, size_t i, int type) {
    if (type == CUDNN_DATA_FLOAT) return ((const float *)from)[i];
    uint16_t bits = ((const uint16_t *)from)[i];
    return type == CUDNN_DATA_HALF ? widen_half(bits) : widen_bfloat(bits);
}

void narrow(void *to, size_t i, int type, float value) {
    if (type == CUDNN_DATA_FLOAT) {
        ((float *)to)[i] = value;
    } else {
        ((uint16_t *)to)[i] = type == CUDNN_DATA_HALF ? narrow_half(value) : narrow_bfloat(value);
    }
}

// Rounds to the ten fraction bits that tensor cores use for f32.
float as_tf32(float x) {
    uint32_t bits = __builtin_bit_cast(uint32_t, x);
    return x - x != 0 ? x : __builtin_bit_cast(float, (bits + 0xfff + (bits >> 13 & 1)) & ~0x1fffu);
}

// Returns the host address of a tensor's or filter's data.
void *data(const Descriptor &descriptor, DevicePointer pointer, const char *what) {
    size_t bytes = (size_t)descriptor.n * descriptor.c * descriptor.h * descriptor.w * size_of(descriptor.type);
    return on_host(pointer, bytes, what);
}

std::vector<float> read(const Descriptor &descriptor, DevicePointer pointer, const char *what, int math) {
    const void *from = data(descriptor, pointer, what);
    std::vector<float> values((size_t)descriptor.n * descriptor.c * descriptor.h * descriptor.w);
    bool rounded = descriptor.type == CUDNN_DATA_FLOAT && math != CUDNN_FMA_MATH;
    for (size_t i = 0; i < values.size(); i++) {
        float value = widen(from, i, descriptor.type);
        values[i] = rounded ? as_tf32(value) : value;
    }
    return values;
}

bool overlap(const Descriptor &a, DevicePointer x, const Descriptor &b, DevicePointer y) {
    const char *from = (char *)data(a, x, "the convolution's x"), *to = (char *)data(b, y, "the convolution's y");
    size_t from_bytes = (size_t)a.c * a.h * a.w * size_of(a.type), to_bytes = (size_t)b.c * b.h * b.w * size_of(b.type);
    return from < to + to_bytes && to < from + from_bytes;
}

// Ends the process where the real library returns, or may return, NOT_SUPPORTED: a fallback in the program would hide that the
// fused convolution never runs.
[[noreturn]] void refuse(const char *reason) {
    stop("cudnnConvolutionBiasActivationForward: not supported: %s", reason);
}

// The common part of both convolutions: checks, and alpha·(x * w).
CudnnStatus compute(
    std::vector<float> &sums, const Problem &problem, void *handle, int algorithm, DevicePointer x, DevicePointer w, DevicePointer y,
    DevicePointer workspace, size_t workspace_bytes, const void *alpha) {
    log("convolve");
    if (current_device() >= 0 && state()) return CUDNN_STATUS_EXECUTION_FAILED;
    if (!handle || current_device() < 0 || !is_stream(((Handle *)handle)->stream)) return CUDNN_STATUS_BAD_PARAM;
    if (!x || !w || !y || !alpha) return CUDNN_STATUS_BAD_PARAM_NULL_POINTER;
    if (x % 16 || w % 16 || y % 16) return CUDNN_STATUS_BAD_PARAM_MISALIGNED_POINTER;
    if (!has_algorithm(algorithm)) return CUDNN_STATUS_NOT_SUPPORTED;
    size_t needed = workspace_of(problem, algorithm);
    if (workspace_bytes < needed) return CUDNN_STATUS_BAD_PARAM_SIZE_INSUFFICIENT;
    if (needed > 0) memset(on_host(workspace, workspace_bytes, "the convolution's workspace"), 0xFF, needed);
    if (overlap(*problem.x, x, *problem.y, y)) stop("a convolution's x and y overlap");
    size_t limit = (size_t)setting("VAE_EMULATED_FAULT", 0);
    if (limit > 0 && (size_t)problem.x->h * problem.x->w >= limit) break_device(); // the next call reports it
    int math = problem.convolution->math;
    auto input = read(*problem.x, x, "the convolution's x", math), weight = read(*problem.w, w, "the convolution's w", math);
    sums = convolve(problem.shape, input, weight);
    float factor = *(const float *)alpha;
    if (setting("VAE_EMULATED_WRONG", 0) == bits_of(problem.x->type)) factor *= 1.5f;
    for (float &sum : sums) sum *= factor;
    return CUDNN_STATUS_SUCCESS;
}

} // namespace

size_t cudnnGetVersion() {
    return 92100;
}

size_t cudnnGetCudartVersion() {
    return 13000;
}

const char *cudnnGetErrorString(CudnnStatus status) {
    switch (status) {
    case CUDNN_STATUS_SUCCESS: return "CUDNN_STATUS_SUCCESS";
    case CUDNN_STATUS_NOT_INITIALIZED: return "CUDNN_STATUS_NOT_INITIALIZED";
    case CUDNN_STATUS_BAD_PARAM: return "CUDNN_STATUS_BAD_PARAM";
    case CUDNN_STATUS_BAD_PARAM_NULL_POINTER: return "CUDNN_STATUS_BAD_PARAM_NULL_POINTER";
    case CUDNN_STATUS_BAD_PARAM_MISALIGNED_POINTER: return "CUDNN_STATUS_BAD_PARAM_MISALIGNED_POINTER";
    case CUDNN_STATUS_BAD_PARAM_SIZE_INSUFFICIENT: return "CUDNN_STATUS_BAD_PARAM_SIZE_INSUFFICIENT";
    case CUDNN_STATUS_NOT_SUPPORTED: return "CUDNN_STATUS_NOT_SUPPORTED";
    case CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED: return "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED";
    case CUDNN_STATUS_EXECUTION_FAILED: return "CUDNN_STATUS_EXECUTION_FAILED";
    }
    return "CUDNN_UNKNOWN_STATUS";
}

CudnnStatus cudnnCreate(void **handle) {
    if (!handle) return CUDNN_STATUS_BAD_PARAM_NULL_POINTER;
    if (current_device() < 0) return CUDNN_STATUS_NOT_INITIALIZED;
    *handle = new Handle{};
    return CUDNN_STATUS_SUCCESS;
}

CudnnStatus cudnnDestroy(void *handle) {
    delete (Handle *)handle;
    return CUDNN_STATUS_SUCCESS;
}

CudnnStatus cudnnSetStream(void *handle, void *stream) {
    if (!handle || !is_stream(stream)) return CUDNN_STATUS_BAD_PARAM;
    ((Handle *)handle)->stream = stream;
    return CUDNN_STATUS_SUCCESS;
}

CudnnStatus cudnnCreateTensorDescriptor(void **descriptor) {
    return create(descriptor, TENSOR);
}

CudnnStatus cudnnSetTensor4dDescriptor(void *descriptor, int format, int type, int n, int c, int h, int w) {
    return set_shape(as(descriptor, TENSOR), type, format, n, c, h, w);
}

CudnnStatus cudnnDestroyTensorDescriptor(void *descriptor) {
    return destroy(descriptor, TENSOR);
}

CudnnStatus cudnnCreateFilterDescriptor(void **descriptor) {
    return create(descriptor, FILTER);
}

CudnnStatus cudnnSetFilter4dDescriptor(void *descriptor, int type, int format, int k, int c, int h, int w) {
    return set_shape(as(descriptor, FILTER), type, format, k, c, h, w);
}

CudnnStatus cudnnDestroyFilterDescriptor(void *descriptor) {
    return destroy(descriptor, FILTER);
}

CudnnStatus cudnnCreateConvolutionDescriptor(void **descriptor) {
    return create(descriptor, CONVOLUTION);
}

CudnnStatus cudnnSetConvolution2dDescriptor(
    void *descriptor, int pad_h, int pad_w, int stride_h, int stride_w, int dilation_h, int dilation_w, int mode, int type) {
    Descriptor *one = as(descriptor, CONVOLUTION);
    if (!one || pad_h < 0 || pad_w < 0 || stride_h <= 0 || stride_w <= 0) return CUDNN_STATUS_BAD_PARAM;
    if (dilation_h != 1 || dilation_w != 1 || mode != CUDNN_CROSS_CORRELATION) return CUDNN_STATUS_NOT_SUPPORTED;
    if (type != CUDNN_DATA_FLOAT) return CUDNN_STATUS_NOT_SUPPORTED; // the type of the accumulators
    one->set = true;
    one->pad_h = pad_h, one->pad_w = pad_w, one->stride_h = stride_h, one->stride_w = stride_w;
    return CUDNN_STATUS_SUCCESS;
}

CudnnStatus cudnnSetConvolutionMathType(void *descriptor, int math) {
    Descriptor *one = as(descriptor, CONVOLUTION);
    if (!one || math < 0 || math > CUDNN_FMA_MATH) return CUDNN_STATUS_BAD_PARAM;
    one->math = math;
    return CUDNN_STATUS_SUCCESS;
}

CudnnStatus cudnnDestroyConvolutionDescriptor(void *descriptor) {
    return destroy(descriptor, CONVOLUTION);
}

CudnnStatus cudnnCreateActivationDescriptor(void **descriptor) {
    return create(descriptor, ACTIVATION);
}

CudnnStatus cudnnSetActivationDescriptor(void *descriptor, int mode, int nan, double) {
    Descriptor *one = as(descriptor, ACTIVATION);
    if (!one) return CUDNN_STATUS_BAD_PARAM;
    one->set = true;
    one->mode = mode, one->nan = nan;
    return CUDNN_STATUS_SUCCESS;
}

CudnnStatus cudnnDestroyActivationDescriptor(void *descriptor) {
    return destroy(descriptor, ACTIVATION);
}

CudnnStatus cudnnGetConvolution2dForwardOutputDim(
    void *convolution, void *x, void *w, int *n, int *c, int *height, int *width) {
    Problem problem;
    if (CudnnStatus found = understand(problem, x, w, convolution, nullptr)) return found;
    *n = problem.x->n, *c = problem.w->n, *height = problem.shape.out_height, *width = problem.shape.out_width;
    return CUDNN_STATUS_SUCCESS;
}

CudnnStatus cudnnGetConvolutionForwardWorkspaceSize(
    void *handle, void *x, void *w, void *convolution, void *y, int algorithm, size_t *bytes) {
    if (!handle || !bytes || !y) return CUDNN_STATUS_BAD_PARAM;
    Problem problem;
    if (CudnnStatus found = understand(problem, x, w, convolution, y)) return found;
    if (!has_algorithm(algorithm)) return CUDNN_STATUS_NOT_SUPPORTED;
    *bytes = workspace_of(problem, algorithm);
    return CUDNN_STATUS_SUCCESS;
}

// y = alpha·(x * w) + beta·y
CudnnStatus cudnnConvolutionForward(
    void *handle, const void *alpha, void *x_descriptor, DevicePointer x, void *w_descriptor, DevicePointer w, void *convolution,
    int algorithm, DevicePointer workspace, size_t workspace_bytes, const void *beta, void *y_descriptor, DevicePointer y) {
    if (!y_descriptor || !beta) return CUDNN_STATUS_BAD_PARAM_NULL_POINTER;
    Problem problem;
    if (CudnnStatus found = understand(problem, x_descriptor, w_descriptor, convolution, y_descriptor)) return found;
    std::vector<float> sums;
    CudnnStatus found = compute(sums, problem, handle, algorithm, x, w, y, workspace, workspace_bytes, alpha);
    if (found) return found;
    float part = *(const float *)beta;
    int type = problem.y->type;
    void *to = data(*problem.y, y, "the convolution's y");
    for (size_t i = 0; i < sums.size(); i++) {
        narrow(to, i, type, part == 0 ? sums[i] : sums[i] + part * widen(to, i, type)); // an unused operand may be NaN
    }
    return CUDNN_STATUS_SUCCESS;
}

// y = activation(alpha1·(x * w) + alpha2·z + bias)
CudnnStatus cudnnConvolutionBiasActivationForward(
    void *handle, const void *alpha1, void *x_descriptor, DevicePointer x, void *w_descriptor, DevicePointer w, void *convolution,
    int algorithm, DevicePointer workspace, size_t workspace_bytes, const void *alpha2, void *z_descriptor, DevicePointer z,
    void *bias_descriptor, DevicePointer bias, void *activation, void *y_descriptor, DevicePointer y) {
    if (!y_descriptor || !alpha2 || !z || !bias) return CUDNN_STATUS_BAD_PARAM_NULL_POINTER;
    Problem problem;
    if (CudnnStatus found = understand(problem, x_descriptor, w_descriptor, convolution, y_descriptor)) return found;
    const Descriptor *added = as(z_descriptor, TENSOR), *shift = as(bias_descriptor, TENSOR), *last = as(activation, ACTIVATION);
    if (!added || !added->set || !shift || !shift->set || !last || !last->set) return CUDNN_STATUS_BAD_PARAM;
    const Descriptor &to = *problem.y;
    bool same = added->type == to.type && added->format == to.format && added->c == to.c && added->h == to.h && added->w == to.w;
    bool fits = shift->type == to.type && shift->n == 1 && shift->c == to.c && shift->h == 1 && shift->w == 1;
    bool relu = last->mode == CUDNN_ACTIVATION_RELU;
    if (!same) refuse("z and y differ");
    if (!fits) refuse("the bias is not [1][channels][1][1] of y's type");
    if (!relu && last->mode != CUDNN_ACTIVATION_IDENTITY) refuse("the activation is neither RELU nor IDENTITY");
    if (last->nan != CUDNN_NOT_PROPAGATE_NAN) refuse("the activation's option is not CUDNN_NOT_PROPAGATE_NAN, which is always safe");
    if (!relu && algorithm != CUDNN_IMPLICIT_PRECOMP_GEMM) refuse("IDENTITY needs the algorithm IMPLICIT_PRECOMP_GEMM");
    if (auto plain = setting("VAE_EMULATED_PLAIN", 0)) {
        return plain == 3 ? CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED
            : plain == 2  ? CUDNN_STATUS_BAD_PARAM
                          : CUDNN_STATUS_NOT_SUPPORTED;
    }

    std::vector<float> sums;
    CudnnStatus found = compute(sums, problem, handle, algorithm, x, w, y, workspace, workspace_bytes, alpha1);
    if (found) return found;
    float part = *(const float *)alpha2;
    void *out = data(to, y, "the convolution's y"), *other = data(*added, z, "the convolution's z");
    const void *shifts = data(*shift, bias, "the convolution's bias");
    for (size_t i = 0; i < sums.size(); i++) {
        float sum = sums[i] + widen(shifts, i % to.c, to.type);
        if (part != 0) sum += part * widen(other, i, to.type); // an unused operand may be NaN
        narrow(out, i, to.type, relu && sum < 0 ? 0 : sum);
    }
    return CUDNN_STATUS_SUCCESS;
}

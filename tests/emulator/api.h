// The exported functions: the parts of the CUDA driver's, NVRTC's and cuDNN's interfaces that the program uses.
// Values and argument orders match NVIDIA's; handles are plain pointers.

#pragma once

#include <cstddef>
#include <cstdint>

#define API extern "C" __attribute__((visibility("default")))

typedef uint64_t DevicePointer;

// ---- libcuda

enum CudaResult {
    CUDA_SUCCESS = 0,
    CUDA_ERROR_INVALID_VALUE = 1,
    CUDA_ERROR_OUT_OF_MEMORY = 2,
    CUDA_ERROR_NOT_INITIALIZED = 3,
    CUDA_ERROR_NO_DEVICE = 100,
    CUDA_ERROR_INVALID_DEVICE = 101,
    CUDA_ERROR_INVALID_IMAGE = 200,
    CUDA_ERROR_INVALID_CONTEXT = 201,
    CUDA_ERROR_NO_BINARY_FOR_GPU = 209,
    CUDA_ERROR_INVALID_HANDLE = 400,
    CUDA_ERROR_NOT_FOUND = 500,
    CUDA_ERROR_NOT_READY = 600,
    CUDA_ERROR_ILLEGAL_ADDRESS = 700,
};

API CudaResult cuInit(unsigned flags);
API CudaResult cuDriverGetVersion(int *version);
API CudaResult cuGetErrorName(CudaResult error, const char **name);
API CudaResult cuGetErrorString(CudaResult error, const char **text);

API CudaResult cuDeviceGetCount(int *count);
API CudaResult cuDeviceGet(int *device, int ordinal);
API CudaResult cuDeviceGetName(char *name, int length, int device);
API CudaResult cuDeviceGetUuid_v2(char *uuid, int device);
API CudaResult cuDeviceTotalMem_v2(size_t *bytes, int device);
API CudaResult cuDeviceGetAttribute(int *value, int attribute, int device);
API CudaResult cuDevicePrimaryCtxRetain(void **context, int device);
API CudaResult cuDevicePrimaryCtxRelease_v2(int device);
API CudaResult cuDeviceGetDefaultMemPool(void **pool, int device);
API CudaResult cuDeviceGetMemPool(void **pool, int device);

API CudaResult cuCtxGetCurrent(void **context);
API CudaResult cuCtxSetCurrent(void *context);
API CudaResult cuCtxSetFlags(unsigned flags);
API CudaResult cuCtxSynchronize();

API CudaResult cuStreamCreate(void **stream, unsigned flags);
API CudaResult cuStreamDestroy_v2(void *stream);
API CudaResult cuStreamSynchronize(void *stream);
API CudaResult cuStreamQuery(void *stream);
API CudaResult cuStreamWaitEvent(void *stream, void *event, unsigned flags);

API CudaResult cuEventCreate(void **event, unsigned flags);
API CudaResult cuEventDestroy_v2(void *event);
API CudaResult cuEventRecord(void *event, void *stream);
API CudaResult cuEventQuery(void *event);
API CudaResult cuEventSynchronize(void *event);
API CudaResult cuEventElapsedTime(float *milliseconds, void *start, void *end);
API CudaResult cuEventElapsedTime_v2(float *milliseconds, void *start, void *end);

API CudaResult cuMemGetInfo_v2(size_t *free, size_t *total);
API CudaResult cuMemAlloc_v2(DevicePointer *pointer, size_t bytes);
API CudaResult cuMemFree_v2(DevicePointer pointer);
API CudaResult cuMemAllocAsync(DevicePointer *pointer, size_t bytes, void *stream);
API CudaResult cuMemFreeAsync(DevicePointer pointer, void *stream);
API CudaResult cuMemHostAlloc(void **pointer, size_t bytes, unsigned flags);
API CudaResult cuMemFreeHost(void *pointer);
API CudaResult cuMemPoolGetAttribute(void *pool, int attribute, void *value);
API CudaResult cuMemPoolSetAttribute(void *pool, int attribute, void *value);
API CudaResult cuMemPoolTrimTo(void *pool, size_t keep);
API CudaResult cuMemsetD8_v2(DevicePointer to, unsigned char value, size_t bytes);
API CudaResult cuMemsetD8Async(DevicePointer to, unsigned char value, size_t bytes, void *stream);
API CudaResult cuMemcpyHtoD_v2(DevicePointer to, const void *from, size_t bytes);
API CudaResult cuMemcpyHtoDAsync_v2(DevicePointer to, const void *from, size_t bytes, void *stream);
API CudaResult cuMemcpyDtoH_v2(void *to, DevicePointer from, size_t bytes);
API CudaResult cuMemcpyDtoHAsync_v2(void *to, DevicePointer from, size_t bytes, void *stream);
API CudaResult cuMemcpyDtoD_v2(DevicePointer to, DevicePointer from, size_t bytes);
API CudaResult cuMemcpyDtoDAsync_v2(DevicePointer to, DevicePointer from, size_t bytes, void *stream);

API CudaResult cuModuleLoadData(void **module, const void *image);
API CudaResult cuModuleUnload(void *module);
API CudaResult cuModuleGetFunction(void **function, void *module, const char *name);
API CudaResult cuLaunchKernel(
    void *function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y, unsigned block_z,
    unsigned shared_bytes, void *stream, void **parameters, void **extra);

// ---- libnvrtc

enum NvrtcResult {
    NVRTC_SUCCESS = 0,
    NVRTC_ERROR_INVALID_INPUT = 3,
    NVRTC_ERROR_INVALID_PROGRAM = 4,
    NVRTC_ERROR_INVALID_OPTION = 5,
    NVRTC_ERROR_COMPILATION = 6,
};

API NvrtcResult nvrtcVersion(int *major, int *minor);
API const char *nvrtcGetErrorString(NvrtcResult result);
API NvrtcResult nvrtcCreateProgram(
    void **program, const char *source, const char *name, int headers, const char *const *texts, const char *const *names);
API NvrtcResult nvrtcDestroyProgram(void **program);
API NvrtcResult nvrtcCompileProgram(void *program, int count, const char *const *options);
API NvrtcResult nvrtcGetProgramLogSize(void *program, size_t *bytes);
API NvrtcResult nvrtcGetProgramLog(void *program, char *log);
API NvrtcResult nvrtcGetCUBINSize(void *program, size_t *bytes);
API NvrtcResult nvrtcGetCUBIN(void *program, char *cubin);

// ---- libcudnn

enum CudnnStatus {
    CUDNN_STATUS_SUCCESS = 0,
    CUDNN_STATUS_NOT_INITIALIZED = 1001,
    CUDNN_STATUS_BAD_PARAM = 2000,
    CUDNN_STATUS_BAD_PARAM_NULL_POINTER = 2002,
    CUDNN_STATUS_BAD_PARAM_MISALIGNED_POINTER = 2003,
    CUDNN_STATUS_BAD_PARAM_SIZE_INSUFFICIENT = 2006,
    CUDNN_STATUS_NOT_SUPPORTED = 3000,
    CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED = 4004,
    CUDNN_STATUS_EXECUTION_FAILED = 5000,
};
enum { CUDNN_DATA_FLOAT = 0, CUDNN_DATA_HALF = 2, CUDNN_DATA_BFLOAT16 = 9 };
enum { CUDNN_TENSOR_NCHW = 0, CUDNN_TENSOR_NHWC = 1 };
enum { CUDNN_CROSS_CORRELATION = 1 };
enum { CUDNN_TENSOR_OP_MATH = 1, CUDNN_FMA_MATH = 3 };
enum { CUDNN_IMPLICIT_GEMM = 0, CUDNN_IMPLICIT_PRECOMP_GEMM = 1, CUDNN_ALGORITHMS = 8 };
enum { CUDNN_ACTIVATION_RELU = 1, CUDNN_ACTIVATION_IDENTITY = 5 };
enum { CUDNN_NOT_PROPAGATE_NAN = 0 };

API size_t cudnnGetVersion();
API size_t cudnnGetCudartVersion();
API const char *cudnnGetErrorString(CudnnStatus status);
API CudnnStatus cudnnCreate(void **handle);
API CudnnStatus cudnnDestroy(void *handle);
API CudnnStatus cudnnSetStream(void *handle, void *stream);
API CudnnStatus cudnnCreateTensorDescriptor(void **descriptor);
API CudnnStatus cudnnSetTensor4dDescriptor(void *descriptor, int format, int type, int n, int c, int h, int w);
API CudnnStatus cudnnDestroyTensorDescriptor(void *descriptor);
API CudnnStatus cudnnCreateFilterDescriptor(void **descriptor);
API CudnnStatus cudnnSetFilter4dDescriptor(void *descriptor, int type, int format, int k, int c, int h, int w);
API CudnnStatus cudnnDestroyFilterDescriptor(void *descriptor);
API CudnnStatus cudnnCreateConvolutionDescriptor(void **descriptor);
API CudnnStatus cudnnSetConvolution2dDescriptor(
    void *descriptor, int pad_h, int pad_w, int stride_h, int stride_w, int dilation_h, int dilation_w, int mode, int type);
API CudnnStatus cudnnSetConvolutionMathType(void *descriptor, int math);
API CudnnStatus cudnnDestroyConvolutionDescriptor(void *descriptor);
API CudnnStatus cudnnCreateActivationDescriptor(void **descriptor);
API CudnnStatus cudnnSetActivationDescriptor(void *descriptor, int mode, int nan, double coefficient);
API CudnnStatus cudnnDestroyActivationDescriptor(void *descriptor);
API CudnnStatus cudnnGetConvolution2dForwardOutputDim(
    void *convolution, void *x, void *w, int *n, int *c, int *height, int *width);
API CudnnStatus cudnnGetConvolutionForwardWorkspaceSize(
    void *handle, void *x, void *w, void *convolution, void *y, int algorithm, size_t *bytes);
API CudnnStatus cudnnConvolutionForward(
    void *handle, const void *alpha, void *x_descriptor, DevicePointer x, void *w_descriptor, DevicePointer w, void *convolution,
    int algorithm, DevicePointer workspace, size_t workspace_bytes, const void *beta, void *y_descriptor, DevicePointer y);
API CudnnStatus cudnnConvolutionBiasActivationForward(
    void *handle, const void *alpha1, void *x_descriptor, DevicePointer x, void *w_descriptor, DevicePointer w, void *convolution,
    int algorithm, DevicePointer workspace, size_t workspace_bytes, const void *alpha2, void *z_descriptor, DevicePointer z,
    void *bias_descriptor, DevicePointer bias, void *activation, void *y_descriptor, DevicePointer y);

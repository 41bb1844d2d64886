// Devices, contexts, streams, events, modules and launches. All work is synchronous, so streams are always in order and events
// are always complete.

#include "device.h"

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <set>

using namespace emulated;

extern const Kernel kernels_16[], kernels_17[], kernels_32[];

namespace {

constexpr int MOST_DEVICES = 16;

struct Context {
    std::atomic<int> retained;
};

struct Event {
    std::chrono::steady_clock::time_point at;
    bool recorded;
};

struct Module {
    const Kernel *kernels;
};

bool initialized;
Context contexts[MOST_DEVICES];
thread_local Context *current;
std::atomic<bool> broken;

std::mutex lock;
std::set<void *> streams, events, modules;

int devices() {
    const char *visible = std::getenv("CUDA_VISIBLE_DEVICES");
    if (visible && !*visible) return 0;
    return std::min((int)setting("VAE_EMULATED_DEVICES", 1), MOST_DEVICES);
}

bool has(const std::set<void *> &set, void *handle) {
    std::lock_guard held(lock);
    return set.contains(handle);
}

void *add(std::set<void *> &set, void *handle) {
    std::lock_guard held(lock);
    set.insert(handle);
    return handle;
}

// Removes a handle; returns whether it existed.
bool take(std::set<void *> &set, void *handle) {
    std::lock_guard held(lock);
    return set.erase(handle) == 1;
}

CudaResult of_stream(void *stream) {
    if (CudaResult found = state()) return found;
    return is_stream(stream) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

CudaResult of_event(void *event) {
    return has(events, event) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

struct Name {
    CudaResult error;
    const char *name, *text;
};

const Name names[] = {
    {CUDA_SUCCESS, "CUDA_SUCCESS", "no error"},
    {CUDA_ERROR_INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {CUDA_ERROR_OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {CUDA_ERROR_NOT_INITIALIZED, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
    {CUDA_ERROR_NO_DEVICE, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
    {CUDA_ERROR_INVALID_DEVICE, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {CUDA_ERROR_INVALID_IMAGE, "CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid"},
    {CUDA_ERROR_INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
    {CUDA_ERROR_NO_BINARY_FOR_GPU, "CUDA_ERROR_NO_BINARY_FOR_GPU", "no kernel image is available for execution on the device"},
    {CUDA_ERROR_INVALID_HANDLE, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
    {CUDA_ERROR_NOT_FOUND, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
    {CUDA_ERROR_NOT_READY, "CUDA_ERROR_NOT_READY", "device not ready"},
    {CUDA_ERROR_ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"},
};

const Name *name_of(CudaResult error) {
    for (const Name &name : names) {
        if (name.error == error) return &name;
    }
    return nullptr;
}

} // namespace

namespace emulated {

int current_device() {
    return current ? (int)(current - contexts) : -1;
}

void break_device() {
    broken = true;
}

CudaResult state() {
    if (!current) return CUDA_ERROR_INVALID_CONTEXT;
    return broken ? CUDA_ERROR_ILLEGAL_ADDRESS : CUDA_SUCCESS;
}

int capability() {
    return (int)setting("VAE_EMULATED_CAPABILITY", 80);
}

bool is_stream(void *stream) {
    return !stream || has(streams, stream);
}

const Kernel *kernels(int element) {
    return element == 16 ? kernels_16 : element == 17 ? kernels_17 : element == 32 ? kernels_32 : nullptr;
}

} // namespace emulated

CudaResult cuInit(unsigned flags) {
    if (flags != 0) return CUDA_ERROR_INVALID_VALUE;
    if (devices() == 0) return CUDA_ERROR_NO_DEVICE;
    watch_faults();
    initialized = true;
    return CUDA_SUCCESS;
}

CudaResult cuDriverGetVersion(int *version) {
    *version = (int)setting("VAE_EMULATED_DRIVER", 13000);
    return CUDA_SUCCESS;
}

CudaResult cuGetErrorName(CudaResult error, const char **name) {
    const Name *found = name_of(error);
    *name = found ? found->name : nullptr;
    return found ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CudaResult cuGetErrorString(CudaResult error, const char **text) {
    const Name *found = name_of(error);
    *text = found ? found->text : nullptr;
    return found ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CudaResult cuDeviceGetCount(int *count) {
    if (!initialized) return CUDA_ERROR_NOT_INITIALIZED;
    *count = devices();
    return CUDA_SUCCESS;
}

CudaResult cuDeviceGet(int *device, int ordinal) {
    if (!initialized) return CUDA_ERROR_NOT_INITIALIZED;
    if (ordinal < 0 || ordinal >= devices()) return CUDA_ERROR_INVALID_DEVICE;
    *device = ordinal;
    return CUDA_SUCCESS;
}

CudaResult cuDeviceGetName(char *name, int length, int device) {
    snprintf(name, length, "Emulated Device %d", device);
    return CUDA_SUCCESS;
}

CudaResult cuDeviceGetUuid_v2(char *uuid, int device) {
    memset(uuid, device, 16);
    return CUDA_SUCCESS;
}

CudaResult cuDeviceGetAttribute(int *value, int attribute, int device) {
    if (device < 0 || device >= devices()) return CUDA_ERROR_INVALID_DEVICE;
    switch (attribute) {
    case 1: *value = 1024; break;               // MAX_THREADS_PER_BLOCK
    case 8: *value = SHARED_BYTES; break;       // MAX_SHARED_MEMORY_PER_BLOCK
    case 10: *value = 32; break;                // WARP_SIZE
    case 16: *value = 4; break;                 // MULTIPROCESSOR_COUNT
    case 75: *value = capability() / 10; break; // COMPUTE_CAPABILITY_MAJOR
    case 76: *value = capability() % 10; break; // COMPUTE_CAPABILITY_MINOR
    case 115: *value = 1; break;                // MEMORY_POOLS_SUPPORTED
    default: stop("the device's attribute %d is not known: add it to cuDeviceGetAttribute", attribute);
    }
    return CUDA_SUCCESS;
}

CudaResult cuDevicePrimaryCtxRetain(void **context, int device) {
    if (!initialized) return CUDA_ERROR_NOT_INITIALIZED;
    if (device < 0 || device >= devices()) return CUDA_ERROR_INVALID_DEVICE;
    contexts[device].retained++;
    *context = &contexts[device];
    return CUDA_SUCCESS;
}

CudaResult cuDevicePrimaryCtxRelease_v2(int device) {
    if (device < 0 || device >= devices()) return CUDA_ERROR_INVALID_DEVICE;
    if (contexts[device].retained == 0) return CUDA_ERROR_INVALID_CONTEXT;
    contexts[device].retained--;
    return CUDA_SUCCESS;
}

CudaResult cuCtxGetCurrent(void **context) {
    if (!initialized) return CUDA_ERROR_NOT_INITIALIZED;
    *context = current;
    return CUDA_SUCCESS;
}

CudaResult cuCtxSetCurrent(void *context) {
    auto *chosen = (Context *)context;
    bool known = chosen >= contexts && chosen < contexts + MOST_DEVICES && chosen->retained > 0;
    if (chosen && !known) return CUDA_ERROR_INVALID_CONTEXT;
    current = chosen;
    return CUDA_SUCCESS;
}

CudaResult cuCtxSetFlags(unsigned) {
    return current ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
}

CudaResult cuCtxSynchronize() {
    return state();
}

CudaResult cuStreamCreate(void **stream, unsigned) {
    if (!current) return CUDA_ERROR_INVALID_CONTEXT;
    *stream = add(streams, new char);
    return CUDA_SUCCESS;
}

CudaResult cuStreamDestroy_v2(void *stream) {
    if (!take(streams, stream)) return CUDA_ERROR_INVALID_HANDLE;
    delete (char *)stream;
    return CUDA_SUCCESS;
}

CudaResult cuStreamSynchronize(void *stream) {
    log("synchronize");
    return of_stream(stream);
}

CudaResult cuStreamQuery(void *stream) {
    return of_stream(stream);
}

CudaResult cuStreamWaitEvent(void *stream, void *event, unsigned) {
    CudaResult found = of_stream(stream);
    return found ? found : of_event(event);
}

CudaResult cuEventCreate(void **event, unsigned) {
    if (!current) return CUDA_ERROR_INVALID_CONTEXT;
    *event = add(events, new Event{});
    return CUDA_SUCCESS;
}

CudaResult cuEventDestroy_v2(void *event) {
    if (!take(events, event)) return CUDA_ERROR_INVALID_HANDLE;
    delete (Event *)event;
    return CUDA_SUCCESS;
}

CudaResult cuEventRecord(void *event, void *stream) {
    if (CudaResult found = of_stream(stream)) return found;
    if (CudaResult found = of_event(event)) return found;
    *(Event *)event = {std::chrono::steady_clock::now(), true};
    return CUDA_SUCCESS;
}

CudaResult cuEventQuery(void *event) {
    return of_event(event);
}

CudaResult cuEventSynchronize(void *event) {
    return of_event(event);
}

CudaResult cuEventElapsedTime(float *milliseconds, void *start, void *end) {
    if (of_event(start) || of_event(end)) return CUDA_ERROR_INVALID_HANDLE;
    auto *from = (Event *)start, *to = (Event *)end;
    if (!from->recorded || !to->recorded) return CUDA_ERROR_INVALID_HANDLE;
    *milliseconds = std::chrono::duration<float, std::milli>(to->at - from->at).count();
    return CUDA_SUCCESS;
}

CudaResult cuEventElapsedTime_v2(float *milliseconds, void *start, void *end) {
    return cuEventElapsedTime(milliseconds, start, end);
}

// An image is the output of nvrtcGetCUBIN. As on real devices, its architecture must have the same major version and be no newer.
CudaResult cuModuleLoadData(void **module, const void *image) {
    if (!current) return CUDA_ERROR_INVALID_CONTEXT;
    int architecture, element;
    unsigned long long source;
    if (sscanf((const char *)image, CUBIN_FORMAT, &architecture, &element, &source) != 3) return CUDA_ERROR_INVALID_IMAGE;
    const Kernel *found = kernels(element);
    if (!found || source != hash(kernel_source)) return CUDA_ERROR_INVALID_IMAGE;
    bool runs = architecture / 10 == capability() / 10 && architecture <= capability();
    if (!runs) return CUDA_ERROR_NO_BINARY_FOR_GPU;
    *module = add(modules, new Module{found});
    return CUDA_SUCCESS;
}

CudaResult cuModuleUnload(void *module) {
    if (!take(modules, module)) return CUDA_ERROR_INVALID_HANDLE;
    delete (Module *)module;
    return CUDA_SUCCESS;
}

CudaResult cuModuleGetFunction(void **function, void *module, const char *name) {
    if (!has(modules, module)) return CUDA_ERROR_INVALID_HANDLE;
    for (const Kernel *kernel = ((Module *)module)->kernels; kernel->name; kernel++) {
        if (strcmp(kernel->name, name) != 0) continue;
        *function = (void *)kernel;
        return CUDA_SUCCESS;
    }
    return CUDA_ERROR_NOT_FOUND;
}

CudaResult cuLaunchKernel(
    void *function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y, unsigned block_z,
    unsigned shared_bytes, void *stream, void **parameters, void **extra) {
    if (CudaResult found = of_stream(stream)) return found;
    const Kernel &kernel = *(const Kernel *)function;
    uint64_t threads = (uint64_t)block_x * block_y * block_z;
    bool some = grid_x && grid_y && grid_z && threads;
    if (!some || grid_x > 0x7fffffff || grid_y > 0xffff || grid_z > 0xffff || block_z > 64) return CUDA_ERROR_INVALID_VALUE;
    if (threads > kernel.most_threads || shared_bytes > SHARED_BYTES) return CUDA_ERROR_INVALID_VALUE;
    log("launch", kernel.name);
    if (extra) stop("%s is launched with `extra`, which is not emulated", kernel.name);
    kernel.launch({{grid_x, grid_y, grid_z}, {block_x, block_y, block_z}, shared_bytes}, kernel.name, parameters);
    return CUDA_SUCCESS;
}

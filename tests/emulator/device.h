// Internal declarations.

#pragma once

#include "api.h"

#include <cstring>
#include <functional>

namespace emulated {

// ---- common.cpp

// Ends the process with a message on stderr, for mistakes with undefined results on a real device.
[[noreturn]] void stop(const char *format, ...) __attribute__((format(printf, 1, 2)));

// Returns a non-negative integer from the environment.
long setting(const char *name, long otherwise);

// Appends a line to the file that VAE_EMULATED_LOG names, if any.
void log(const char *event, const char *detail = "");

// Runs work(0) to work(count − 1) on all cores.
void parallel(size_t count, const std::function<void(size_t)> &work);

// A 64-bit FNV-1a hash of a text.
uint64_t hash(const char *text);

// ---- memory.cpp: device pointers are host addresses with an extra bit that makes them invalid on the host.

// Returns the host address of `bytes` bytes of device memory; stops, naming `user`, unless they lie inside one allocation.
void *on_host(DevicePointer pointer, size_t bytes, const char *user);

// Stops if something was written right before or after the pointer's allocation.
void check_bounds(DevicePointer pointer, const char *user);

// ---- driver.cpp

// The device of the calling thread's context, or −1.
int current_device();

// The device's compute capability, as 10·major + minor.
int capability();

// Makes the device fail as after an illegal access: from now on its work fails, until the process ends.
void break_device();

// CUDA_ERROR_INVALID_CONTEXT without a current context, or the error of a broken device.
CudaResult state();

// Returns whether the handle is an existing stream or the null stream.
bool is_stream(void *stream);

// ---- threads.cpp

struct Dim {
    unsigned x, y, z;
};

struct Grid {
    Dim blocks, threads;
    size_t shared_bytes;
};

// The indices of the calling device thread.
extern thread_local constinit Dim threadIdx, blockIdx, blockDim, gridDim;

constexpr size_t SHARED_BYTES = 48 << 10; // the maximum of a block
constexpr size_t BEHIND = 2 << 10;        // bytes after a block's shared memory that are checked for writes

// Runs `body` once per thread of a grid. `shared` returns the calling core's SHARED_BYTES + BEHIND bytes.
void run(const Grid &grid, const char *kernel, char *(*shared)(), const std::function<void()> &body);

// Waits for all threads of the block.
void meet_block();

// Waits for all threads of the warp. The last one to arrive calls `work` before they continue.
void meet_warp(const std::function<void()> &work);

// Reports a kernel's access to unmapped memory before the process ends.
void watch_faults();

// ---- kernels.cpp, once per precision

struct Kernel {
    const char *name;
    unsigned most_threads; // per block
    void (*launch)(const Grid &grid, const char *kernel, void **parameters);
};

// A list that ends with a nameless kernel; null for an unknown precision.
const Kernel *kernels(int element);

// ---- nvrtc.cpp

// The text of the kernels' sources.
extern const char *const kernel_source;

// A compiled program: the architecture as sm_XX, ELEMENT and the source's hash identify the kernels.
#define CUBIN_FORMAT "emulated cubin sm_%d ELEMENT %d source %llx\n"

} // namespace emulated

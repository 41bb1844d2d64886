// What the parts of the emulated device know of each other.

#pragma once

#include "api.h"

#include <cstring>
#include <functional>

namespace emulated {

// ---- common.cpp

// Ends the process with a line on stderr: for what a real device answers with garbage.
[[noreturn]] void stop(const char *format, ...) __attribute__((format(printf, 1, 2)));

// A whole number from the environment.
long setting(const char *name, long otherwise);

// Does work(0) to work(count − 1) on all cores.
void parallel(size_t count, const std::function<void(size_t)> &work);

// A 64-bit FNV-1a hash of a text.
uint64_t hash(const char *text);

// ---- memory.cpp: device pointers are host addresses with a bit that makes them useless on the host.

// The host's address of `bytes` bytes of the device; stops, naming `user`, where they are not all inside of one allocation.
void *on_host(DevicePointer pointer, size_t bytes, const char *user);

// Stops where something was written right before or behind the pointer's allocation.
void check_bounds(DevicePointer pointer, const char *user);

// ---- driver.cpp

// The device of the calling thread's context, or −1.
int current_device();

// The device's compute capability, as 10·major + minor.
int capability();

// Whether a stream of this name was created; the null stream always was.
bool is_stream(void *stream);

// ---- threads.cpp

struct Dim {
    unsigned x, y, z;
};

struct Grid {
    Dim blocks, threads;
    size_t shared_bytes;
};

// Where the calling thread of the emulated device is.
extern thread_local constinit Dim threadIdx, blockIdx, blockDim, gridDim;

constexpr size_t SHARED_BYTES = 48 << 10; // that a block may have
constexpr size_t BEHIND = 2 << 10;        // that are checked for writes behind a grid's shared memory

// Runs `body` as each thread of a grid. `shared` finds the calling core's SHARED_BYTES + BEHIND.
void run(const Grid &grid, const char *kernel, char *(*shared)(), const std::function<void()> &body);

// Waits for all threads of the block.
void meet_block();

// Waits for all threads of the warp, the last of which does `work` before they go on.
void meet_warp(const std::function<void()> &work);

// Makes a kernel's access to unmapped memory say so before the process ends.
void watch_faults();

// ---- kernels.cpp, once per precision

struct Kernel {
    const char *name;
    unsigned most_threads; // per block
    void (*launch)(const Grid &grid, const char *kernel, void **parameters);
};

// A list that a kernel without a name ends; null for a precision that there is not.
const Kernel *kernels(int element);

// ---- nvrtc.cpp

// The text of the kernels' sources.
extern const char *const kernel_source;

// A compiled program: architecture as sm_XX, ELEMENT and the source's hash, which tell which kernels are meant.
#define CUBIN_FORMAT "emulated cubin sm_%d ELEMENT %d source %llx\n"

} // namespace emulated

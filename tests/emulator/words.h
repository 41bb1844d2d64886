// CUDA C++ keywords and functions of the kernels' sources, in C++. Included in the namespace of each precision, before the sources.

#define EMULATED
#define __global__
#define __device__ static
#define __forceinline__ inline
#define __launch_bounds__(threads)
#define __align__(bytes) alignas(bytes)
#define __shared__ thread_local // and static; a core runs one block at a time

using emulated::blockDim, emulated::blockIdx, emulated::gridDim, emulated::threadIdx;

struct float2 {
    float x, y;
};

static thread_local float2 shared[(emulated::SHARED_BYTES + emulated::BEHIND) / sizeof(float2)];

static inline float2 make_float2(float x, float y) {
    return {x, y};
}

static inline void __syncthreads() {
    emulated::meet_block();
}

static inline void __threadfence() {
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static inline unsigned atomicAdd(unsigned *sum, unsigned value) {
    return __atomic_fetch_add(sum, value, __ATOMIC_SEQ_CST);
}

static inline unsigned min(unsigned a, unsigned b) {
    return a < b ? a : b;
}

static inline unsigned long long min(unsigned long long a, unsigned long long b) {
    return a < b ? a : b;
}

static inline float rsqrtf(float x) {
    return 1.0f / sqrtf(x);
}

static inline float __int_as_float(int bits) {
    return __builtin_bit_cast(float, bits);
}

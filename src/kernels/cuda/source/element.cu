// The element type of feature maps. The engine compiles these sources once per precision: ELEMENT is 16 for f16, 17 for
// bf16 and 32 for f32. They include no headers of the CUDA toolkit, so NVRTC is sufficient.
//
// All arithmetic is in f32; `widen` and `narrow` are the only conversions.

typedef unsigned long long size; // sizes and offsets in memory, always 64 bits
typedef unsigned int u32;

#if ELEMENT == 32
typedef float element;
#else
struct element {
    unsigned short bits;
};
#endif

// Eight neighbouring channels of a pixel, loaded and stored as one vector.
struct __align__(16) Eight {
    element at[8];
};

// Two neighbouring elements, the operands of `multiply_add`.
struct __align__(2 * sizeof(element)) Two {
    element at[2];
};

#ifndef EMULATED

__device__ __forceinline__ float widen(element x) {
#if ELEMENT == 32
    return x;
#elif ELEMENT == 17
    return __uint_as_float((u32)x.bits << 16);
#else
    float wide;
    asm("cvt.f32.f16 %0, %1;" : "=f"(wide) : "h"(x.bits));
    return wide;
#endif
}

// Rounds to nearest; values that are too large become infinite.
__device__ __forceinline__ element narrow(float x) {
#if ELEMENT == 32
    return x;
#else
    element narrow;
#if ELEMENT == 17
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(narrow.bits) : "f"(x));
#else
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(narrow.bits) : "f"(x));
#endif
    return narrow;
#endif
}

#if ELEMENT != 32
// Computes a warp's C += A·B on tensor cores: C [16][8] in f32, A [16][16], B [16][8]. With row = lane / 4 and
// pair = lane % 4, a lane holds
//   A  (row, pair), (row + 8, pair), (row, pair + 4), (row + 8, pair + 4), in pairs of neighbouring columns
//   B  (pair, row), (pair + 4, row), in pairs of neighbouring rows
//   C  (row, 2·pair), (row, 2·pair + 1), and the same in row + 8
__device__ __forceinline__ void multiply_add(float c[4], const Two a[4], const Two b[2]) {
    const u32 *x = (const u32 *)a, *y = (const u32 *)b;
    asm volatile(
#if ELEMENT == 17
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
#else
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
#endif
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(x[0]), "r"(x[1]), "r"(x[2]), "r"(x[3]), "r"(y[0]), "r"(y[1]));
}
#endif

#endif // EMULATED

// The program's kernels in one precision: their unchanged sources, and the functions that `element.cu` omits when EMULATED is
// defined. Compiled once per ELEMENT; the build makes the kernels' names local to each precision.

#include "device.h"
#include "numbers.h"

#include <cmath>
#include <tuple>
#include <type_traits>

#define PASTE(a, b) a##b
#define NAMED(a, b) PASTE(a, b)

namespace NAMED(element_, ELEMENT) {

#include "words.h"

#include "element.cu"

static inline float widen(element x) {
#if ELEMENT == 32
    return x;
#elif ELEMENT == 17
    return widen_bfloat(x.bits);
#else
    return widen_half(x.bits);
#endif
}

static inline element narrow(float x) {
#if ELEMENT == 32
    return x;
#elif ELEMENT == 17
    return {narrow_bfloat(x)};
#else
    return {narrow_half(x)};
#endif
}

#if ELEMENT != 32

typedef float Row __attribute__((vector_size(32)));

struct Fragment {
    Two a[4], b[2];
    float *c;
};

// Computes C += A·B for a warp from the fragments of all its threads, in the layout of mma.m16n8k16.
static void multiply_add(Fragment *warp) {
    float a[16][16];
    Row b[16];
    for (u32 lane = 0; lane < 32; lane++) {
        u32 row = lane / 4, pair = lane % 4 * 2;
        for (u32 i = 0; i < 2; i++) {
            a[row][pair + i] = widen(warp[lane].a[0].at[i]);
            a[row + 8][pair + i] = widen(warp[lane].a[1].at[i]);
            a[row][pair + 8 + i] = widen(warp[lane].a[2].at[i]);
            a[row + 8][pair + 8 + i] = widen(warp[lane].a[3].at[i]);
            b[pair + i][row] = widen(warp[lane].b[0].at[i]);
            b[pair + 8 + i][row] = widen(warp[lane].b[1].at[i]);
        }
    }
    for (u32 row = 0; row < 16; row++) {
        Row sum = {};
        for (u32 k = 0; k < 16; k++) sum += a[row][k] * b[k];
        for (u32 column = 0; column < 8; column++) warp[row % 8 * 4 + column / 2].c[row / 8 * 2 + column % 2] += sum[column];
    }
}

static void multiply_add(float c[4], const Two a[4], const Two b[2]) {
    static thread_local Fragment fragments[1024];
    Fragment &mine = fragments[threadIdx.x];
    memcpy(mine.a, a, sizeof mine.a);
    memcpy(mine.b, b, sizeof mine.b);
    mine.c = c;
    emulated::meet_warp([] { multiply_add(fragments + threadIdx.x / 32 * 32); });
}

#endif

#include "layout.cu"

#include "group_norm.cu"

#include "rms_norm.cu"

#include "attention.cu"

// Reads a kernel's parameter; translates device pointers to host pointers.
template <typename T> static T take(const void *parameter, const char *kernel) {
    if constexpr (std::is_pointer_v<T>) {
        return (T)emulated::on_host(*(const DevicePointer *)parameter, 0, kernel);
    } else {
        T value;
        memcpy(&value, parameter, sizeof value);
        return value;
    }
}

template <typename T> static void check(const void *parameter, const char *kernel) {
    if constexpr (std::is_pointer_v<T>) emulated::check_bounds(*(const DevicePointer *)parameter, kernel);
}

template <auto function> struct Launch;

template <typename... T, void (*function)(T...)> struct Launch<function> {
    static void launch(const emulated::Grid &grid, const char *kernel, void **parameters) {
        with(grid, kernel, parameters, std::index_sequence_for<T...>());
    }

    template <size_t... i>
    static void with(const emulated::Grid &grid, const char *kernel, void **parameters, std::index_sequence<i...>) {
        std::tuple<T...> arguments(take<T>(parameters[i], kernel)...);
        emulated::run(grid, kernel, [] { return (char *)shared; }, [&] { std::apply(function, arguments); });
        (check<T>(parameters[i], kernel), ...);
    }
};

} // namespace NAMED(element_, ELEMENT)

extern const emulated::Kernel NAMED(kernels_, ELEMENT)[];

using namespace NAMED(element_, ELEMENT);

#define KERNEL(name, threads) {#name, threads, Launch<name>::launch},
const emulated::Kernel NAMED(kernels_, ELEMENT)[] = {
#include "kernels.inc"
    {}};

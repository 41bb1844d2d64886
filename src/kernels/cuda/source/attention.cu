// Attention with one head: softmax(q·kᵀ/√c)·v. Tokens are pixels. All but `values_across` run once per chunk of queries.
//
//   values_across  vᵀ [channels][keys], so that both products read their matrices along rows
//   scores         q·kᵀ·scale in f32
//   exponentials   e^(score − maximum of its row), unnormalised so that low precision suffices, and the rows' totals
//   attend         x += exponentials·v / total + bias

// C [m][n] = A [m][k] · B [n][k]ᵀ, where the rows of A and B are `a_row` and `b_row` elements apart. k is a multiple of 8;
// rows of A from m on, and of B from n on, are treated as zeros.
struct Product {
    const element *a, *b;
    size a_row, b_row;
    u32 m, n, k;
};

#define TILE 128 // rows and columns of C per block
#define DEPTH 32 // columns of A and B per step
#define PITCH 40 // row stride in shared memory, in elements; avoids bank conflicts within a fragment

struct __align__(16) Tile {
    element rows[TILE * PITCH];
};

// Loads a thread's share of TILE rows of DEPTH columns: two vectors.
__device__ __forceinline__ void fetch(Eight part[2], const element *from, size row_size, u32 first, u32 rows, u32 column, u32 k) {
    for (u32 i = 0; i < 2; i++) {
        u32 row = first + threadIdx.x / 4 + 64 * i, at = column + threadIdx.x % 4 * 8;
        if (row < rows && at < k) {
            part[i] = *(const Eight *)(from + row * row_size + at);
        } else {
            for (u32 j = 0; j < 8; j++) part[i].at[j] = narrow(0.0f);
        }
    }
}

__device__ __forceinline__ void keep(Tile &tile, const Eight part[2]) {
    for (u32 i = 0; i < 2; i++) {
        *(Eight *)(tile.rows + (threadIdx.x / 4 + 64 * i) * PITCH + threadIdx.x % 4 * 8) = part[i];
    }
}

// Adds the product of DEPTH columns to the part of C of warp (down, across) of 2 × 4: 64 × 32, as 4 × 4 fragments of 16 × 8.
__device__ __forceinline__ void multiply(float c[4][4][4], const Tile &a, const Tile &b, u32 down, u32 across) {
    u32 row = threadIdx.x % 32 / 4, pair = threadIdx.x % 4;
#if ELEMENT == 32
    for (u32 k = 0; k < DEPTH; k++) {
#pragma unroll
        for (u32 i = 0; i < 4; i++) {
            const float *x = a.rows + (down * 64 + i * 16 + row) * PITCH + k;
#pragma unroll
            for (u32 j = 0; j < 4; j++) {
                const float *y = b.rows + (across * 32 + j * 8 + 2 * pair) * PITCH + k;
                c[i][j][0] += x[0] * y[0];
                c[i][j][1] += x[0] * y[PITCH];
                c[i][j][2] += x[8 * PITCH] * y[0];
                c[i][j][3] += x[8 * PITCH] * y[PITCH];
            }
        }
    }
#else
#pragma unroll
    for (u32 k = 0; k < DEPTH; k += 16) {
        Two x[4][4], y[4][2];
#pragma unroll
        for (u32 i = 0; i < 4; i++) {
            const element *at = a.rows + (down * 64 + i * 16 + row) * PITCH + k + 2 * pair;
            x[i][0] = *(const Two *)at;
            x[i][1] = *(const Two *)(at + 8 * PITCH);
            x[i][2] = *(const Two *)(at + 8);
            x[i][3] = *(const Two *)(at + 8 * PITCH + 8);
        }
#pragma unroll
        for (u32 j = 0; j < 4; j++) {
            const element *at = b.rows + (across * 32 + j * 8 + row) * PITCH + k + 2 * pair;
            y[j][0] = *(const Two *)at;
            y[j][1] = *(const Two *)(at + 8);
        }
#pragma unroll
        for (u32 i = 0; i < 4; i++) {
#pragma unroll
            for (u32 j = 0; j < 4; j++) multiply_add(c[i][j], x[i], y[j]);
        }
    }
#endif
}

// Computes one tile of C. `put(row, column, value)` stores a value; rows are below m, columns may exceed n.
template <typename Put> __device__ __forceinline__ void product(Product p, Put put) {
    __shared__ Tile a, b;
    u32 top = blockIdx.y * TILE, left = blockIdx.x * TILE, warp = threadIdx.x / 32;
    float c[4][4][4] = {};
    Eight next_a[2], next_b[2];
    fetch(next_a, p.a, p.a_row, top, p.m, 0, p.k);
    fetch(next_b, p.b, p.b_row, left, p.n, 0, p.k);
    for (u32 column = 0; column < p.k; column += DEPTH) {
        keep(a, next_a);
        keep(b, next_b);
        __syncthreads();
        fetch(next_a, p.a, p.a_row, top, p.m, column + DEPTH, p.k); // the loads overlap with the products
        fetch(next_b, p.b, p.b_row, left, p.n, column + DEPTH, p.k);
        multiply(c, a, b, warp / 4, warp % 4);
        __syncthreads();
    }
    u32 row = top + warp / 4 * 64 + threadIdx.x % 32 / 4, pair = left + warp % 4 * 32 + threadIdx.x % 4 * 2;
#pragma unroll
    for (u32 i = 0; i < 4; i++) {
#pragma unroll
        for (u32 j = 0; j < 4; j++) {
#pragma unroll
            for (u32 e = 0; e < 4; e++) {
                u32 y = row + i * 16 + e / 2 * 8, x = pair + j * 8 + e % 2;
                if (y < p.m) put(y, x, c[i][j][e]);
            }
        }
    }
}

// weight [channels][channels] · map [keys][channels]ᵀ → [channels][pitch]; columns from `keys` to `pitch` are zero.
extern "C" __global__ void __launch_bounds__(256) values_across(
    const element *weight, const element *map, element *values, u32 keys, u32 pitch, u32 channels) {
    Product p = {weight, map, channels, channels, channels, keys, channels};
    product(p, [=](u32 row, u32 column, float value) {
        if (column < pitch) values[(size)row * pitch + column] = narrow(value);
    });
}

// queries [rows][channels] · keys [keys][channels]ᵀ · scale → [rows][pitch], of which the first `count` columns are written.
extern "C" __global__ void __launch_bounds__(256) scores(
    const element *queries, const element *keys, float *scores, float scale, u32 rows, u32 count, u32 pitch, u32 channels) {
    Product p = {queries, keys, channels, channels, rows, count, channels};
    product(p, [=](u32 row, u32 column, float value) {
        if (column < count) scores[(size)row * pitch + column] = value * scale;
    });
}

// One block per row: the exponentials of the first `count` of [pitch] scores, zeros up to [pitch], and their total.
extern "C" __global__ void __launch_bounds__(256) exponentials(
    const float *scores, element *exponentials, float *totals, u32 count, u32 pitch) {
    __shared__ float lanes[256];
    const float *from = scores + (size)blockIdx.x * pitch;
    element *to = exponentials + (size)blockIdx.x * pitch;
    float highest = -3.402823466e38f, total = 0.0f;
    bool broken = false; // because fmaxf ignores NaN
    for (u32 i = threadIdx.x; i < count; i += 256) {
        highest = fmaxf(highest, from[i]);
        broken = broken || from[i] != from[i];
    }
    lanes[threadIdx.x] = broken ? __int_as_float(0x7fffffff) : highest;
    __syncthreads();
    for (u32 half = 128; half > 0; half /= 2) {
        if (threadIdx.x < half) {
            float x = lanes[threadIdx.x], y = lanes[threadIdx.x + half];
            lanes[threadIdx.x] = x != x || y != y ? x + y : fmaxf(x, y);
        }
        __syncthreads();
    }
    highest = lanes[0];
    __syncthreads();
    for (u32 i = threadIdx.x; i < pitch; i += 256) {
        element e = narrow(i < count ? expf(from[i] - highest) : 0.0f);
        total += widen(e);
        to[i] = e;
    }
    lanes[threadIdx.x] = total;
    __syncthreads();
    for (u32 half = 128; half > 0; half /= 2) {
        if (threadIdx.x < half) lanes[threadIdx.x] += lanes[threadIdx.x + half];
        __syncthreads();
    }
    if (threadIdx.x == 0) totals[blockIdx.x] = lanes[0];
}

// map [rows][channels] += exponentials [rows][pitch] · values [channels][pitch]ᵀ / totals [rows] + bias [channels]
extern "C" __global__ void __launch_bounds__(256) attend(
    const element *exponentials, const element *values, const float *totals, const float *bias, element *map,
    u32 rows, u32 pitch, u32 channels) {
    Product p = {exponentials, values, pitch, pitch, rows, channels, pitch};
    product(p, [=](u32 row, u32 column, float value) {
        if (column < channels) {
            element *at = map + (size)row * channels + column;
            *at = narrow(widen(*at) + value / totals[row] + bias[column]);
        }
    });
}

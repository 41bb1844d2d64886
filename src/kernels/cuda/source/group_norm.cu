// Group norm in two launches: `norm_statistics` reads a map [pixels][channels] and writes a scale and a shift per channel;
// `norm_apply` reads the map again and writes scale·x + shift, with or without SiLU.
//
// The variance is never a difference of large numbers: each thread subtracts its first value of a channel from all the
// others, and the moments of threads and blocks are merged pairwise (T. Chan, G. Golub and R. LeVeque, 1979).

// The count of some values, their mean, and the sum of their squared distances from it.
struct Moments {
    float count, mean, squares;
};

__device__ __forceinline__ void merge(Moments &a, Moments b) {
    if (b.count == 0.0f) return;
    float count = a.count + b.count, apart = b.mean - a.mean, part = b.count / count;
    a.mean += apart * part;
    a.squares += b.squares + apart * apart * a.count * part;
    a.count = count;
}

// A block processes `slab` pixels from blockIdx.x·slab on. Its threads form `rows` rows of channels/8 threads; the shared
// memory is [rows][channels] moments without the count. The last block to end merges the moments [blocks][groups] of all
// blocks; `ended` is zero before and after.
extern "C" __global__ void __launch_bounds__(256) norm_statistics(
    const element *map, const float *weight, const float *bias, float *scale, float *shift, Moments *moments,
    u32 *ended, size pixels, size slab, u32 channels, u32 groups, u32 per_group, float eps) {
    extern __shared__ float2 shared[];
    __shared__ Moments lanes[256];
    __shared__ bool last;
    u32 eights = channels / 8, across = min(eights, 256u), rows = 256 / across;
    u32 row = threadIdx.x / across;
    size first = (size)blockIdx.x * slab, end = min(first + slab, pixels);

    for (u32 eight = threadIdx.x % across; row < rows && eight < eights; eight += across) {
        float pivot[8], sum[8], squares[8];
        u32 count = 0;
        for (size p = first + row; p < end; p += rows, count++) {
            Eight x = ((const Eight *)map)[p * eights + eight];
            for (u32 i = 0; i < 8; i++) {
                float value = widen(x.at[i]);
                if (count == 0) {
                    pivot[i] = value;
                    sum[i] = squares[i] = 0.0f;
                } else {
                    float distance = value - pivot[i];
                    sum[i] += distance;
                    squares[i] += distance * distance;
                }
            }
        }
        for (u32 i = 0; i < 8 && count > 0; i++) {
            float mean = sum[i] / count;
            shared[row * channels + eight * 8 + i] = make_float2(pivot[i] + mean, squares[i] - sum[i] * mean);
        }
    }
    __syncthreads();

    for (u32 group = threadIdx.x; group < groups; group += 256) {
        Moments all = {0.0f, 0.0f, 0.0f};
        for (u32 r = 0; r < rows && first + r < end; r++) {
            float count = (float)((end - first - r + rows - 1) / rows);
            for (u32 c = group * per_group; c < (group + 1) * per_group; c++) {
                float2 one = shared[r * channels + c];
                Moments found = {count, one.x, one.y};
                merge(all, found);
            }
        }
        moments[(size)blockIdx.x * groups + group] = all;
    }
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) last = atomicAdd(ended, 1u) == gridDim.x - 1;
    __syncthreads();
    if (!last) return;
    __threadfence();

    // `share` threads merge the blocks of a group, and the first of them merges their results.
    u32 together = min(groups, 256u), share = 256 / together;
    for (u32 base = 0; base < groups; base += together) {
        u32 group = base + threadIdx.x / share, lane = threadIdx.x % share;
        bool mine = threadIdx.x < together * share && group < groups;
        Moments all = {0.0f, 0.0f, 0.0f};
        for (u32 block = lane; mine && block < gridDim.x; block += share) {
            const volatile Moments *found = &moments[(size)block * groups + group];
            Moments one = {found->count, found->mean, found->squares};
            merge(all, one);
        }
        lanes[threadIdx.x] = all;
        __syncthreads();
        for (u32 other = 1; mine && lane == 0 && other < share; other++) merge(all, lanes[threadIdx.x + other]);
        if (mine && lane == 0) {
            float variance = all.squares / all.count;
            float inverse = rsqrtf((variance < 0.0f ? 0.0f : variance) + eps);
            for (u32 c = group * per_group; c < (group + 1) * per_group; c++) {
                scale[c] = weight[c] * inverse;
                shift[c] = bias[c] - all.mean * weight[c] * inverse;
            }
        }
        __syncthreads();
    }
    for (u32 c = groups * per_group + threadIdx.x; c < channels; c += 256) scale[c] = shift[c] = 0.0f;
    if (threadIdx.x == 0) *ended = 0;
}

extern "C" __global__ void __launch_bounds__(256) norm_apply(
    const element *from, element *to, const float *scale, const float *shift, size pixels, u32 channels, u32 silu) {
    u32 eights = channels / 8, count = (u32)pixels * eights; // a map has fewer than 2³¹ elements
    for (u32 i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x) {
        u32 first = i % eights * 8;
        Eight x = ((const Eight *)from)[i];
        for (u32 c = 0; c < 8; c++) {
            float y = widen(x.at[c]) * scale[first + c] + shift[first + c];
            x.at[c] = narrow(silu ? y / (1.0f + expf(-y)) : y);
        }
        ((Eight *)to)[i] = x;
    }
}

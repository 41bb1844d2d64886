// Conversions between the host's planes [c][h·w] of f32 and the device's maps [h·w][channels], whose channels are padded
// with zeros to a multiple of eight, and from the four phases of an upsampled picture to the picture.

// Converts weights without changing their layout.
extern "C" __global__ void narrow_all(const float *from, element *to, size count) {
    size stride = (size)gridDim.x * blockDim.x;
    for (size i = (size)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += stride) to[i] = narrow(from[i]);
}

extern "C" __global__ void from_planes(const float *planes, element *map, size pixels, u32 planes_count, u32 channels) {
    size stride = (size)gridDim.x * blockDim.x;
    for (size p = (size)blockIdx.x * blockDim.x + threadIdx.x; p < pixels; p += stride) {
        for (u32 c = 0; c < channels; c++) {
            map[p * channels + c] = narrow(c < planes_count ? planes[c * pixels + p] : 0.0f);
        }
    }
}

// Sets `broken` if a value is NaN or infinite.
extern "C" __global__ void to_planes(
    const element *map, float *planes, u32 *broken, size pixels, u32 planes_count, u32 channels) {
    size stride = (size)gridDim.x * blockDim.x;
    bool finite = true;
    for (size p = (size)blockIdx.x * blockDim.x + threadIdx.x; p < pixels; p += stride) {
        for (u32 c = 0; c < planes_count; c++) {
            float x = widen(map[p * channels + c]);
            finite = finite && x - x == 0.0f;
            planes[c * pixels + p] = x;
        }
    }
    if (!finite) *broken = 1;
}

// phases [height + 1][width + 1][4][channels] → picture [2·height][2·width][channels]. Phase 2·y + x at position (i, j) is
// the picture's pixel (2·(i − y) + y, 2·(j − x) + x); pixels outside the picture are skipped.
extern "C" __global__ void interleave(const element *phases, element *picture, u32 height, u32 width, u32 channels) {
    u32 eights = channels / 8, line = 2 * width * eights;
    for (u32 row = blockIdx.y; row < 2 * height; row += gridDim.y) {
        for (u32 i = blockIdx.x * blockDim.x + threadIdx.x; i < line; i += gridDim.x * blockDim.x) {
            u32 column = i / eights, eight = i % eights, y = row % 2, x = column % 2;
            size from = ((size)(row / 2 + y) * (width + 1) + column / 2 + x) * 4 + 2 * y + x;
            ((Eight *)picture)[(size)row * line + i] = ((const Eight *)phases)[from * eights + eight];
        }
    }
}

// map [pixels][channels] += bias [channels], for convolutions that cuDNN does not fuse with their bias.
extern "C" __global__ void add_bias(element *map, const float *bias, size pixels, u32 channels) {
    u32 count = (u32)pixels * channels; // a map has fewer than 2³¹ elements
    for (u32 i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x) {
        map[i] = narrow(widen(map[i]) + bias[i % channels]);
    }
}

// map [count][8] = max(map, 0) in place; NaN stays NaN, so that an overflow is seen.
extern "C" __global__ void relu(element *map, u32 count) {
    for (u32 i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x) {
        Eight x = ((const Eight *)map)[i];
        for (u32 c = 0; c < 8; c++) x.at[c] = widen(x.at[c]) < 0.0f ? narrow(0.0f) : x.at[c];
        ((Eight *)map)[i] = x;
    }
}

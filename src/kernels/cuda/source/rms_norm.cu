// RMS norm over the channels of each pixel: x / max(|x|, 1e-12) * sqrt(real) * weight, with or without SiLU. `real` channels count;
// the others, up to `channels`, are zeros, and so are their weights.

#define LANES 8 // threads that share a pixel

// A block processes 256 / LANES pixels at a time. All its threads run the loop equally often, because they meet in it.
extern "C" __global__ void __launch_bounds__(256) rms_norm(
    const element *from, element *to, const float *weight, size pixels, u32 channels, u32 real, u32 silu) {
    __shared__ float squares[256];
    u32 eights = channels / 8, lane = threadIdx.x % LANES, across = 256 / LANES;
    float root = sqrtf((float)real);
    for (size first = (size)blockIdx.x * across; first < pixels; first += (size)gridDim.x * across) {
        size pixel = first + threadIdx.x / LANES;
        float sum = 0.0f;
        for (u32 eight = lane; pixel < pixels && eight < eights; eight += LANES) {
            Eight x = ((const Eight *)from)[pixel * eights + eight];
            for (u32 c = 0; c < 8; c++) sum += widen(x.at[c]) * widen(x.at[c]);
        }
        squares[threadIdx.x] = sum;
        __syncthreads();
        float total = 0.0f;
        for (u32 other = 0; other < LANES; other++) total += squares[threadIdx.x - lane + other];
        __syncthreads(); // before the next pixel's sums
        float norm = sqrtf(total), factor = root / (norm < 1e-12f ? 1e-12f : norm);
        for (u32 eight = lane; pixel < pixels && eight < eights; eight += LANES) {
            Eight x = ((const Eight *)from)[pixel * eights + eight];
            for (u32 c = 0; c < 8; c++) {
                float y = widen(x.at[c]) * factor * weight[eight * 8 + c];
                x.at[c] = narrow(silu ? y / (1.0f + expf(-y)) : y);
            }
            ((Eight *)to)[pixel * eights + eight] = x;
        }
    }
}

// A convolution in f32 on the host.

#pragma once

#include <vector>

namespace emulated {

struct Convolution {
    int height, width, channels;        // of the input [height][width][channels]
    int out_height, out_width, filters; // of the output
    int filter_height, filter_width;    // of the weight [filters][filter_height][filter_width][channels]
    int pad_y, pad_x, stride_y, stride_x;
};

// The output [out_height][out_width][filters].
std::vector<float> convolve(const Convolution &shape, const std::vector<float> &input, const std::vector<float> &weight);

} // namespace emulated

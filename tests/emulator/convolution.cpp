#include "convolution.h"

#include "device.h"

namespace emulated {

namespace {

typedef float Lane __attribute__((vector_size(32)));

constexpr int LANES = 8, VECTORS = 2, PIXELS = 4; // summed in registers at the same time
constexpr int GROUP = LANES * VECTORS;            // filters per group

struct Taps {
    const Convolution &shape;
    const float *input;
    const float *zeros; // a pixel outside the picture
    const Lane *weight; // [groups of filters][filter_height][filter_width][channels][VECTORS]

    const float *pixel(int y, int x) const {
        bool inside = y >= 0 && y < shape.height && x >= 0 && x < shape.width;
        return inside ? input + ((size_t)y * shape.width + x) * shape.channels : zeros;
    }

    // Computes PIXELS outputs of a group of filters, starting at row y and column x.
    void sum(Lane total[PIXELS][VECTORS], int y, int x, int group) const {
        const Lane *w = weight + (size_t)group * shape.filter_height * shape.filter_width * shape.channels * VECTORS;
        for (int down = 0; down < shape.filter_height; down++) {
            for (int across = 0; across < shape.filter_width; across++) {
                const float *from[PIXELS];
                for (int p = 0; p < PIXELS; p++) {
                    from[p] = pixel(y * shape.stride_y - shape.pad_y + down, (x + p) * shape.stride_x - shape.pad_x + across);
                }
                for (int c = 0; c < shape.channels; c++, w += VECTORS) {
                    for (int p = 0; p < PIXELS; p++) {
                        for (int v = 0; v < VECTORS; v++) total[p][v] += from[p][c] * w[v];
                    }
                }
            }
        }
    }
};

} // namespace

std::vector<float> convolve(const Convolution &shape, const std::vector<float> &input, const std::vector<float> &weight) {
    int groups = (shape.filters + GROUP - 1) / GROUP, taps = shape.filter_height * shape.filter_width * shape.channels;
    std::vector<Lane> turned((size_t)groups * taps * VECTORS);
    for (int filter = 0; filter < shape.filters; filter++) {
        for (int tap = 0; tap < taps; tap++) {
            size_t lane = ((size_t)(filter / GROUP) * taps + tap) * VECTORS + filter % GROUP / LANES;
            turned[lane][filter % LANES] = weight[(size_t)filter * taps + tap];
        }
    }
    std::vector<float> zeros(shape.channels), output((size_t)shape.out_height * shape.out_width * shape.filters);
    Taps all = {shape, input.data(), zeros.data(), turned.data()};
    parallel(shape.out_height, [&](size_t y) {
        for (int x = 0; x < shape.out_width; x += PIXELS) {
            for (int group = 0; group < groups; group++) {
                Lane total[PIXELS][VECTORS] = {};
                all.sum(total, (int)y, x, group);
                for (int p = 0; p < PIXELS && x + p < shape.out_width; p++) {
                    float *to = &output[(y * shape.out_width + x + p) * shape.filters];
                    for (int f = group * GROUP; f < shape.filters && f < (group + 1) * GROUP; f++) {
                        to[f] = total[p][f % GROUP / LANES][f % LANES];
                    }
                }
            }
        }
    });
    return output;
}

} // namespace emulated

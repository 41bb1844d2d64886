// Compares the kernels and the convolutions in each precision with plain sums in f64, and checks that invalid use is rejected.
// Uses only NVIDIA's interfaces, so that it can also be linked with the real libraries.

#include "check.h"

#include <fstream>
#include <sstream>

namespace {

void norm(uint64_t pixels, unsigned channels, unsigned real, unsigned groups, uint64_t slab, double mean, unsigned silu) {
    Values x = random(pixels * channels, 1, mean), weight = random(real, 0.1, 1, true), bias = random(real, 1, 0, true);
    for (size_t i = 0; i < x.size(); i++) x[i] = i % channels < real ? x[i] : 0;
    unsigned blocks = (pixels + slab - 1) / slab, per_group = real / groups, eights = channels / 8;
    unsigned rows = 256 / std::min(eights, 256u);
    Array from(x, false), to(x.size(), false), w(weight, true), b(bias, true), scale(channels, true), shift(channels, true);
    Array moments(3 * blocks * groups, true), ended(Values{0}, true);
    call("norm_statistics", blocks, 1, 256, rows * channels * 8, from.pointer, w.pointer, b.pointer, scale.pointer, shift.pointer,
         moments.pointer, ended.pointer, pixels, slab, channels, groups, per_group, 1e-6f);
    call("norm_apply", 2, 1, 256, 0, from.pointer, to.pointer, scale.pointer, shift.pointer, pixels, channels, silu);

    Values wanted(x.size());
    for (unsigned g = 0; g < groups; g++) {
        double sum = 0, squares = 0, count = (double)pixels * per_group;
        auto each = [&](const std::function<void(size_t, unsigned)> &f) {
            for (size_t p = 0; p < pixels; p++) {
                for (unsigned c = g * per_group; c < (g + 1) * per_group; c++) f(p * channels + c, c);
            }
        };
        each([&](size_t i, unsigned) { sum += x[i]; });
        each([&](size_t i, unsigned) { squares += (x[i] - sum / count) * (x[i] - sum / count); });
        each([&](size_t i, unsigned c) {
            double y = (x[i] - sum / count) / std::sqrt(squares / count + 1e-6) * weight[c] + bias[c];
            wanted[i] = silu ? y / (1 + std::exp(-y)) : y;
        });
    }
    std::stringstream what;
    what << "norm of " << pixels << " pixels, " << real << " of " << channels << " channels, mean " << mean;
    compare(what.str(), to.values(), wanted, element == 32 ? 20 * (1 + std::fabs(mean)) : 3);
    expect("norm_statistics: ended", (long)ended.values()[0], 0);
}

void rms_norm(uint64_t pixels, unsigned channels, unsigned real, double deviation, unsigned silu) {
    Values x = random(pixels * channels, deviation), weight = random(channels, 1, 0, true), wanted(x.size());
    for (size_t i = 0; i < x.size(); i++) x[i] = i % channels < real ? x[i] : 0;
    for (unsigned c = real; c < channels; c++) weight[c] = 0;
    for (unsigned c = 0; c < channels; c++) x[c] = 0; // the norm of the first pixel is 0
    Array from(x, false), to(x.size(), false), w(weight, true);
    call("rms_norm", 2, 1, 256, 0, from.pointer, to.pointer, w.pointer, pixels, channels, real, silu);
    for (size_t p = 0; p < pixels; p++) {
        double squares = 0;
        for (unsigned c = 0; c < real; c++) squares += x[p * channels + c] * x[p * channels + c];
        for (unsigned c = 0; c < channels; c++) {
            double y = x[p * channels + c] / std::max(std::sqrt(squares), 1e-12) * std::sqrt(real) * weight[c];
            wanted[p * channels + c] = silu ? y / (1 + std::exp(-y)) : y;
        }
    }
    std::stringstream what;
    what << "RMS norm of " << pixels << " pixels, " << real << " of " << channels << " channels";
    compare(what.str(), to.values(), wanted, element == 32 ? 20 : 3);
}

// If the queries have a large standard deviation, exponentials overflow unless the row's highest score is subtracted.
void attention(unsigned tokens, unsigned channels, unsigned chunk, double deviation = 1) {
    unsigned pitch = (tokens + 63) / 64 * 64;
    size_t size = (size_t)tokens * channels;
    Values q = random(size, deviation), k = random(size), h = random(size), x = random(size), bias = random(channels, 1, 0, true);
    Values weight = random(channels * channels, 1 / std::sqrt(channels));
    Array queries(q, false), keys(k, false), map(h, false), out(x, false), w(weight, false), b(bias, true);
    Array values(channels * pitch, false), scores(chunk * pitch, true), powers(chunk * pitch, false), totals(chunk, true);
    auto tiles = [](unsigned count) { return (count + 127) / 128; };
    call("values_across", tiles(pitch), tiles(channels), 256, 0, w.pointer, map.pointer, values.pointer, tokens, pitch, channels);
    for (unsigned first = 0; first < tokens; first += chunk) {
        unsigned rows = std::min(chunk, tokens - first);
        size_t skipped = first * channels * bytes_of(false);
        call("scores", tiles(tokens), tiles(rows), 256, 0, queries.pointer + skipped, keys.pointer, scores.pointer,
             (float)(1 / std::sqrt(channels)), rows, tokens, pitch, channels);
        call("exponentials", rows, 1, 256, 0, scores.pointer, powers.pointer, totals.pointer, tokens, pitch);
        call("attend", tiles(channels), tiles(rows), 256, 0, powers.pointer, values.pointer, totals.pointer, b.pointer,
             out.pointer + skipped, rows, pitch, channels);
    }

    auto dot = [&](const Values &a, size_t i, const Values &b, size_t j) {
        double sum = 0;
        for (unsigned c = 0; c < channels; c++) sum += a[i * channels + c] * b[j * channels + c];
        return sum;
    };
    Values v(size), wanted = x;
    for (unsigned t = 0; t < tokens; t++) {
        for (unsigned c = 0; c < channels; c++) v[t * channels + c] = dot(weight, c, h, t);
    }
    for (unsigned i = 0; i < tokens; i++) {
        Values power(tokens);
        double total = 0;
        for (unsigned j = 0; j < tokens; j++) total += power[j] = std::exp(dot(q, i, k, j) / std::sqrt(channels));
        for (unsigned c = 0; c < channels; c++) {
            for (unsigned j = 0; j < tokens; j++) wanted[i * channels + c] += power[j] * v[j * channels + c] / total;
            wanted[i * channels + c] += bias[c];
        }
    }
    std::stringstream what;
    what << "attention of " << tokens << " tokens, " << channels << " channels, " << chunk << " at a time";
    compare(what.str(), out.values(), wanted, element == 32 ? 20 * deviation : 3);
}

void layout() {
    unsigned height = 5, width = 3, channels = 16, planes = 3;
    Values phases = random((height + 1) * (width + 1) * 4 * channels), wanted(4 * height * width * channels);
    for (size_t i = 0; i < wanted.size(); i++) {
        unsigned c = i % channels, column = i / channels % (2 * width), row = i / channels / (2 * width), y = row % 2, x = column % 2;
        wanted[i] = phases[(((row / 2 + y) * (width + 1) + column / 2 + x) * 4 + 2 * y + x) * channels + c];
    }
    Array from(phases, false), picture(wanted.size(), false);
    call("interleave", 2, 3, 64, 0, from.pointer, picture.pointer, height, width, channels);
    compare("interleave", picture.values(), wanted, 0);

    uint64_t pixels = 37;
    Values plane = random(planes * pixels), shift = random(8, 1, 0, true), sums(pixels * 8);
    Array in(plane, true), map(pixels * 8, false), back(plane.size(), true), bias(shift, true), broken(Values{0}, true);
    call("from_planes", 2, 1, 32, 0, in.pointer, map.pointer, pixels, planes, 8);
    call("to_planes", 2, 1, 32, 0, map.pointer, back.pointer, broken.pointer, pixels, planes, 8);
    compare("from_planes, to_planes", back.values(), plane, 0);
    expect("to_planes: broken", broken.values()[0] != 0, 0);
    for (size_t i = 0; i < sums.size(); i++) sums[i] = rounded((i % 8 < planes ? plane[i % 8 * pixels + i / 8] : 0) + shift[i % 8]);
    call("add_bias", 2, 1, 32, 0, map.pointer, bias.pointer, pixels, 8);
    compare("add_bias", map.values(), sums, element == 32 ? 1 : 0);
    Array positive(sums, false);
    Values kept = sums;
    for (double &x : kept) x = std::max(x, 0.0);
    call("relu", 2, 1, 32, 0, positive.pointer, (unsigned)pixels);
    compare("relu", positive.values(), kept, 0);
    Array all(plane.size(), false);
    call("narrow_all", 2, 1, 32, 0, in.pointer, all.pointer, (uint64_t)plane.size());
    compare("narrow_all", all.values(), plane, 0);
    for (double bad : {(double)INFINITY, (double)NAN}) {
        Values spoiled = sums;
        spoiled[5 * 8 + 2] = bad;
        Array again(spoiled, false), flag(Values{0}, true);
        call("to_planes", 2, 1, 32, 0, again.pointer, back.pointer, flag.pointer, pixels, planes, 8);
        expect("to_planes: broken", flag.values()[0] != 0, 1);
    }
}

// y = x * weight + bias + part·y, by the plain and by the fused function.
void convolution(int height, int width, int channels, int filters, int side, int pad, int stride, float part) {
    int type = element == 32 ? CUDNN_DATA_FLOAT : element == 17 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_HALF, last = CUDNN_TENSOR_NHWC;
    int n, c, rows, columns;
    struct {
        void *x, *w, *how, *act, *bias, *y;
    } d;
    MUST(cudnnCreateTensorDescriptor(&d.x));
    MUST(cudnnCreateTensorDescriptor(&d.y));
    MUST(cudnnCreateTensorDescriptor(&d.bias));
    MUST(cudnnCreateFilterDescriptor(&d.w));
    MUST(cudnnCreateConvolutionDescriptor(&d.how));
    MUST(cudnnCreateActivationDescriptor(&d.act));
    MUST(cudnnSetTensor4dDescriptor(d.x, last, type, 1, channels, height, width));
    MUST(cudnnSetFilter4dDescriptor(d.w, type, last, filters, channels, side, side));
    MUST(cudnnSetConvolution2dDescriptor(d.how, pad, pad, stride, stride, 1, 1, CUDNN_CROSS_CORRELATION, CUDNN_DATA_FLOAT));
    MUST(cudnnSetConvolutionMathType(d.how, element == 32 ? CUDNN_FMA_MATH : CUDNN_TENSOR_OP_MATH));
    MUST(cudnnGetConvolution2dForwardOutputDim(d.how, d.x, d.w, &n, &c, &rows, &columns));
    MUST(cudnnSetTensor4dDescriptor(d.y, last, type, n, c, rows, columns));
    MUST(cudnnSetTensor4dDescriptor(d.bias, last, type, 1, filters, 1, 1));
    MUST(cudnnSetActivationDescriptor(d.act, CUDNN_ACTIVATION_IDENTITY, CUDNN_NOT_PROPAGATE_NAN, 0));

    Values input = random((size_t)height * width * channels), weight = random((size_t)filters * side * side * channels);
    Values shift = random(filters), before = random((size_t)rows * columns * filters), plain = before;
    for (size_t i = 0; i < plain.size(); i++) {
        int f = i % filters, column = i / filters % columns, row = i / filters / columns;
        plain[i] *= part;
        for (int tap = 0; tap < side * side; tap++) {
            int y = row * stride - pad + tap / side, x = column * stride - pad + tap % side;
            if (y < 0 || y >= height || x < 0 || x >= width) continue;
            const double *a = &input[((size_t)y * width + x) * channels], *b = &weight[((size_t)f * side * side + tap) * channels];
            for (int c = 0; c < channels; c++) plain[i] += a[c] * b[c];
        }
    }
    Values shifted = plain;
    for (size_t i = 0; i < plain.size(); i++) shifted[i] += shift[i % filters];

    size_t bytes;
    int how = CUDNN_IMPLICIT_PRECOMP_GEMM;
    MUST(cudnnGetConvolutionForwardWorkspaceSize(dnn, d.x, d.w, d.how, d.y, how, &bytes));
    Array x(input, false), w(weight, false), bias(shift, false), y(before, false), fused(before, false), space(bytes / 4 + 1, true);
    float one = 1;
    MUST(cudnnConvolutionForward(dnn, &one, d.x, x.pointer, d.w, w.pointer, d.how, how, space.pointer, bytes, &part, d.y, y.pointer));
    CudnnStatus status = cudnnConvolutionBiasActivationForward(
        dnn, &one, d.x, x.pointer, d.w, w.pointer, d.how, how, space.pointer, bytes, &part, d.y, fused.pointer, d.bias, bias.pointer, d.act,
        d.y, fused.pointer);
    std::stringstream what;
    what << "convolution of " << height << " x " << width << " x " << channels << ", side " << side << ", stride " << stride;
    compare(what.str(), y.values(), plain, element == 32 ? 20 : 2);
    if (status == CUDNN_STATUS_NOT_SUPPORTED) {
        printf("ELEMENT %d  %s, fused: not supported\n", element, what.str().c_str());
    } else {
        must("cudnnConvolutionBiasActivationForward", status);
        compare(what.str() + ", fused", fused.values(), shifted, element == 32 ? 20 : 2);
    }
    auto with_nan = [&] {
        MUST(cudnnSetActivationDescriptor(d.act, CUDNN_ACTIVATION_IDENTITY, 1, 0));
        cudnnConvolutionBiasActivationForward(
            dnn, &one, d.x, x.pointer, d.w, w.pointer, d.how, how, space.pointer, bytes, &part, d.y, fused.pointer, d.bias, bias.pointer,
            d.act, d.y, fused.pointer);
    };
    if (emulated) dies("a convolution with an option that may not be supported", with_nan);
    expect("a wrong algorithm", cudnnConvolutionForward(dnn, &one, d.x, x.pointer, d.w, w.pointer, d.how, CUDNN_ALGORITHMS, space.pointer,
           bytes, &part, d.y, y.pointer) != 0, true);
    must("destroying", cudnnDestroyTensorDescriptor(d.x) | cudnnDestroyTensorDescriptor(d.y) | cudnnDestroyTensorDescriptor(d.bias) |
         cudnnDestroyFilterDescriptor(d.w) | cudnnDestroyConvolutionDescriptor(d.how) | cudnnDestroyActivationDescriptor(d.act));
}

// Mistakes that may go unnoticed on a real device must end the process on the emulated one.
void mistakes() {
    Array planes(Values(24), true), map(64, false), small(63, false);
    uint64_t pixels = 8;
    unsigned count = 3, channels = 8;
    dies("a kernel that writes a little behind its output", [&] {
        call("from_planes", 1, 1, 32, 0, planes.pointer, small.pointer, pixels, count, channels);
    });
    dies("a kernel that writes far behind its output", [&] {
        call("from_planes", 1, 1, 32, 0, planes.pointer, map.pointer + 60 * bytes_of(false), (uint64_t)4096, 0u, channels);
    });
    dies("too little shared memory", [&] {
        Array values(Values(512 * 8), false), moments(24, true), ended(Values{0}, true), per_channel(Values(8), true);
        DevicePointer c = per_channel.pointer;
        call("norm_statistics", 1, 1, 256, 1024, values.pointer, c, c, c, c, moments.pointer, ended.pointer, (uint64_t)512,
             (uint64_t)512, channels, 4u, 2u, 1e-6f);
    });
    dies("a pointer of the host in a kernel", [&] {
        call("from_planes", 1, 1, 32, 0, planes.pointer, &pixels, pixels, count, channels);
    });
    dies("a pointer of the device on the host", [&] { *(volatile char *)map.pointer = 1; });
    dies("memory that is freed twice", [&] {
        MUST(cuMemFreeAsync(map.pointer, stream));
        cuMemFreeAsync(map.pointer, stream);
    });
    dies("a copy that is too long", [&] { cuMemsetD8Async(small.pointer, 0, 64 * bytes_of(false), stream); });
    expect("a block of too many threads", launch("norm_apply", 1, 1, 512, 0, {}), CUDA_ERROR_INVALID_VALUE);
    DevicePointer huge = 0;
    expect("an allocation of a tebibyte", cuMemAllocAsync(&huge, 1ull << 40, stream), CUDA_ERROR_OUT_OF_MEMORY);
    void *nothing;
    expect("a kernel that there is not", cuModuleGetFunction(&nothing, module_handle, "nothing"), CUDA_ERROR_NOT_FOUND);
    expect("a damaged image", cuModuleLoadData(&nothing, "damaged"), CUDA_ERROR_INVALID_IMAGE);
}

void load(const std::string &source, int architecture) {
    void *program;
    std::string precision = "-DELEMENT=" + std::to_string(element), device = "--gpu-architecture=sm_" + std::to_string(architecture);
    const char *options[] = {precision.c_str(), "--std=c++17", "-default-device", device.c_str()};
    MUST(nvrtcCreateProgram(&program, source.c_str(), "vae.cu", 0, nullptr, nullptr));
    NvrtcResult result = nvrtcCompileProgram(program, 4, options);
    size_t bytes;
    MUST(nvrtcGetProgramLogSize(program, &bytes));
    std::string log(bytes, 0);
    MUST(nvrtcGetProgramLog(program, log.data()));
    must(log.c_str(), result);
    MUST(nvrtcGetCUBINSize(program, &bytes));
    std::string cubin(bytes, 0);
    MUST(nvrtcGetCUBIN(program, cubin.data()));
    MUST(nvrtcDestroyProgram(&program));
    MUST(cuModuleLoadData(&module_handle, cubin.data()));
}

} // namespace

int main(int count, char **arguments) {
    if (count != 2) {
        fprintf(stderr, "Usage: check src/kernels/cuda/source\n");
        return 2;
    }
    std::stringstream source;
    for (const char *part : {"element", "layout", "group_norm", "rms_norm", "attention"}) {
        source << std::ifstream(std::string(arguments[1]) + "/" + part + ".cu").rdbuf();
    }
    int device, major, minor;
    void *context;
    char name[64];
    MUST(cuInit(0));
    MUST(cuDeviceGet(&device, 0));
    MUST(cuDeviceGetName(name, sizeof name, device));
    MUST(cuDeviceGetAttribute(&major, 75, device));
    MUST(cuDeviceGetAttribute(&minor, 76, device));
    MUST(cuDevicePrimaryCtxRetain(&context, device));
    MUST(cuCtxSetCurrent(context));
    MUST(cuStreamCreate(&stream, 1));
    MUST(cudnnCreate(&dnn));
    MUST(cudnnSetStream(dnn, stream));
    emulated = strncmp(name, "Emulated", 8) == 0;
    printf("%s, compute capability %d.%d\n", name, major, minor);
    for (int precision : {16, 17, 32}) {
        element = precision;
        load(source.str(), 10 * major + minor);
        layout();
        norm(1, 8, 8, 4, 1, 0, 1);
        norm(77, 8, 8, 4, 20, 3, 1);
        norm(1000, 128, 128, 32, 100, 0, 1);
        norm(999, 512, 512, 32, 64, 50, 0);
        norm(33, 24, 20, 5, 7, -2, 1);
        norm(64, 2304, 2304, 32, 16, 1, 1);
        norm(257, 512, 512, 512, 64, 1, 1);
        rms_norm(3, 8, 3, 1, 1);
        rms_norm(77, 96, 96, 1, 1);
        rms_norm(301, 384, 381, 20, 0);
        rms_norm(65, 4096, 4096, 1, 1);
        attention(1, 8, 1);
        attention(130, 64, 70);
        attention(64, 136, 64);
        attention(150, 40, 128);
        attention(600, 40, 500, 12);
        convolution(5, 7, 8, 16, 3, 1, 1, 0);
        convolution(6, 9, 24, 40, 1, 0, 1, 1);
        convolution(10, 6, 16, 8, 4, 1, 2, 1);
        convolution(4, 5, 40, 96, 2, 1, 1, 0);
        if (emulated) mistakes();
        MUST(cuModuleUnload(module_handle));
    }
    printf("%d failed\n", failures);
    return failures > 0;
}

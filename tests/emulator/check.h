// Helpers for the checks: arrays on the device, launches, comparisons.

#pragma once

#include "api.h"
#include "numbers.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

namespace {

typedef std::vector<double> Values;

int failures;
int element; // 16, 17 or 32: ELEMENT in the kernels' sources
bool emulated; // false on a real device
void *module_handle, *stream, *dnn;

void expect(const char *what, long got, long wanted) {
    if (got == wanted) return;
    printf("%s: %ld instead of %ld\n", what, got, wanted);
    failures++;
}

void must(const char *what, long result) {
    if (result == 0) return;
    printf("%s: error %ld\n", what, result);
    exit(1);
}

#define MUST(call) must(#call, call)

size_t bytes_of(bool wide) {
    return wide || element == 32 ? 4 : 2;
}

double rounded(double x) {
    float wide = (float)x;
    return element == 32 ? wide : element == 17 ? widen_bfloat(narrow_bfloat(wide)) : widen_half(narrow_half(wide));
}

// An array on the device, of elements or (if wide) of f32.
struct Array {
    DevicePointer pointer = 0;
    size_t count;
    bool wide;

    Array(size_t count, bool wide) : count(count), wide(wide) {
        MUST(cuMemAllocAsync(&pointer, count * bytes_of(wide), stream));
    }

    Array(const Values &values, bool wide) : Array(values.size(), wide) {
        std::vector<char> bytes(count * bytes_of(wide));
        for (size_t i = 0; i < count; i++) {
            float value = (float)values[i];
            uint16_t narrow = element == 17 ? narrow_bfloat(value) : narrow_half(value);
            if (bytes_of(wide) == 4) memcpy(&bytes[4 * i], &value, 4);
            if (bytes_of(wide) == 2) memcpy(&bytes[2 * i], &narrow, 2);
        }
        MUST(cuMemcpyHtoDAsync_v2(pointer, bytes.data(), bytes.size(), stream));
    }

    Array(const Array &) = delete;

    ~Array() {
        MUST(cuMemFreeAsync(pointer, stream));
    }

    Values values() const {
        std::vector<char> bytes(count * bytes_of(wide));
        MUST(cuMemcpyDtoHAsync_v2(bytes.data(), pointer, bytes.size(), stream));
        MUST(cuStreamSynchronize(stream));
        Values values(count);
        for (size_t i = 0; i < count; i++) {
            float value = 0;
            uint16_t narrow = 0;
            if (bytes_of(wide) == 4) memcpy(&value, &bytes[4 * i], 4);
            if (bytes_of(wide) == 2) memcpy(&narrow, &bytes[2 * i], 2);
            values[i] = bytes_of(wide) == 4 ? value : element == 17 ? widen_bfloat(narrow) : widen_half(narrow);
        }
        return values;
    }
};

// Normally distributed values, rounded to the device's precision unless `wide`.
Values random(size_t count, double deviation = 1, double mean = 0, bool wide = false) {
    static std::mt19937 generator(1);
    std::normal_distribution<double> normal(mean, deviation);
    Values values(count);
    for (double &value : values) value = wide ? (float)normal(generator) : rounded(normal(generator));
    return values;
}

// Passes if the relative error (in the 2-norm) is at most `roundings` times that of one rounding.
void compare(const std::string &what, const Values &got, const Values &wanted, double roundings) {
    double difference = 0, norm = 1e-30;
    for (size_t i = 0; i < wanted.size(); i++) {
        difference += (got[i] - wanted[i]) * (got[i] - wanted[i]);
        norm += wanted[i] * wanted[i];
    }
    double error = std::sqrt(difference / norm), one = element == 32 ? 6e-8 : element == 17 ? 2e-3 : 2.5e-4;
    bool fine = error <= one * roundings && got.size() == wanted.size();
    printf("ELEMENT %d  %-60s %.1e of %.1e %s\n", element, what.c_str(), error, one * roundings, fine ? "" : "FAILED");
    failures += !fine;
}

CudaResult launch(const char *name, unsigned x, unsigned y, unsigned threads, unsigned shared, std::vector<void *> parameters) {
    void *function;
    MUST(cuModuleGetFunction(&function, module_handle, name));
    return cuLaunchKernel(function, x, y, 1, threads, 1, 1, shared, stream, parameters.data(), nullptr);
}

// Parameters are passed by address.
template <typename... T> void call(const char *name, unsigned x, unsigned y, unsigned threads, unsigned shared, T... values) {
    must(name, launch(name, x, y, threads, shared, {&values...}));
}

// Checks that a mistake ends the process with an error message on stderr.
void dies(const char *mistake, const std::function<void()> &work) {
    int ends[2], status;
    if (pipe(ends)) exit(1);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], 2);
        work();
        _exit(0);
    }
    close(ends[1]);
    char said[200] = {};
    ssize_t length = read(ends[0], said, sizeof said - 1);
    close(ends[0]);
    waitpid(child, &status, 0);
    bool fine = WIFSIGNALED(status) && length > 0 && strncmp(said, "emulated device: ", 17) == 0;
    printf("ELEMENT %d  %s: %s%s", element, mistake, fine ? said + 17 : "survived", fine ? "" : " FAILED\n");
    failures += !fine;
}

} // namespace

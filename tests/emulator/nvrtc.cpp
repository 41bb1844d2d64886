// A compiler that accepts one source: the kernels that the library was built with.

#include "device.h"

#include <cctype>
#include <cstdio>
#include <string>

using namespace emulated;

namespace emulated {

const char *const kernel_source =
#include "source.inc"
    ;

} // namespace emulated

namespace {

struct Program {
    std::string source, log, cubin;
};

// Removes white space.
std::string bare(const char *text) {
    std::string kept;
    for (; *text; text++) {
        if (!isspace((unsigned char)*text)) kept += *text;
    }
    return kept;
}

bool is_one_of(int value, std::initializer_list<int> values) {
    for (int one : values) {
        if (one == value) return true;
    }
    return false;
}

// Parses an option; returns false if it is unknown.
bool accept(const std::string &option, int &element, int &architecture) {
    int end = 0;
    const char *text = option.c_str();
    if (sscanf(text, "-DELEMENT=%d%n", &element, &end) == 1 && !text[end]) return true;
    if (sscanf(text, "--gpu-architecture=sm_%d%n", &architecture, &end) == 1 && !text[end]) {
        return is_one_of(architecture, {75, 80, 86, 87, 88, 89, 90, 100, 103, 110, 120, 121});
    }
    return option == "--std=c++17" || option == "-default-device";
}

NvrtcResult fail(Program &program, NvrtcResult result, const std::string &log) {
    program.log = log;
    return result;
}

} // namespace

// A version that no real compiler has.
NvrtcResult nvrtcVersion(int *major, int *minor) {
    *major = 0;
    *minor = 1;
    return NVRTC_SUCCESS;
}

const char *nvrtcGetErrorString(NvrtcResult result) {
    switch (result) {
    case NVRTC_SUCCESS: return "NVRTC_SUCCESS";
    case NVRTC_ERROR_INVALID_INPUT: return "NVRTC_ERROR_INVALID_INPUT";
    case NVRTC_ERROR_INVALID_PROGRAM: return "NVRTC_ERROR_INVALID_PROGRAM";
    case NVRTC_ERROR_INVALID_OPTION: return "NVRTC_ERROR_INVALID_OPTION";
    case NVRTC_ERROR_COMPILATION: return "NVRTC_ERROR_COMPILATION";
    }
    return "NVRTC_ERROR unknown";
}

NvrtcResult nvrtcCreateProgram(
    void **program, const char *source, const char *, int headers, const char *const *, const char *const *) {
    if (!program || !source || headers != 0) return NVRTC_ERROR_INVALID_INPUT;
    *program = new Program{source, "", ""};
    return NVRTC_SUCCESS;
}

NvrtcResult nvrtcDestroyProgram(void **program) {
    if (!program || !*program) return NVRTC_ERROR_INVALID_PROGRAM;
    delete (Program *)*program;
    *program = nullptr;
    return NVRTC_SUCCESS;
}

NvrtcResult nvrtcCompileProgram(void *handle, int count, const char *const *options) {
    if (!handle) return NVRTC_ERROR_INVALID_PROGRAM;
    Program &program = *(Program *)handle;
    int element = 0, architecture = 0;
    for (int i = 0; i < count; i++) {
        if (!accept(options[i], element, architecture)) {
            return fail(program, NVRTC_ERROR_INVALID_OPTION, std::string("emulated compiler: no such option: ") + options[i]);
        }
    }
    if (!kernels(element) || architecture == 0) {
        return fail(program, NVRTC_ERROR_COMPILATION, "emulated compiler: -DELEMENT=16|17|32 and --gpu-architecture are needed");
    }
    if (bare(program.source.c_str()) != bare(kernel_source)) {
        return fail(program, NVRTC_ERROR_COMPILATION, "emulated compiler: not the source that it was built with: build it anew");
    }
    char cubin[128];
    snprintf(cubin, sizeof cubin, CUBIN_FORMAT, architecture, element, (unsigned long long)hash(kernel_source));
    program.cubin = cubin;
    return NVRTC_SUCCESS;
}

// The sizes of logs and compiled programs include the terminating zero.
NvrtcResult nvrtcGetProgramLogSize(void *program, size_t *bytes) {
    if (!program) return NVRTC_ERROR_INVALID_PROGRAM;
    *bytes = ((Program *)program)->log.size() + 1;
    return NVRTC_SUCCESS;
}

NvrtcResult nvrtcGetProgramLog(void *program, char *log) {
    if (!program) return NVRTC_ERROR_INVALID_PROGRAM;
    strcpy(log, ((Program *)program)->log.c_str());
    return NVRTC_SUCCESS;
}

NvrtcResult nvrtcGetCUBINSize(void *program, size_t *bytes) {
    if (!program || ((Program *)program)->cubin.empty()) return NVRTC_ERROR_INVALID_PROGRAM;
    *bytes = ((Program *)program)->cubin.size() + 1;
    return NVRTC_SUCCESS;
}

NvrtcResult nvrtcGetCUBIN(void *program, char *cubin) {
    if (!program || ((Program *)program)->cubin.empty()) return NVRTC_ERROR_INVALID_PROGRAM;
    strcpy(cubin, ((Program *)program)->cubin.c_str());
    return NVRTC_SUCCESS;
}

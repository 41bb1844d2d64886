// The threads of the emulated device. A host core runs one block at a time; the block's threads are fibers, each with its own
// stack, that switch at barriers. Odd blocks run their threads in reverse order, so that a missing barrier shows in one of the
// two orders.

#include "device.h"

#include <csetjmp>
#include <csignal>
#include <cstdio>
#include <mutex>
#include <vector>

#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

namespace emulated {

thread_local constinit Dim threadIdx = {}, blockIdx = {}, blockDim = {}, gridDim = {};

namespace {

constexpr size_t STACK = 64 << 10, GUARD = 4096;
constexpr unsigned WARP = 32;

thread_local constinit const char *running = nullptr; // the kernel that this core runs, if any

enum State { READY, AT_BLOCK, AT_WARP, ENDED };

struct Fiber {
    State state;
    bool begun = false;
    jmp_buf here;
};

// The fibers of one core.
struct Crew {
    std::vector<Fiber> fibers;
    std::vector<char *> stacks;
    jmp_buf scheduler;
    unsigned current;
    const std::function<void()> *body;

    ~Crew() {
        for (char *stack : stacks) munmap(stack, STACK + GUARD);
    }

    void grow(size_t count) {
        if (count > fibers.size()) fibers.resize(count);
        while (stacks.size() < count) {
            void *stack = mmap(nullptr, STACK + GUARD, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
            if (stack == MAP_FAILED) stop("no memory for the stack of a thread");
            mprotect(stack, GUARD, PROT_NONE);
            stacks.push_back((char *)stack);
        }
    }

    // The main function of a fiber: runs the kernel once per block.
    static void live();

    void begin(Fiber &fiber) {
        fiber.begun = true;
        ucontext_t context;
        getcontext(&context);
        context.uc_stack.ss_sp = stacks[current] + GUARD;
        context.uc_stack.ss_size = STACK;
        makecontext(&context, live, 0);
        setcontext(&context);
    }

    void resume(unsigned thread) {
        current = thread;
        threadIdx = {thread % blockDim.x, thread / blockDim.x % blockDim.y, thread / blockDim.x / blockDim.y};
        if (_setjmp(scheduler)) return;
        Fiber &fiber = fibers[current];
        if (fiber.begun) _longjmp(fiber.here, 1);
        begin(fiber);
    }

    void wait(State state) {
        Fiber &fiber = fibers[current];
        fiber.state = state;
        if (!_setjmp(fiber.here)) _longjmp(scheduler, 1);
    }

    // Runs the threads of a warp until each waits for the block or has ended. Returns whether any has not ended.
    bool work_on_warp(unsigned warp, unsigned threads, bool backwards) {
        unsigned first = warp * WARP, count = std::min(WARP, threads - first);
        for (bool any = true; any;) {
            any = false;
            for (unsigned i = 0; i < count; i++) {
                unsigned thread = first + (backwards ? count - 1 - i : i);
                if (fibers[thread].state != READY) continue;
                resume(thread);
                any = true;
            }
        }
        bool left = false;
        for (unsigned i = first; i < first + count; i++) {
            if (fibers[i].state == AT_WARP) stop("%s: a part of a warp waits for the rest of it forever", running);
            left = left || fibers[i].state != ENDED;
        }
        return left;
    }

    void work_on_block(bool backwards) {
        unsigned threads = blockDim.x * blockDim.y * blockDim.z, warps = (threads + WARP - 1) / WARP;
        grow(threads);
        for (unsigned i = 0; i < threads; i++) fibers[i].state = READY;
        for (bool left = true; left;) {
            left = false;
            for (unsigned i = 0; i < warps; i++) {
                left = work_on_warp(backwards ? warps - 1 - i : i, threads, backwards) || left;
            }
            // Threads that have ended do not count.
            for (unsigned i = 0; i < threads; i++) {
                if (fibers[i].state == AT_BLOCK) fibers[i].state = READY;
            }
        }
    }
};

thread_local Crew crew;

void Crew::live() {
    for (;;) {
        (*crew.body)();
        crew.wait(ENDED);
    }
}

struct sigaction before;

void on_fault(int signal, siginfo_t *info, void *) {
    char text[160];
    int length = 0;
    if (running) {
        const char *format = "emulated device: %s touched %p, which is no memory of the device\n";
        length = snprintf(text, sizeof text, format, running, info->si_addr);
    } else if (info->si_code == SI_KERNEL) {
        length = snprintf(text, sizeof text, "emulated device: the host used what may be a pointer of the device\n");
    }
    if (write(2, text, length) == length) {}
    sigaction(signal, &before, nullptr); // repeats the access with the previous handler
}

} // namespace

void watch_faults() {
    static std::once_flag once;
    std::call_once(once, [] {
        struct sigaction action = {};
        action.sa_sigaction = on_fault;
        action.sa_flags = SA_SIGINFO | SA_ONSTACK;
        sigaction(SIGSEGV, &action, &before);
    });
}

void meet_block() {
    crew.wait(AT_BLOCK);
}

void meet_warp(const std::function<void()> &work) {
    unsigned first = crew.current / WARP * WARP;
    unsigned end = std::min(first + WARP, blockDim.x * blockDim.y * blockDim.z);
    for (unsigned i = first; i < end; i++) {
        if (i != crew.current && crew.fibers[i].state != AT_WARP) return crew.wait(AT_WARP);
    }
    work();
    for (unsigned i = first; i < end; i++) crew.fibers[i].state = READY;
}

void run(const Grid &grid, const char *kernel, char *(*shared)(), const std::function<void()> &body) {
    Dim blocks = grid.blocks;
    parallel((size_t)blocks.x * blocks.y * blocks.z, [&](size_t block) {
        gridDim = blocks;
        blockDim = grid.threads;
        blockIdx = {(unsigned)(block % blocks.x), (unsigned)(block / blocks.x % blocks.y), (unsigned)(block / blocks.x / blocks.y)};
        running = kernel;
        crew.body = &body;
        memset(shared(), 0xFF, grid.shared_bytes + BEHIND);
        crew.work_on_block(block % 2);
        for (size_t i = grid.shared_bytes; i < grid.shared_bytes + BEHIND; i++) {
            if (shared()[i] != '\xFF') stop("%s wrote behind its %zu bytes of shared memory", kernel, grid.shared_bytes);
        }
        running = nullptr;
    });
}

} // namespace emulated

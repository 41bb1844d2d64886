#include "device.h"

#include <condition_variable>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>

namespace emulated {

void stop(const char *format, ...) {
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    fprintf(stderr, "emulated device: %s\n", text);
    abort();
}

long setting(const char *name, long otherwise) {
    const char *text = getenv(name);
    if (!text || !*text) return otherwise;
    char *end;
    long value = strtol(text, &end, 10);
    if (*end || value < 0) stop("%s is a whole number, not '%s'", name, text);
    return value;
}

void log(const char *event, const char *detail) {
    const char *path = getenv("VAE_EMULATED_LOG");
    if (!path || !*path) return;
    static std::mutex lock;
    std::lock_guard held(lock);
    FILE *file = fopen(path, "a");
    if (!file) stop("cannot write %s", path);
    fprintf(file, "%s %s\n", event, detail);
    fclose(file);
}

uint64_t hash(const char *text) {
    uint64_t value = 0xcbf29ce484222325;
    for (; *text; text++) value = (value ^ (unsigned char)*text) * 0x100000001b3;
    return value;
}

namespace {

struct Job {
    const std::function<void(size_t)> &work;
    size_t count, next = 0, done = 0;
};

// Worker threads and their queue of jobs that have work items left. Never destroyed, because the threads run until the process ends.
struct Helpers {
    std::mutex lock;
    std::condition_variable more, finished;
    std::deque<Job *> jobs;

    Helpers() {
        unsigned cores = std::thread::hardware_concurrency();
        for (unsigned i = 1; i < cores; i++) {
            std::thread([this] {
                std::unique_lock held(lock);
                for (;;) {
                    more.wait(held, [this] { return !jobs.empty(); });
                    part(*jobs.front(), held);
                }
            }).detach();
        }
    }

    void part(Job &job, std::unique_lock<std::mutex> &held) {
        size_t mine = job.next++;
        if (job.next == job.count) std::erase(jobs, &job);
        held.unlock();
        job.work(mine);
        held.lock();
        if (++job.done == job.count) finished.notify_all();
    }
};

} // namespace

void parallel(size_t count, const std::function<void(size_t)> &work) {
    static Helpers &helpers = *new Helpers;
    Job job = {work, count};
    if (count == 0) return;
    std::unique_lock held(helpers.lock);
    helpers.jobs.push_back(&job);
    helpers.more.notify_all();
    while (job.next < job.count) helpers.part(job, held);
    helpers.finished.wait(held, [&] { return job.done == job.count; });
}

} // namespace emulated

// Device memory. An allocation is rounded up to 256 bytes, as on a real device, and ends at a page boundary, followed by an
// inaccessible page. The bytes before and after it in its own pages hold a pattern that is checked. All bits of new memory are
// ones, which is NaN in every precision.

#include "device.h"

#include <cstdlib>
#include <map>
#include <mutex>

#include <sys/mman.h>

using namespace emulated;

namespace {

constexpr uint64_t TAG = 1ull << 62; // no address of a program has this bit
constexpr size_t PAGE = 4096, ALIGNMENT = 256;
constexpr unsigned char PATTERN = 0xA5;

struct Allocation {
    char *map;
    size_t map_bytes, bytes;
    int device;
    bool pooled;
};

struct Pool {
    size_t used, high;
};

std::mutex lock;
std::map<uintptr_t, Allocation> allocations; // by first address
size_t used[16];                             // per device
Pool pools[16];

size_t total() {
    return (size_t)setting("VAE_EMULATED_MEMORY", 4096) << 20;
}

size_t round_up(size_t bytes, size_t to) {
    return (bytes + to - 1) / to * to;
}

// Finds the allocation that contains an address, or returns end().
std::map<uintptr_t, Allocation>::iterator around(uintptr_t address) {
    auto next = allocations.upper_bound(address);
    if (next == allocations.begin()) return allocations.end();
    auto found = std::prev(next);
    return address < found->first + found->second.bytes ? found : allocations.end();
}

void check(uintptr_t first, const Allocation &allocation, const char *user) {
    const char *begin = (const char *)first, *end = begin + allocation.bytes;
    const char *last = allocation.map + allocation.map_bytes - PAGE;
    auto broken = [](const char *from, const char *to) {
        while (from < to && (unsigned char)*from == PATTERN) from++;
        return from < to;
    };
    if (broken(allocation.map, begin)) stop("%s: something wrote before an allocation of %zu bytes", user, allocation.bytes);
    if (broken(end, last)) stop("%s: something wrote behind an allocation of %zu bytes", user, allocation.bytes);
}

CudaResult allocate(DevicePointer *pointer, size_t bytes, bool pooled) {
    if (CudaResult found = state()) return found;
    int device = current_device();
    if (bytes == 0) return CUDA_ERROR_INVALID_VALUE;
    std::lock_guard held(lock);
    if (bytes > total() - used[device]) return CUDA_ERROR_OUT_OF_MEMORY;
    size_t inner = round_up(bytes, ALIGNMENT), pages = round_up(inner, PAGE);
    void *map = mmap(nullptr, pages + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (map == MAP_FAILED) return CUDA_ERROR_OUT_OF_MEMORY;
    mprotect((char *)map + pages, PAGE, PROT_NONE);
    char *first = (char *)map + pages - inner;
    memset(map, PATTERN, pages - inner);
    memset(first, 0xFF, bytes);
    memset(first + bytes, PATTERN, inner - bytes);
    allocations[(uintptr_t)first] = {(char *)map, pages + PAGE, bytes, device, pooled};
    used[device] += bytes;
    if (pooled) {
        Pool &pool = pools[device];
        pool.used += bytes;
        pool.high = std::max(pool.high, pool.used);
    }
    *pointer = (uintptr_t)first | TAG;
    return CUDA_SUCCESS;
}

CudaResult release(DevicePointer pointer, const char *user) {
    if (CudaResult found = state()) return found;
    if (pointer == 0) return CUDA_SUCCESS;
    std::lock_guard held(lock);
    auto found = allocations.find(pointer & ~TAG);
    if (!(pointer & TAG) || found == allocations.end()) stop("%s of what is not allocated (any more)", user);
    const Allocation &allocation = found->second;
    check(found->first, allocation, user);
    used[allocation.device] -= allocation.bytes;
    if (allocation.pooled) pools[allocation.device].used -= allocation.bytes;
    munmap(allocation.map, allocation.map_bytes);
    allocations.erase(found);
    return CUDA_SUCCESS;
}

CudaResult copy(void *to, const void *from, size_t bytes) {
    if (CudaResult found = state()) return found;
    memmove(to, from, bytes);
    return CUDA_SUCCESS;
}

// Copies and fills of zero bytes do nothing, even with invalid pointers.
CudaResult host_to_device(DevicePointer to, const void *from, size_t bytes) {
    if (bytes == 0) return CUDA_SUCCESS;
    if ((uintptr_t)from & TAG) stop("a copy from the host is given a pointer of the device");
    return copy(on_host(to, bytes, "a copy to the device"), from, bytes);
}

CudaResult device_to_host(void *to, DevicePointer from, size_t bytes) {
    if (bytes == 0) return CUDA_SUCCESS;
    log("copy to the host");
    if ((uintptr_t)to & TAG) stop("a copy to the host is given a pointer of the device");
    return copy(to, on_host(from, bytes, "a copy from the device"), bytes);
}

CudaResult device_to_device(DevicePointer to, DevicePointer from, size_t bytes) {
    if (bytes == 0) return CUDA_SUCCESS;
    const char *user = "a copy on the device";
    return copy(on_host(to, bytes, user), on_host(from, bytes, user), bytes);
}

CudaResult fill(DevicePointer to, unsigned char value, size_t bytes) {
    if (CudaResult found = state()) return found;
    if (bytes > 0) memset(on_host(to, bytes, "a fill"), value, bytes);
    return CUDA_SUCCESS;
}

CudaResult with(void *stream, const std::function<CudaResult()> &work) {
    return is_stream(stream) ? work() : CUDA_ERROR_INVALID_HANDLE;
}

// Returns the counter behind a pool's attribute.
size_t *attribute_of(void *pool, int attribute) {
    switch (attribute) {
    case 5: // RESERVED_MEM_CURRENT: the pool reserves nothing beyond the used memory
    case 7: // USED_MEM_CURRENT
        return &((Pool *)pool)->used;
    case 6: // RESERVED_MEM_HIGH
    case 8: // USED_MEM_HIGH
        return &((Pool *)pool)->high;
    }
    return nullptr;
}

} // namespace

namespace emulated {

void *on_host(DevicePointer pointer, size_t bytes, const char *user) {
    std::lock_guard held(lock);
    uintptr_t address = pointer & ~TAG;
    if (!(pointer & TAG)) stop("%s is given %#llx, which is no pointer of the device", user, (unsigned long long)pointer);
    auto found = around(address);
    if (found == allocations.end()) stop("%s is given a pointer to what is not allocated (any more)", user);
    size_t left = found->first + found->second.bytes - address;
    if (bytes > left) stop("%s needs %zu bytes, and %zu are left of an allocation of %zu", user, bytes, left, found->second.bytes);
    return (void *)address;
}

void check_bounds(DevicePointer pointer, const char *user) {
    std::lock_guard held(lock);
    auto found = around(pointer & ~TAG);
    if (found != allocations.end()) check(found->first, found->second, user);
}

} // namespace emulated

CudaResult cuDeviceTotalMem_v2(size_t *bytes, int) {
    *bytes = total();
    return CUDA_SUCCESS;
}

CudaResult cuMemGetInfo_v2(size_t *free, size_t *all) {
    int device = current_device();
    if (device < 0) return CUDA_ERROR_INVALID_CONTEXT;
    std::lock_guard held(lock);
    *all = total();
    *free = *all - used[device];
    return CUDA_SUCCESS;
}

CudaResult cuMemAlloc_v2(DevicePointer *pointer, size_t bytes) {
    return allocate(pointer, bytes, false);
}

CudaResult cuMemFree_v2(DevicePointer pointer) {
    return release(pointer, "cuMemFree");
}

CudaResult cuMemAllocAsync(DevicePointer *pointer, size_t bytes, void *stream) {
    return with(stream, [=] { return allocate(pointer, bytes, true); });
}

CudaResult cuMemFreeAsync(DevicePointer pointer, void *stream) {
    return with(stream, [=] { return release(pointer, "cuMemFreeAsync"); });
}

CudaResult cuMemHostAlloc(void **pointer, size_t bytes, unsigned) {
    if (current_device() < 0) return CUDA_ERROR_INVALID_CONTEXT;
    *pointer = malloc(bytes);
    return *pointer ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CudaResult cuMemFreeHost(void *pointer) {
    free(pointer);
    return CUDA_SUCCESS;
}

CudaResult cuMemsetD8_v2(DevicePointer to, unsigned char value, size_t bytes) {
    return fill(to, value, bytes);
}

CudaResult cuMemsetD8Async(DevicePointer to, unsigned char value, size_t bytes, void *stream) {
    return with(stream, [=] { return fill(to, value, bytes); });
}

CudaResult cuMemcpyHtoD_v2(DevicePointer to, const void *from, size_t bytes) {
    return host_to_device(to, from, bytes);
}

CudaResult cuMemcpyHtoDAsync_v2(DevicePointer to, const void *from, size_t bytes, void *stream) {
    return with(stream, [=] { return host_to_device(to, from, bytes); });
}

CudaResult cuMemcpyDtoH_v2(void *to, DevicePointer from, size_t bytes) {
    return device_to_host(to, from, bytes);
}

CudaResult cuMemcpyDtoHAsync_v2(void *to, DevicePointer from, size_t bytes, void *stream) {
    return with(stream, [=] { return device_to_host(to, from, bytes); });
}

CudaResult cuMemcpyDtoD_v2(DevicePointer to, DevicePointer from, size_t bytes) {
    return device_to_device(to, from, bytes);
}

CudaResult cuMemcpyDtoDAsync_v2(DevicePointer to, DevicePointer from, size_t bytes, void *stream) {
    return with(stream, [=] { return device_to_device(to, from, bytes); });
}

// Every device has only its default pool. It frees unused memory at once, whatever the release threshold.
CudaResult cuDeviceGetDefaultMemPool(void **pool, int device) {
    if (device < 0 || device >= 16) return CUDA_ERROR_INVALID_DEVICE;
    *pool = &pools[device];
    return CUDA_SUCCESS;
}

CudaResult cuDeviceGetMemPool(void **pool, int device) {
    return cuDeviceGetDefaultMemPool(pool, device);
}

CudaResult cuMemPoolGetAttribute(void *pool, int attribute, void *value) {
    std::lock_guard held(lock);
    size_t *kept = attribute_of(pool, attribute);
    if (!kept) return CUDA_ERROR_INVALID_VALUE;
    *(uint64_t *)value = *kept;
    return CUDA_SUCCESS;
}

CudaResult cuMemPoolSetAttribute(void *pool, int attribute, void *value) {
    std::lock_guard held(lock);
    if (attribute == 4) return CUDA_SUCCESS; // RELEASE_THRESHOLD
    if ((attribute != 6 && attribute != 8) || *(uint64_t *)value != 0) return CUDA_ERROR_INVALID_VALUE;
    *attribute_of(pool, attribute) = ((Pool *)pool)->used; // resets the high-water mark
    return CUDA_SUCCESS;
}

CudaResult cuMemPoolTrimTo(void *, size_t) {
    return CUDA_SUCCESS;
}

// Fake CUDA driver: the functions of the CUDA driver API that `device::cuda` calls, on host memory.
// Its GPUs are fake GPUs. It is only for tests and never part of the product.
//
// Built with the kernels into a libcuda.so.1 (see `build`), it lets the real, unchanged program
// find GPUs on any host. Streams are threads, so queued work completes later, as on a GPU. To
// reveal defects, a copy outside of a live allocation or of pinned memory makes the GPU fail with
// CUDA_ERROR_ILLEGAL_ADDRESS; an allocation ends before an inaccessible page, and is filled with
// NaNs if it has at most 16 MiB.
//
//   FAKE_GPUS=64MiB,64MiB@7.5      memory of each GPU (default: one of 1GiB), and its compute
//                                  capability (default: 8.0)
//   FAKE_GPU_DELAY_US=50           delay before each piece of queued work
//   FAKE_GPU_THREADS=4             system threads that run kernels (default: all cores, at most 16)
//   FAKE_GPU_ORDER=reversed        order of threads and blocks (see emulator.hpp)
//   FAKE_GPU_FAULT=CALL:N:KIND,... fault injected into the N-th call of a function:
//       oom        fails with CUDA_ERROR_OUT_OF_MEMORY
//       hang       never returns; a call that queues work returns, but the work never completes
//       lost       this and every later call for the GPU fails, as after it fell off the bus
//       illegal    the queued work accesses invalid memory
//       corrupt    the queued copy delivers wrong bytes
//       nodevice   fails with CUDA_ERROR_NO_DEVICE
//       olddriver  reports an old version, from this call on
//       nopeer     reports that GPUs have no peer access, from this call on
//       NUMBER     fails with this result code
#include "calls.hpp"

#include <dlfcn.h>
#include <sys/mman.h>

#include <atomic>

// Runs a kernel for all threads of all blocks (kernels.cpp).
extern "C" __attribute__((weak)) void emulate_launch(void (*kernel)(const void*), const unsigned grid[3], const unsigned block[3],
                                                     unsigned dynamic_shared_bytes, const void* args);

#define EXPORT extern "C" __attribute__((visibility("default")))

using namespace fake_driver;

EXPORT Result cuInit(unsigned flags) {
    started = true;
    BEGIN(nullptr, false);
    if (flags != 0) return INVALID_VALUE;
    return gpus().empty() ? NO_DEVICE : SUCCESS;
}

EXPORT Result cuDriverGetVersion(int* version) {
    *version = fault(__func__) == "olddriver" ? OLD_VERSION : VERSION;
    return SUCCESS;
}

EXPORT Result cuGetErrorName(Result code, const char** text) {
    for (const ResultText& result : RESULT_TEXTS) {
        if (result.code == code) return *text = result.name, SUCCESS;
    }
    return *text = nullptr, INVALID_VALUE;
}

EXPORT Result cuGetErrorString(Result code, const char** text) {
    for (const ResultText& result : RESULT_TEXTS) {
        if (result.code == code) return *text = result.meaning, SUCCESS;
    }
    return *text = nullptr, INVALID_VALUE;
}

// ---- devices ----

EXPORT Result cuDeviceGetCount(int* count) {
    BEGIN(nullptr, false);
    *count = static_cast<int>(gpus().size());
    return SUCCESS;
}

EXPORT Result cuDeviceGet(int* device, int ordinal) {
    BEGIN(nullptr, false);
    if (gpu_of(ordinal) == nullptr) return INVALID_DEVICE;
    *device = ordinal;
    return SUCCESS;
}

EXPORT Result cuDeviceGetName(char* name, int bytes, int device) {
    BEGIN(nullptr, false);
    if (gpu_of(device) == nullptr) return INVALID_DEVICE;
    std::snprintf(name, static_cast<std::size_t>(bytes), "Fake GPU");
    return SUCCESS;
}

EXPORT Result cuDeviceGetUuid_v2(unsigned char* uuid, int device) {
    BEGIN(nullptr, false);
    const FakeGpu* gpu = gpu_of(device);
    if (gpu == nullptr) return INVALID_DEVICE;
    std::memcpy(uuid, "virtual GPUs\0\0\0", 16);
    uuid[15] = static_cast<unsigned char>(gpu->index);
    return SUCCESS;
}

EXPORT Result cuDeviceGetPCIBusId(char* text, int bytes, int device) {
    BEGIN(nullptr, false);
    const FakeGpu* gpu = gpu_of(device);
    if (gpu == nullptr) return INVALID_DEVICE;
    std::snprintf(text, static_cast<std::size_t>(bytes), "FFFF:%02X:00.0", gpu->index);
    return SUCCESS;
}

EXPORT Result cuDeviceTotalMem_v2(std::size_t* bytes, int device) {
    BEGIN(nullptr, false);
    const FakeGpu* gpu = gpu_of(device);
    if (gpu == nullptr) return INVALID_DEVICE;
    *bytes = gpu->total;
    return SUCCESS;
}

EXPORT Result cuDeviceGetAttribute(int* value, unsigned attribute, int device) {
    BEGIN(nullptr, false);
    const FakeGpu* gpu = gpu_of(device);
    if (gpu == nullptr) return INVALID_DEVICE;
    switch (attribute) {
        case 16: *value = 4; return SUCCESS;  // multiprocessors
        case 75: *value = gpu->major; return SUCCESS;
        case 76: *value = gpu->minor; return SUCCESS;
        case 97: *value = SHARED_BYTES_MAX; return SUCCESS;
        default: return INVALID_VALUE;
    }
}

EXPORT Result cuDeviceCanAccessPeer(int* can, int device, int peer) {
    std::string kind;
    if (const Result result = begin(__func__, nullptr, false, &kind)) return result;
    if (gpu_of(device) == nullptr || gpu_of(peer) == nullptr) return INVALID_DEVICE;
    *can = device != peer && kind != "nopeer";
    return SUCCESS;
}

// ---- contexts ----

EXPORT Result cuDevicePrimaryCtxRetain(FakeGpu** context, int device) {
    FakeGpu* gpu = gpu_of(device);
    if (gpu == nullptr) return INVALID_DEVICE;
    BEGIN(gpu, false);
    const std::lock_guard lock(state);
    if (gpu->retained == 0) {
        if (gpu->used + CONTEXT_BYTES > gpu->total) return OUT_OF_MEMORY;
        gpu->used += CONTEXT_BYTES;
    }
    gpu->retained++;
    *context = gpu;
    return SUCCESS;
}

EXPORT Result cuDevicePrimaryCtxRelease_v2(int device) {
    FakeGpu* gpu = gpu_of(device);
    if (gpu == nullptr) return INVALID_DEVICE;
    BEGIN(gpu, false);
    const std::lock_guard lock(state);
    if (gpu->retained == 0) return INVALID_CONTEXT;
    if (--gpu->retained == 0) {
        if (!gpu->allocations.empty() || !gpu->streams.empty()) {
            std::fprintf(stderr, "fake CUDA driver: a context is released with %zu allocations and %zu streams alive\n",
                         gpu->allocations.size(), gpu->streams.size());
            std::abort();
        }
        gpu->used -= CONTEXT_BYTES;
        gpu->peers.clear();
    }
    return SUCCESS;
}

EXPORT Result cuCtxSetCurrent(FakeGpu* context) {
    BEGIN(context, false);
    if (context != nullptr && context->retained == 0) return INVALID_CONTEXT;
    current = context;
    return SUCCESS;
}

EXPORT Result cuCtxEnablePeerAccess(FakeGpu* peer, unsigned flags) {
    BEGIN(current, true);
    if (peer == nullptr || peer == current || flags != 0) return INVALID_VALUE;
    const std::lock_guard lock(state);
    return current->peers.insert(peer).second ? SUCCESS : PEER_ACCESS_ALREADY_ENABLED;
}

// ---- memory ----

EXPORT Result cuMemGetInfo_v2(std::size_t* free, std::size_t* total) {
    BEGIN(current, true);
    const std::lock_guard lock(state);
    *free = current->total - current->used;
    *total = current->total;
    return SUCCESS;
}

EXPORT Result cuMemAlloc_v2(std::uintptr_t* address, std::size_t bytes) {
    BEGIN(current, true);
    if (bytes == 0) return INVALID_VALUE;
    const std::size_t counted = round_up(bytes, GRANULE_BYTES), room = round_up(bytes, page_bytes());
    const std::lock_guard lock(state);
    if (counted > current->total - current->used) return OUT_OF_MEMORY;
    // The allocation ends at an inaccessible page, or up to 255 bytes before it, since its start is
    // aligned.
    const std::size_t mapped = room + page_bytes();
    void* mapping = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapping == MAP_FAILED) return OUT_OF_MEMORY;
    const auto start = reinterpret_cast<std::uintptr_t>(mapping);
    mprotect(reinterpret_cast<void*>(start + room), page_bytes(), PROT_NONE);
    *address = start + room - round_up(bytes, 256);
    if (bytes <= POISONED_BYTES) std::memset(reinterpret_cast<void*>(*address), 0xff, bytes);
    current->used += counted;
    current->allocations[*address] = {bytes, counted, mapping, mapped};
    return SUCCESS;
}

EXPORT Result cuMemFree_v2(std::uintptr_t address) {
    BEGIN(current, true);
    if (address == 0) return SUCCESS;
    // As on a GPU, freeing waits for all queued work.
    std::vector<FakeStream*> streams;
    {
        const std::lock_guard lock(state);
        streams.assign(current->streams.begin(), current->streams.end());
    }
    for (FakeStream* stream : streams) stream->drain();
    const std::lock_guard lock(state);
    const auto found = current->allocations.find(address);
    if (found == current->allocations.end()) return INVALID_VALUE;
    current->used -= found->second.counted;
    munmap(found->second.mapping, found->second.mapped);
    current->allocations.erase(found);
    return current->ended;
}

EXPORT Result cuMemHostAlloc(void** memory, std::size_t bytes, unsigned) {
    BEGIN(current, true);
    if (bytes == 0) return INVALID_VALUE;
    *memory = std::aligned_alloc(page_bytes(), round_up(bytes, page_bytes()));
    if (*memory == nullptr) return OUT_OF_MEMORY;
    std::memset(*memory, 0xff, bytes);
    const std::lock_guard lock(state);
    pinned[reinterpret_cast<std::uintptr_t>(*memory)] = bytes;
    return SUCCESS;
}

EXPORT Result cuMemFreeHost(void* memory) {
    BEGIN(current, true);
    const std::lock_guard lock(state);
    if (pinned.erase(reinterpret_cast<std::uintptr_t>(memory)) == 0) return INVALID_VALUE;
    std::free(memory);
    return SUCCESS;
}

EXPORT Result cuMemcpyHtoDAsync_v2(std::uintptr_t to, const void* from, std::size_t bytes, FakeStream* stream) {
    return copy(__func__, stream, {current, to, bytes}, host(from, bytes));
}

EXPORT Result cuMemcpyDtoHAsync_v2(void* to, std::uintptr_t from, std::size_t bytes, FakeStream* stream) {
    return copy(__func__, stream, host(to, bytes), {current, from, bytes});
}

EXPORT Result cuMemcpyDtoDAsync_v2(std::uintptr_t to, std::uintptr_t from, std::size_t bytes, FakeStream* stream) {
    return copy(__func__, stream, {current, to, bytes}, {current, from, bytes});
}

EXPORT Result cuMemcpyPeerAsync(std::uintptr_t to, FakeGpu* to_gpu, std::uintptr_t from, FakeGpu* from_gpu, std::size_t bytes, FakeStream* stream) {
    if (to_gpu == nullptr || from_gpu == nullptr) return INVALID_CONTEXT;
    return copy(__func__, stream, {to_gpu, to, bytes}, {from_gpu, from, bytes});
}

EXPORT Result cuMemsetD8Async(std::uintptr_t to, unsigned char value, std::size_t bytes, FakeStream* stream) {
    return queue(__func__, stream, {{current, to, bytes}}, [=] { std::memset(reinterpret_cast<void*>(to), value, bytes); });
}

// ---- streams and events ----

EXPORT Result cuStreamCreate(FakeStream** stream, unsigned) {
    BEGIN(current, true);
    *stream = new FakeStream(current);
    const std::lock_guard lock(state);
    current->streams.insert(*stream);
    return SUCCESS;
}

EXPORT Result cuStreamDestroy_v2(FakeStream* stream) {
    BEGIN(current, true);
    {
        const std::lock_guard lock(state);
        if (current->streams.erase(stream) == 0) return INVALID_HANDLE;
    }
    stream->destroy();
    return SUCCESS;
}

EXPORT Result cuStreamQuery(FakeStream* stream) {
    BEGIN(current, true);
    return stream->is_idle() ? ended(current) : NOT_READY;
}

EXPORT Result cuStreamWaitEvent(FakeStream* stream, SharedEvent* event, unsigned) {
    BEGIN(current, true);
    if (stream->gpu != current) return INVALID_HANDLE;
    const SharedEvent shared = *event;
    unsigned long number;
    {
        const std::lock_guard lock(shared->mutex);
        number = shared->recorded;
    }
    stream->push([=] { shared->await(number); });
    return SUCCESS;
}

EXPORT Result cuEventCreate(SharedEvent** event, unsigned) {
    BEGIN(current, true);
    *event = new SharedEvent(std::make_shared<FakeEvent>());
    return SUCCESS;
}

EXPORT Result cuEventDestroy_v2(SharedEvent* event) {
    BEGIN(current, true);
    delete event;
    return SUCCESS;
}

EXPORT Result cuEventRecord(SharedEvent* event, FakeStream* stream) {
    BEGIN(current, true);
    if (stream->gpu != current) return INVALID_HANDLE;
    const SharedEvent shared = *event;
    unsigned long number;
    {
        const std::lock_guard lock(shared->mutex);
        number = ++shared->recorded;
    }
    stream->push([=] { shared->finish(number); });
    return SUCCESS;
}

EXPORT Result cuEventQuery(SharedEvent* event) {
    BEGIN(current, true);
    {
        const std::lock_guard lock((*event)->mutex);
        if ((*event)->done < (*event)->recorded) return NOT_READY;
    }
    return ended(current);
}

// ---- kernels ----

namespace {

struct FakeFunction {
    void (*kernel)(const void*);
    // Size of the argument struct in bytes, from the PTX.
    std::size_t parameter_bytes;
    std::atomic<unsigned> shared_bytes{SHARED_BYTES_FREE};
};

struct FakeModule {
    std::string image;
    std::map<std::string, std::unique_ptr<FakeFunction>> functions;
};

// Handle of this library, to look up the kernels.
void* self() {
    static void* const handle = [] {
        Dl_info info;
        return dladdr(reinterpret_cast<void*>(&cuInit), &info) ? dlopen(info.dli_fname, RTLD_NOW | RTLD_NOLOAD) : nullptr;
    }();
    return handle;
}

// Whether a text starts like PTX: any comments, then .version.
bool is_ptx(const std::string& text) {
    std::size_t at = 0;
    while (at < text.size()) {
        const std::size_t end = std::min(text.find('\n', at), text.size());
        const std::size_t first = text.find_first_not_of(" \t\r", at);
        if (first < end && text.compare(first, 2, "//") != 0) return text.compare(first, 8, ".version") == 0;
        at = end + 1;
    }
    return false;
}

// Size in bytes of the only parameter of an entry point of the PTX; 0: there is no such entry
// point, or its parameter is not a struct.
std::size_t parameter_bytes(const std::string& image, const std::string& name) {
    const std::size_t entry = image.find(".entry " + name + "(");
    if (entry == std::string::npos) return 0;
    const std::string parameter = name + "_param_0[";
    const std::size_t at = image.find(parameter, entry);
    return at == std::string::npos ? 0 : std::strtoul(image.c_str() + at + parameter.size(), nullptr, 10);
}

}  // namespace

EXPORT Result cuModuleLoadDataEx(FakeModule** module, const char* image, unsigned count, const unsigned* options, void** values) {
    BEGIN(current, true);
    if (is_ptx(image)) {
        *module = new FakeModule{image, {}};
        return SUCCESS;
    }
    char* log = nullptr;
    std::size_t bytes = 0;
    for (unsigned i = 0; i < count; i++) {
        if (options[i] == 5) log = static_cast<char*>(values[i]);
        if (options[i] == 6) bytes = reinterpret_cast<std::uintptr_t>(values[i]);
    }
    if (log != nullptr) std::snprintf(log, bytes, "ptxas fatal: the image does not begin with .version (fake CUDA driver)\n");
    return INVALID_PTX;
}

EXPORT Result cuModuleUnload(FakeModule* module) {
    BEGIN(current, true);
    delete module;
    return SUCCESS;
}

EXPORT Result cuModuleGetFunction(FakeFunction** function, FakeModule* module, const char* name) {
    BEGIN(current, true);
    void* kernel = self() ? dlsym(self(), name) : nullptr;
    const std::size_t bytes = parameter_bytes(module->image, name);
    if (kernel == nullptr || bytes == 0) return NOT_FOUND;
    auto made = std::make_unique<FakeFunction>();
    made->kernel = reinterpret_cast<void (*)(const void*)>(kernel);
    made->parameter_bytes = bytes;
    *function = made.get();
    module->functions[name] = std::move(made);
    return SUCCESS;
}

EXPORT Result cuFuncSetAttribute(FakeFunction* function, unsigned attribute, int value) {
    BEGIN(current, true);
    if (attribute != 8 || value < 0 || value > static_cast<int>(SHARED_BYTES_MAX)) return INVALID_VALUE;
    function->shared_bytes = static_cast<unsigned>(value);
    return SUCCESS;
}

EXPORT Result cuLaunchKernel(FakeFunction* function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                             unsigned shared_bytes, FakeStream* stream, void** parameters, void** extra) {
    const bool sized = gx - 1u < 0x7fffffffu && gy - 1u < 65535u && gz - 1u < 65535u && bx - 1u < 1024u && by - 1u < 1024u &&
                       bz - 1u < 64u && bx * by * bz <= 1024u && shared_bytes <= function->shared_bytes.load();
    const char* args = nullptr;
    std::size_t bytes = 0;
    for (void** at = extra; at != nullptr && *at != nullptr; at += 2) {
        if (reinterpret_cast<std::uintptr_t>(at[0]) == 1) args = static_cast<const char*>(at[1]);
        if (reinterpret_cast<std::uintptr_t>(at[0]) == 2) bytes = *static_cast<std::size_t*>(at[1]);
    }
    if (!sized || parameters != nullptr || args == nullptr || bytes != function->parameter_bytes || bytes > PARAMETER_BYTES_MAX) {
        return INVALID_VALUE;
    }
    if (emulate_launch == nullptr) return NOT_SUPPORTED;
    const auto copied = std::shared_ptr<void>(std::aligned_alloc(64, round_up(bytes, 64)), std::free);
    std::memcpy(copied.get(), args, bytes);
    return queue(__func__, stream, {}, [=] {
        const unsigned grid[3] = {gx, gy, gz}, block[3] = {bx, by, bz};
        emulate_launch(function->kernel, grid, block, shared_bytes, copied.get());
    });
}

// Common parts of all driver calls: injected faults, lost GPUs, and queued work on checked ranges.
#pragma once

#include "faults.hpp"
#include "stream.hpp"

#include <cstring>

namespace fake_driver {

// Marks the GPU as lost: every later call fails with `result`. The caller must not hold `state`.
inline Result end_gpu(FakeGpu* gpu, Result result) {
    const std::lock_guard lock(state);
    if (gpu->ended == SUCCESS) gpu->ended = result;
    return gpu->ended;
}

// Result of calls for the GPU: SUCCESS, or the error with which the GPU was lost. The caller must
// not hold `state`.
inline Result ended(FakeGpu* gpu) {
    const std::lock_guard lock(state);
    return gpu->ended;
}

// Common start of every call: injects the call's fault and, for a call in a context (`gpu` is the
// GPU of the current context), checks that a context is current and that its GPU is not lost. With
// `kind`, stores the kind of the fault and leaves a hang to the caller.
inline Result begin(const char* call, FakeGpu* gpu, bool in_context, std::string* kind = nullptr) {
    if (!started) return NOT_INITIALIZED;
    if (in_context && gpu == nullptr) return INVALID_CONTEXT;
    if (gpu != nullptr) {
        if (const Result result = ended(gpu)) return result;
    }
    const std::string found = fault(call);
    if (kind != nullptr) *kind = found;
    if (found == "oom") return OUT_OF_MEMORY;
    if (found == "nodevice") return NO_DEVICE;
    if (found == "lost") return gpu ? end_gpu(gpu, UNKNOWN) : UNKNOWN;
    if (found == "hang" && kind == nullptr) hang();
    if (!found.empty() && found.find_first_not_of("0123456789") == std::string::npos) {
        return static_cast<Result>(std::atoi(found.c_str()));
    }
    return SUCCESS;
}

#define BEGIN(gpu, in_context)                                          \
    if (const Result result = begin(__func__, gpu, in_context)) return result

// Memory range of a copy or fill, checked when the operation is queued and again when it runs.
struct MemoryRange {
    FakeGpu* gpu;  // null: pinned memory
    std::uintptr_t address;
    std::size_t bytes;

    bool is_live() const { return gpu ? on_gpu(*gpu, address, bytes) : is_pinned(address, bytes); }
};

// Queues `work` that accesses only the given ranges.
inline Result queue(const char* call, FakeStream* stream, std::vector<MemoryRange> ranges, std::function<void()> work) {
    std::string kind;
    if (const Result result = begin(call, current, true, &kind)) return result;
    if (stream == nullptr || stream->gpu != current) return INVALID_HANDLE;
    FakeGpu* gpu = stream->gpu;
    const auto all_live = [ranges] {
        const std::lock_guard lock(state);
        for (const MemoryRange& range : ranges) {
            if (!range.is_live()) return false;
        }
        return true;
    };
    if (!all_live()) return end_gpu(gpu, ILLEGAL_ADDRESS);
    stream->push([=] {
        if (kind == "hang") hang();
        if (kind == "illegal" || !all_live()) {
            end_gpu(gpu, ILLEGAL_ADDRESS);
            return;
        }
        {
            const std::lock_guard lock(state);
            if (gpu->ended != SUCCESS) return;
        }
        work();
        if (kind == "corrupt" && !ranges.empty()) *reinterpret_cast<unsigned char*>(ranges[0].address + ranges[0].bytes / 2) ^= 0x10;
    });
    return SUCCESS;
}

inline Result copy(const char* call, FakeStream* stream, MemoryRange to, MemoryRange from) {
    return queue(call, stream, {to, from}, [=] {
        std::memmove(reinterpret_cast<void*>(to.address), reinterpret_cast<const void*>(from.address), to.bytes);
    });
}

inline MemoryRange host(const void* address, std::size_t bytes) { return {nullptr, reinterpret_cast<std::uintptr_t>(address), bytes}; }

}  // namespace fake_driver

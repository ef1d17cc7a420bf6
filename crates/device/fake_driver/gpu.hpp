// The fake GPUs: their memory, and which of them are visible.
#pragma once

#include "results.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

namespace fake_driver {

constexpr int VERSION = 12040, OLD_VERSION = 12020;
constexpr std::size_t CONTEXT_BYTES = 1 << 20, GRANULE_BYTES = 512, POISONED_BYTES = 16 << 20;
constexpr unsigned SHARED_BYTES_FREE = 48 << 10, SHARED_BYTES_MAX = 163 << 10, PARAMETER_BYTES_MAX = 4096;

inline std::size_t round_up(std::size_t size, std::size_t multiple) { return (size + multiple - 1) / multiple * multiple; }
inline std::size_t page_bytes() { return static_cast<std::size_t>(sysconf(_SC_PAGESIZE)); }

struct FakeStream;

struct FakeAllocation {
    std::size_t bytes, counted;
    void* mapping;
    std::size_t mapped;
};

// A GPU together with its primary context.
struct FakeGpu {
    int index;  // index among all GPUs, hidden ones included
    std::size_t total;
    int major, minor;
    std::size_t used = 0;
    unsigned retained = 0;
    Result ended = SUCCESS;  // result of every call once the GPU is lost
    std::map<std::uintptr_t, FakeAllocation> allocations;
    std::set<FakeStream*> streams;
    std::set<FakeGpu*> peers;
};

// Protects the state of all GPUs, except for the queues of streams, which have separate locks.
inline std::mutex& state = *new std::mutex;
inline auto& pinned = *new std::map<std::uintptr_t, std::size_t>;
inline bool started = false;
inline thread_local FakeGpu* current = nullptr;

inline std::size_t size_of_text(const std::string& text) {
    char* end = nullptr;
    const double number = std::strtod(text.c_str(), &end);
    const std::string unit = end;
    const double factor = unit == "GiB" ? 1 << 30 : unit == "MiB" ? 1 << 20 : unit == "KiB" ? 1 << 10 : unit.empty() ? 1 : 0;
    if (number * factor < 2 * CONTEXT_BYTES) {
        std::fprintf(stderr, "fake CUDA driver: FAKE_GPUS: expected sizes of at least 2MiB, such as 64MiB,1GiB, found %s\n", text.c_str());
        std::abort();
    }
    return static_cast<std::size_t>(number * factor);
}

inline std::string uuid_text(int index) {
    char text[64];
    std::snprintf(text, sizeof text, "GPU-76697274-7561-6c20-4750-5573000000%02x", index);
    return text;
}

inline std::vector<std::string> parts(const std::string& list) {
    std::vector<std::string> parts;
    for (std::size_t first = 0; first <= list.size();) {
        const std::size_t end = std::min(list.find(',', first), list.size());
        parts.push_back(list.substr(first, end - first));
        first = end + 1;
    }
    return parts;
}

// Visible GPUs in the order of CUDA_VISIBLE_DEVICES, up to its first entry that names no GPU.
inline const std::vector<FakeGpu*>& gpus() {
    static const std::vector<FakeGpu*>& shown = *[] {
        const char* requested = std::getenv("FAKE_GPUS");
        std::vector<FakeGpu*> all;
        for (const std::string& part : parts(requested ? requested : "1GiB")) {
            const std::size_t at = std::min(part.find('@'), part.size());
            auto* gpu = new FakeGpu{static_cast<int>(all.size()), size_of_text(part.substr(0, at)), 8, 0, 0, 0, SUCCESS, {}, {}, {}};
            if (at < part.size()) std::sscanf(part.c_str() + at, "@%d.%d", &gpu->major, &gpu->minor);
            all.push_back(gpu);
        }
        const char* visible = std::getenv("CUDA_VISIBLE_DEVICES");
        if (visible == nullptr) return new std::vector<FakeGpu*>(all);
        auto* shown = new std::vector<FakeGpu*>;
        for (const std::string& word : parts(visible)) {
            FakeGpu* named = nullptr;
            for (FakeGpu* gpu : all) {
                const bool by_uuid = word.rfind("GPU-", 0) == 0 && uuid_text(gpu->index).rfind(word, 0) == 0;
                if (by_uuid || word == std::to_string(gpu->index)) named = gpu;
            }
            if (named == nullptr) break;
            shown->push_back(named);
        }
        return shown;
    }();
    return shown;
}

inline FakeGpu* gpu_of(int device) {
    return device >= 0 && static_cast<std::size_t>(device) < gpus().size() ? gpus()[static_cast<std::size_t>(device)] : nullptr;
}

// Whether the bytes lie inside one live allocation of the GPU. The caller must hold `state`.
inline bool on_gpu(const FakeGpu& gpu, std::uintptr_t address, std::size_t bytes) {
    auto after = gpu.allocations.upper_bound(address);
    if (after == gpu.allocations.begin()) return false;
    const auto& [start, allocation] = *--after;
    return bytes <= allocation.bytes && address - start <= allocation.bytes - bytes;
}

// Whether the bytes lie inside one live pinned allocation. The caller must hold `state`.
inline bool is_pinned(std::uintptr_t address, std::size_t bytes) {
    auto after = pinned.upper_bound(address);
    if (after == pinned.begin()) return false;
    const auto& [start, size] = *--after;
    return bytes <= size && address - start <= size - bytes;
}

}  // namespace fake_driver

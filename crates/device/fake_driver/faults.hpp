// Injected faults: parses FAKE_GPU_FAULT and counts the calls of each function.
#pragma once

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <string>
#include <vector>

namespace fake_driver {

struct InjectedFault {
    std::string call, kind;
    unsigned at;
};

// The faults in FAKE_GPU_FAULT, parsed once.
inline const std::vector<InjectedFault>& faults() {
    static const std::vector<InjectedFault>& all = *[] {
        auto* faults = new std::vector<InjectedFault>;
        const char* requested = std::getenv("FAKE_GPU_FAULT");
        std::string text = requested ? requested : "";
        while (!text.empty()) {
            const std::string one = text.substr(0, text.find(','));
            text = one.size() < text.size() ? text.substr(one.size() + 1) : "";
            const std::size_t first = one.find(':'), second = one.find(':', first + 1);
            const int at = first == std::string::npos ? 0 : std::atoi(one.c_str() + first + 1);
            if (second == std::string::npos || at < 1) {
                std::fprintf(stderr, "fake CUDA driver: FAKE_GPU_FAULT: expected CALL:N:KIND, found %s\n", one.c_str());
                std::abort();
            }
            faults->push_back({one.substr(0, first), one.substr(second + 1), static_cast<unsigned>(at)});
        }
        return faults;
    }();
    return all;
}

// Kind of the fault injected into this call; empty: none. `lasting` faults also occur in all calls
// after the N-th.
inline std::string fault(const char* call) {
    static std::mutex& mutex = *new std::mutex;
    static auto& calls = *new std::map<std::string, unsigned>;
    if (faults().empty()) return "";
    const std::lock_guard lock(mutex);
    const unsigned count = ++calls[call];
    for (const InjectedFault& fault : faults()) {
        const bool lasting = fault.kind == "olddriver" || fault.kind == "nopeer";
        if (fault.call == call && (lasting ? count >= fault.at : count == fault.at)) return fault.kind;
    }
    return "";
}

[[noreturn]] inline void hang() {
    for (;;) pause();
}

}  // namespace fake_driver

// Kernel launches: runs all thread blocks of a grid on a few system threads.
#pragma once

#include "worker.hpp"

#include <condition_variable>
#include <mutex>
#include <thread>

namespace emulator {

// The system threads that run thread blocks. They live as long as the process.
class BlockScheduler {
public:
    static BlockScheduler& get() {
        static BlockScheduler& crew = *new BlockScheduler;
        return crew;
    }

    // Runs all blocks and returns when they are done. Concurrent launches run one after the other.
    void run(const KernelLaunch& launch) {
        const std::lock_guard one_at_a_time(launches);
        const unsigned long blocks = static_cast<unsigned long>(launch.grid.x) * launch.grid.y * launch.grid.z;
        {
            const std::lock_guard lock(mutex);
            work = &launch;
            next = 0;
            count = blocks;
            done = 0;
        }
        if (blocks >= 4) wake.notify_all();
        take_blocks();
        std::unique_lock lock(mutex);
        finished.wait(lock, [this] { return done == count; });
        work = nullptr;
    }

private:
    std::mutex launches, mutex;
    std::condition_variable wake, finished;
    const KernelLaunch* work = nullptr;
    unsigned long next = 0, count = 0, done = 0;

    BlockScheduler() {
        const char* requested = std::getenv("FAKE_GPU_THREADS");
        const unsigned threads = requested ? std::atoi(requested) : std::thread::hardware_concurrency();
        for (unsigned i = 1; i < threads && i < 16; i++) std::thread([this] { serve(); }).detach();
    }

    void serve() {
        for (;;) {
            {
                std::unique_lock lock(mutex);
                wake.wait(lock, [this] { return work != nullptr && next < count; });
            }
            take_blocks();
        }
    }

    void take_blocks() {
        for (;;) {
            const KernelLaunch* launch;
            unsigned long first, last;
            {
                const std::lock_guard lock(mutex);
                if (work == nullptr || next == count) return;
                launch = work;
                first = next;
                last = first + 1 + (count - first) / 64;
                next = last;
            }
            for (unsigned long i = first; i < last; i++) {
                const unsigned long block = launch->reversed ? count - 1 - i : i;
                const Index3 grid = launch->grid;
                worker().run_block(*launch, {static_cast<unsigned>(block % grid.x), static_cast<unsigned>(block / grid.x % grid.y),
                                             static_cast<unsigned>(block / grid.x / grid.y)});
            }
            const std::lock_guard lock(mutex);
            done += last - first;
            if (done == count) finished.notify_all();
        }
    }
};

}  // namespace emulator

// Streams and events. Each stream has a thread that executes the stream's queue in order.
#pragma once

#include "gpu.hpp"

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <thread>

namespace fake_driver {

struct FakeEvent {
    std::mutex mutex;
    std::condition_variable happened;
    unsigned long recorded = 0, done = 0;

    void finish(unsigned long number) {
        const std::lock_guard lock(mutex);
        done = std::max(done, number);
        happened.notify_all();
    }
    void await(unsigned long number) {
        std::unique_lock lock(mutex);
        happened.wait(lock, [&] { return done >= number; });
    }
};
using SharedEvent = std::shared_ptr<FakeEvent>;

struct FakeStream {
    explicit FakeStream(FakeGpu* gpu) : gpu(gpu) { std::thread([this] { work(); }).detach(); }

    FakeGpu* const gpu;

    void push(std::function<void()> work) {
        const std::lock_guard lock(mutex);
        queue.push_back(std::move(work));
        changed.notify_all();
    }
    bool is_idle() {
        const std::lock_guard lock(mutex);
        return queue.empty();
    }
    void drain() {
        std::unique_lock lock(mutex);
        changed.wait(lock, [this] { return queue.empty(); });
    }
    // Frees the stream once all queued work is done.
    void destroy() {
        push(nullptr);
    }

private:
    std::mutex mutex;
    std::condition_variable changed;
    // The front element is in execution until it is removed.
    std::deque<std::function<void()>> queue;

    void work() {
        const char* requested = std::getenv("FAKE_GPU_DELAY_US");
        const unsigned delay_us = requested ? static_cast<unsigned>(std::atoi(requested)) : 0;
        for (;;) {
            std::function<void()> next;
            {
                std::unique_lock lock(mutex);
                changed.wait(lock, [this] { return !queue.empty(); });
                next = queue.front();
            }
            if (next && delay_us > 0) usleep(delay_us);
            if (next) next();
            {
                const std::lock_guard lock(mutex);
                queue.pop_front();
                changed.notify_all();
            }
            if (!next) break;
        }
        delete this;
    }
};

}  // namespace fake_driver

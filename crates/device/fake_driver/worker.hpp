// Worker thread of the emulator: runs thread blocks; each thread of a block is a fiber, and the
// fibers take turns.
#pragma once

#include "fiber.hpp"

#include <cstring>
#include <memory>
#include <sys/mman.h>
#include <vector>

namespace emulator {

struct Index3 {
    unsigned x, y, z;
};

constexpr unsigned LANES = 32;

// Reports a defect of a kernel and aborts, where a GPU would trap or return garbage.
[[noreturn]] inline void fail(const char* what) {
    std::fprintf(stderr, "fake GPU: %s\n", what);
    std::fflush(stderr);
    std::abort();
}

// What a thread of a block waits for.
enum class WaitReason : unsigned char { NOTHING, BLOCK, WARP_SYNC, SHUFFLE, MATRIX, ENDED };

inline const char* name(WaitReason wait) {
    switch (wait) {
        case WaitReason::NOTHING: return "nothing";
        case WaitReason::BLOCK: return "__syncthreads";
        case WaitReason::WARP_SYNC: return "__syncwarp";
        case WaitReason::SHUFFLE: return "a shuffle";
        case WaitReason::MATRIX: return "a matrix multiplication";
        case WaitReason::ENDED: return "nothing: it ended";
    }
    return "?";
}

// A pending asynchronous copy from global to shared memory.
struct AsyncCopy {
    unsigned char bytes[16];
    void* to;
    unsigned group;
};

struct Fiber {
    FiberContext context;
    Index3 index{};
    unsigned number = 0;
    WaitReason wait = WaitReason::NOTHING;
    // Generation of the barrier at which the thread waits; the wait ends when it differs from
    // `began`.
    const unsigned long* generation = nullptr;
    unsigned long began = 0;
    std::vector<AsyncCopy> copies;
    unsigned copy_group = 0;

    bool can_run() const { return wait != WaitReason::ENDED && (wait == WaitReason::NOTHING || *generation != began); }
};

// A barrier at which threads wait for each other.
struct Barrier {
    unsigned long generation = 0;
    unsigned arrived = 0;
    WaitReason kind = WaitReason::NOTHING;
};

struct Warp {
    Barrier barrier;
    // Values exchanged between lanes, double-buffered: the first lane to continue may reach the
    // next exchange before the last lane has read its value.
    const void* given[2][LANES];
    std::uint32_t value[2][LANES];
};

struct KernelLaunch {
    void (*kernel)(const void*);
    const void* args;
    Index3 grid, block;
    unsigned dynamic_bytes;
    bool reversed;
};

// A system thread that runs thread blocks.
class Worker {
public:
    const KernelLaunch* launch = nullptr;
    Index3 block_index{};
    Fiber* current = nullptr;
    unsigned long block_number = 0;
    std::unique_ptr<unsigned char[]> dynamic;

    void run_block(const KernelLaunch& what, Index3 index) {
        launch = &what;
        block_index = index;
        block_number++;
        const unsigned count = what.block.x * what.block.y * what.block.z;
        make_room(count);
        dynamic.reset(what.dynamic_bytes ? new unsigned char[what.dynamic_bytes] : nullptr);
        if (what.dynamic_bytes) std::memset(dynamic.get(), 0xff, what.dynamic_bytes);
        barrier = Barrier{};
        warps.assign(count / LANES, Warp{});
        for (unsigned i = 0; i < count; i++) {
            Fiber& fiber = fibers[i];
            fiber.index = {i % what.block.x, i / what.block.x % what.block.y, i / (what.block.x * what.block.y)};
            fiber.number = i;
            fiber.wait = WaitReason::NOTHING;
            fiber.copies.clear();
            fiber.copy_group = 0;
            fiber.context.begin(stacks + i * STACK_BYTES, &fiber_main);
        }
        threads = count;
        ended = 0;
        current = &fibers[what.reversed ? count - 1 : 0];
        FiberContext::change(home, current->context, false);
    }

    // Waits until `needed` threads have reached `at`; the last one to arrive calls `last`.
    template <class Last> void meet(Barrier& at, WaitReason kind, unsigned needed, Last last) {
        if (at.arrived > 0 && at.kind != kind) {
            std::fprintf(stderr, "fake GPU: thread %u waits for %s, others of its warp for %s\n", current->number, name(kind),
                         name(at.kind));
            report();
        }
        at.kind = kind;
        if (++at.arrived == needed) {
            at.arrived = 0;
            last();
            at.generation++;
            return;
        }
        current->wait = kind;
        current->generation = &at.generation;
        current->began = at.generation;
        give_turn(false);
    }

    void sync_block() {
        meet(barrier, WaitReason::BLOCK, threads, [] {});
    }

    Warp& warp() { return warps[current->number / LANES]; }

    // Reports what each thread waits for, and aborts.
    [[noreturn]] void report() {
        std::fprintf(stderr, "fake GPU: block (%u, %u, %u) of (%u, %u, %u), %u threads: not every thread reaches a barrier\n",
                     block_index.x, block_index.y, block_index.z, launch->grid.x, launch->grid.y, launch->grid.z, threads);
        for (unsigned first = 0; first < threads;) {
            unsigned last = first;
            while (last + 1 < threads && fibers[last + 1].wait == fibers[first].wait) last++;
            std::fprintf(stderr, "  threads %u to %u wait for %s\n", first, last, name(fibers[first].wait));
            first = last + 1;
        }
        fail("threads of a block diverged");
    }

private:
    FiberContext home;
    Barrier barrier;
    std::vector<Warp> warps;
    std::vector<Fiber> fibers;
    unsigned char* stacks = nullptr;
    unsigned threads = 0, ended = 0;

    void make_room(unsigned count) {
        if (fibers.size() >= count) return;
        // The previous, smaller stacks are leaked: no fiber uses them between blocks, and a worker
        // lives as long as the process.
        void* memory = mmap(nullptr, count * STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED) fail("no memory for the stacks of a block");
        stacks = static_cast<unsigned char*>(memory);
        fibers.resize(count);
    }

    void give_turn(bool end) {
        Fiber* from = current;
        if (ended == threads) {
            FiberContext::change(from->context, home, end);
            return;
        }
        const unsigned step = launch->reversed ? threads - 1 : 1;
        unsigned next = from->number;
        for (unsigned tried = 0; tried < threads; tried++) {
            next += step;
            if (next >= threads) next -= threads;
            Fiber& fiber = fibers[next];
            if (!fiber.can_run()) continue;
            fiber.wait = WaitReason::NOTHING;
            current = &fiber;
            if (&fiber != from) FiberContext::change(from->context, fiber.context, end);
            return;
        }
        report();
    }

    static void fiber_main();
};

inline Worker& worker() {
    static thread_local Worker& mine = *new Worker;
    return mine;
}

inline void Worker::fiber_main() {
    Worker& self = worker();
    FiberContext::arrived(self.current->context);
    self.launch->kernel(self.launch->args);
    self.current->wait = WaitReason::ENDED;
    self.ended++;
    self.give_turn(true);
    fail("a finished thread continued");
}

}  // namespace emulator

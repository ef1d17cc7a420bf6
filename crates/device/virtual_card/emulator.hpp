// Runs CUDA kernels on the CPU: the same .cu sources, compiled as C++17. For tests; never part of the product.
//
// A thread of a block is a fiber. Fibers of a block take turns on one thread of the system and give up their turn where threads wait for
// each other: at __syncthreads, and at operations of a warp, which all 32 lanes must reach. Blocks run one after the other on each of a
// few threads of the system. What is checked: every barrier is reached by all threads that it waits for (else: who waits where, and the
// process ends), addresses are aligned, shared memory and registers of copies hold no luck: shared memory is NaNs when a block begins,
// and bytes that were copied asynchronously arrive at the wait and not before.
//
// VIRTUAL_CARD_ORDER=reversed runs threads and blocks from the last to the first: results that change show a missing barrier.
// VIRTUAL_CARD_THREADS sets the threads of the system.
//
// Not shown: how real hardware rounds inside of a matrix multiplication (here: one fused addition after another), races between
// blocks, and speed.
#pragma once

#include <cmath>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <sys/mman.h>
#include <thread>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif
#if !defined(__x86_64__) || defined(__SANITIZE_ADDRESS__)
#include <ucontext.h>
#endif

namespace emulator {

struct Index3 {
    unsigned x, y, z;
};

constexpr unsigned LANES = 32;

// Says why and ends the process: a defect of a kernel, as a card would trap or give nonsense.
[[noreturn]] inline void fail(const char* what) {
    std::fprintf(stderr, "virtual card: %s\n", what);
    std::fflush(stderr);
    std::abort();
}

// ---- fibers ---------------------------------------------------------------------------------------------------------------------

#if defined(__SANITIZE_ADDRESS__)
constexpr std::size_t STACK_BYTES = 256 << 10;
#else
constexpr std::size_t STACK_BYTES = 64 << 10;
#endif

#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__)

// Saves the callee-saved registers, puts the stack pointer into *from and continues at the stack `to`.
extern "C" void emulator_switch(void** from, void* to);
asm(R"(
    .text
    .p2align 4
    .local emulator_switch
    .type emulator_switch, @function
emulator_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size emulator_switch, . - emulator_switch
)");

struct Context {
    void* stack_pointer = nullptr;

    void begin(unsigned char* stack, void (*entry)()) {
        auto* top = reinterpret_cast<std::uintptr_t*>(stack + STACK_BYTES);
        *--top = 0;  // alignment: a function begins at 16 n + 8
        *--top = reinterpret_cast<std::uintptr_t>(entry);
        for (int saved = 0; saved < 6; saved++) *--top = 0;
        stack_pointer = top;
    }
    static void change(Context& from, Context& to, bool) { emulator_switch(&from.stack_pointer, to.stack_pointer); }
    static void arrived(Context&) {}
};

#else  // other machines, and under the address sanitizer, which must be told of every change of stacks

struct Context {
    ucontext_t place;
    [[maybe_unused]] void* fake_stack = nullptr;
    const void* stack = nullptr;
    std::size_t stack_bytes = STACK_BYTES;

    void begin(unsigned char* memory, void (*entry)()) {
        getcontext(&place);
        place.uc_stack.ss_sp = memory;
        place.uc_stack.ss_size = STACK_BYTES;
        place.uc_link = nullptr;
        stack = memory;
        makecontext(&place, entry, 0);
    }
    static void change(Context& from, Context& to, [[maybe_unused]] bool last) {
#if defined(__SANITIZE_ADDRESS__)
        if (from.stack == nullptr) from.find_own_stack();
        __sanitizer_start_switch_fiber(last ? nullptr : &from.fake_stack, to.stack, to.stack_bytes);
#endif
        swapcontext(&from.place, &to.place);
        arrived(from);
    }
    static void arrived([[maybe_unused]] Context& here) {
#if defined(__SANITIZE_ADDRESS__)
        __sanitizer_finish_switch_fiber(here.fake_stack, nullptr, nullptr);
#endif
    }
    // Where the system's own thread has its stack.
    void find_own_stack() {
        pthread_attr_t attributes;
        void* start = nullptr;
        pthread_getattr_np(pthread_self(), &attributes);
        pthread_attr_getstack(&attributes, &start, &stack_bytes);
        pthread_attr_destroy(&attributes);
        stack = start;
    }
};

#endif

// ---- blocks ---------------------------------------------------------------------------------------------------------------------

// What a thread may wait for.
enum class Wait : unsigned char { NOTHING, BLOCK, WARP_SYNC, SHUFFLE, MATRIX, ENDED };

inline const char* name(Wait wait) {
    switch (wait) {
        case Wait::NOTHING: return "nothing";
        case Wait::BLOCK: return "__syncthreads";
        case Wait::WARP_SYNC: return "__syncwarp";
        case Wait::SHUFFLE: return "a shuffle";
        case Wait::MATRIX: return "a matrix multiplication";
        case Wait::ENDED: return "nothing: it ended";
    }
    return "?";
}

// A copy on its way from global to shared memory.
struct Copy {
    unsigned char bytes[16];
    void* to;
    unsigned group;
};

struct Fiber {
    Context context;
    Index3 index{};
    unsigned number = 0;
    Wait wait = Wait::NOTHING;
    // The barrier's generation when the wait began: it is over when that has passed.
    const unsigned long* generation = nullptr;
    unsigned long began = 0;
    std::vector<Copy> copies;
    unsigned copy_group = 0;

    bool can_run() const { return wait != Wait::ENDED && (wait == Wait::NOTHING || *generation != began); }
};

// Threads that wait for each other.
struct Barrier {
    unsigned long generation = 0;
    unsigned arrived = 0;
    Wait kind = Wait::NOTHING;
};

struct Warp {
    Barrier barrier;
    // What lanes hand to each other, for two generations: the first to go on may arrive again before the last has read.
    const void* given[2][LANES];
    std::uint32_t value[2][LANES];
};

struct Launch {
    void (*kernel)(const void*);
    const void* args;
    Index3 grid, block;
    unsigned dynamic_bytes;
    bool reversed;
};

// A thread of the system, which runs blocks.
class Worker {
public:
    const Launch* launch = nullptr;
    Index3 block_index{};
    Fiber* current = nullptr;
    unsigned long block_number = 0;
    std::unique_ptr<unsigned char[]> dynamic;

    void run_block(const Launch& what, Index3 index) {
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
            fiber.wait = Wait::NOTHING;
            fiber.copies.clear();
            fiber.copy_group = 0;
            fiber.context.begin(stacks + i * STACK_BYTES, &fiber_main);
        }
        threads = count;
        ended = 0;
        current = &fibers[what.reversed ? count - 1 : 0];
        Context::change(home, current->context, false);
    }

    // Waits until `needed` threads have come to `at`; calls `last` on the thread that is the last.
    template <class Last> void meet(Barrier& at, Wait kind, unsigned needed, Last last) {
        if (at.arrived > 0 && at.kind != kind) {
            std::fprintf(stderr, "virtual card: thread %u waits for %s, others of its warp for %s\n", current->number, name(kind),
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
        meet(barrier, Wait::BLOCK, threads, [] {});
    }

    Warp& warp() { return warps[current->number / LANES]; }

    // Tells who waits where, and ends the process.
    [[noreturn]] void report() {
        std::fprintf(stderr, "virtual card: block (%u, %u, %u) of (%u, %u, %u), %u threads: not every thread comes to a barrier\n",
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
    Context home;
    Barrier barrier;
    std::vector<Warp> warps;
    std::vector<Fiber> fibers;
    unsigned char* stacks = nullptr;
    unsigned threads = 0, ended = 0;

    void make_room(unsigned count) {
        if (fibers.size() >= count) return;
        // Stacks of earlier blocks are not in use between blocks. They are never given back: a worker lives as long as the process.
        void* memory = mmap(nullptr, count * STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED) fail("no memory for the stacks of a block's threads");
        stacks = static_cast<unsigned char*>(memory);
        fibers.resize(count);
    }

    void give_turn(bool end) {
        Fiber* from = current;
        if (ended == threads) {
            Context::change(from->context, home, end);
            return;
        }
        const unsigned step = launch->reversed ? threads - 1 : 1;
        unsigned next = from->number;
        for (unsigned tried = 0; tried < threads; tried++) {
            next += step;
            if (next >= threads) next -= threads;
            Fiber& fiber = fibers[next];
            if (!fiber.can_run()) continue;
            fiber.wait = Wait::NOTHING;
            current = &fiber;
            if (&fiber != from) Context::change(from->context, fiber.context, end);
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
    Context::arrived(self.current->context);
    self.launch->kernel(self.launch->args);
    self.current->wait = Wait::ENDED;
    self.ended++;
    self.give_turn(true);
    fail("a thread that ended went on");
}

// ---- launches -------------------------------------------------------------------------------------------------------------------

// The threads of the system that run blocks. They live as long as the process.
class Crew {
public:
    static Crew& get() {
        static Crew& crew = *new Crew;
        return crew;
    }

    // Runs all blocks; returns when they are done. Launches of several callers follow each other.
    void run(const Launch& launch) {
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
    const Launch* work = nullptr;
    unsigned long next = 0, count = 0, done = 0;

    Crew() {
        const char* asked = std::getenv("VIRTUAL_CARD_THREADS");
        const unsigned threads = asked ? std::atoi(asked) : std::thread::hardware_concurrency();
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
            const Launch* launch;
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

// ---- what kernels use -----------------------------------------------------------------------------------------------------------

// Shared memory of the kernel's block. It holds NaNs when the block begins.
template <class T, int id> T& shared() {
    struct Holder {
        alignas(16) T value;
        unsigned long block_number;
    };
    static thread_local Holder& holder = *new Holder{};
    if (holder.block_number != worker().block_number) {
        holder.block_number = worker().block_number;
        std::memset(static_cast<void*>(&holder.value), 0xff, sizeof holder.value);
    }
    return holder.value;
}

template <class T> const T* aligned(const void* pointer) {
    if (reinterpret_cast<std::uintptr_t>(pointer) % alignof(T) != 0) fail("an address is not aligned to what is loaded there");
    return static_cast<const T*>(pointer);
}

// A value from every lane to every lane of a warp.
inline std::uint32_t exchange(std::uint32_t mine, unsigned from) {
    Worker& self = worker();
    Warp& warp = self.warp();
    const unsigned turn = warp.barrier.generation % 2, lane = self.current->number % LANES;
    warp.value[turn][lane] = mine;
    self.meet(warp.barrier, Wait::SHUFFLE, LANES, [] {});
    return warp.value[turn][from % LANES];
}

template <class T> T exchange_as(T mine, unsigned from) {
    static_assert(sizeof(T) == 4, "lanes exchange words");
    std::uint32_t word;
    std::memcpy(&word, &mine, 4);
    word = exchange(word, from);
    std::memcpy(&mine, &word, 4);
    return mine;
}

inline unsigned lane() { return worker().current->number % LANES; }

inline void sync_warp() {
    Worker& self = worker();
    self.meet(self.warp().barrier, Wait::WARP_SYNC, LANES, [] {});
}

// The operands of one lane in mma.sync.m16n8k16 with bf16 factors.
struct MatrixOperands {
    const std::uint32_t* a;  // [4]
    const std::uint32_t* b;  // [2]
    float* c;                // [4], the sums before and after
};

inline float from_bf16(std::uint32_t half) {
    const std::uint32_t bits = half << 16;
    float x;
    std::memcpy(&x, &bits, 4);
    return x;
}

// c += a b for a warp's fragments, laid out as the PTX manual has them.
inline void multiply(const void* const given[LANES]) {
    float a[16][16], b[16][8], c[16][8];
    const auto operands = [&](unsigned lane) { return static_cast<const MatrixOperands*>(given[lane]); };
    for (unsigned lane = 0; lane < LANES; lane++) {
        const unsigned group = lane / 4, place = lane % 4 * 2;
        const MatrixOperands* of = operands(lane);
        for (unsigned half = 0; half < 2; half++) {
            for (unsigned i = 0; i < 4; i++) {
                a[group + 8 * (i % 2)][place + half + 8 * (i / 2)] = from_bf16(of->a[i] >> 16 * half & 0xffff);
            }
            for (unsigned i = 0; i < 2; i++) b[place + half + 8 * i][group] = from_bf16(of->b[i] >> 16 * half & 0xffff);
            for (unsigned i = 0; i < 2; i++) c[group + 8 * i][place + half] = of->c[2 * i + half];
        }
    }
    for (unsigned row = 0; row < 16; row++) {
        for (unsigned k = 0; k < 16; k++) {
            for (unsigned column = 0; column < 8; column++) c[row][column] = std::fma(a[row][k], b[k][column], c[row][column]);
        }
    }
    for (unsigned lane = 0; lane < LANES; lane++) {
        const unsigned group = lane / 4, place = lane % 4 * 2;
        for (unsigned i = 0; i < 4; i++) operands(lane)->c[i] = c[group + 8 * (i / 2)][place + i % 2];
    }
}

inline void matrix_multiply(float c[4], const std::uint32_t a[4], const std::uint32_t b[2]) {
    Worker& self = worker();
    Warp& warp = self.warp();
    const MatrixOperands mine{a, b, c};
    const unsigned turn = warp.barrier.generation % 2;
    warp.given[turn][self.current->number % LANES] = &mine;
    self.meet(warp.barrier, Wait::MATRIX, LANES, [&] { multiply(warp.given[turn]); });
}

// Bytes are read now and stored at the wait: a kernel that reads too early finds what was there before.
inline void copy16_async(void* to, const void* from, bool there) {
    Fiber& self = *worker().current;
    if (reinterpret_cast<std::uintptr_t>(to) % 16 != 0 || (there && reinterpret_cast<std::uintptr_t>(from) % 16 != 0)) {
        fail("an asynchronous copy of 16 bytes is not aligned");
    }
    Copy copy{{}, to, self.copy_group};
    if (there) std::memcpy(copy.bytes, from, 16);
    self.copies.push_back(copy);
}

inline void copies_commit() { worker().current->copy_group++; }

inline void copies_wait(unsigned groups) {
    Fiber& self = *worker().current;
    std::size_t arrived = 0;
    for (; arrived < self.copies.size() && self.copies[arrived].group + groups < self.copy_group; arrived++) {
        std::memcpy(self.copies[arrived].to, self.copies[arrived].bytes, 16);
    }
    self.copies.erase(self.copies.begin(), self.copies.begin() + static_cast<std::ptrdiff_t>(arrived));
}

inline float f16_to_f32(std::uint16_t bits) {
    const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000) << 16, exponent = bits >> 10 & 31, fraction = bits & 1023;
    if (exponent == 0) {
        const float size = std::ldexp(static_cast<float>(fraction), -24);
        return sign ? -size : size;
    }
    const std::uint32_t word = sign | (exponent == 31 ? 0x7f800000u : (exponent + 112) << 23) | fraction << 13;
    float x;
    std::memcpy(&x, &word, 4);
    return x;
}

inline std::uint16_t f32_to_f16(float x) {
    std::uint32_t bits;
    std::memcpy(&bits, &x, 4);
    const auto sign = static_cast<std::uint16_t>(bits >> 16 & 0x8000);
    const float size = std::fabs(x);
    if (x != x) return 0x7fff;
    if (size >= 65520.0f) return sign | 0x7c00;
    if (size < 6.103515625e-5f) return sign | static_cast<std::uint16_t>(std::rint(size * 16777216.0f));
    bits &= 0x7fffffff;
    return sign | static_cast<std::uint16_t>((bits + 0xfff + (bits >> 13 & 1) - (112u << 23)) >> 13);
}

}  // namespace emulator

#define DEVICE static inline
#define DEVICE_MEMBER
#define UNROLL
#define UNROLL_BY(count)

#define threadIdx (emulator::worker().current->index)
#define blockIdx (emulator::worker().block_index)
#define blockDim (emulator::worker().launch->block)
#define gridDim (emulator::worker().launch->grid)

#define KERNEL(name, Args, threads, blocks)                                                                        \
    static void name##_body(const Args& args);                                                                     \
    extern "C" void name(const void* args) {                                                                       \
        if (blockDim.x != (threads) || blockDim.y != 1 || blockDim.z != 1) emulator::fail(#name ": wrong block"); \
        name##_body(*emulator::aligned<Args>(args));                                                               \
    }                                                                                                              \
    static void name##_body(const Args& args)

#define SHARED(type, name, extent)   \
    typedef type name##_type extent; \
    name##_type& name = emulator::shared<name##_type, __COUNTER__>()

inline void __syncthreads() { emulator::worker().sync_block(); }
inline void __syncwarp() { emulator::sync_warp(); }

template <class T> T __shfl_xor_sync(unsigned, T mine, unsigned far) { return emulator::exchange_as(mine, emulator::lane() ^ far); }
template <class T> T __shfl_sync(unsigned, T mine, unsigned from) { return emulator::exchange_as(mine, from); }

// Four bytes of the eight of two words, by the nibbles of `selector`.
inline unsigned __byte_perm(unsigned low, unsigned high, unsigned selector) {
    const std::uint64_t bytes = static_cast<std::uint64_t>(high) << 32 | low;
    unsigned word = 0;
    for (unsigned i = 0; i < 4; i++) word |= static_cast<unsigned>(bytes >> 8 * (selector >> 4 * i & 7) & 0xff) << 8 * i;
    return word;
}
inline unsigned __float_as_uint(float x) {
    unsigned bits;
    std::memcpy(&bits, &x, 4);
    return bits;
}
inline float __uint_as_float(unsigned bits) {
    float x;
    std::memcpy(&x, &bits, 4);
    return x;
}

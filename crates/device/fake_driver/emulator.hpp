// CUDA emulator: compiles the kernels' .cu sources as C++17 and runs them on the CPU. It is only
// for tests and never part of the product.
//
// A thread of a block is a fiber. The fibers of a block take turns on one system thread and yield
// where threads wait for each other: at __syncthreads and at warp-wide operations, which all 32
// lanes must reach. Blocks run on a few system threads. If a thread does not reach a barrier, the
// emulator reports which threads wait for what and aborts; it also aborts on misaligned accesses.
// To reveal missing synchronization, shared memory is filled with NaNs when a block starts, and
// asynchronous copies are stored at the wait, not earlier.
//
// FAKE_GPU_ORDER=reversed runs threads and blocks from last to first; a result that changes reveals
// a missing barrier. FAKE_GPU_THREADS sets the number of system threads.
//
// Not reproduced: the rounding inside a tensor-core multiplication (here one fused multiply-add
// after another), races between blocks, and speed.
#pragma once

#include "operations.hpp"

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
        if (blockDim.x != (threads) || blockDim.y != 1 || blockDim.z != 1) emulator::fail(#name ": wrong block size"); \
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

// Selects four of the eight bytes of two words by the nibbles of `selector`.
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

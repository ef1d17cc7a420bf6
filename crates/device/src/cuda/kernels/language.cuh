// The language of the kernels: CUDA, or C++17 on the fake GPU (see fake_driver/emulator.hpp).
//
// A kernel takes one struct by value, which crates/device/src/cuda/kernels.rs repeats field by field: pointers and 64-bit numbers
// first, then 32-bit ones, an even number of them. It is launched with as many threads a block as it is declared with. Sizes that can
// pass 2^31 are i64. Products and sums are written as such: the compiler contracts nothing (--fmad=false), fmaf is asked for.
#pragma once

using u8 = unsigned char;
using u16 = unsigned short;
using u32 = unsigned int;
using u64 = unsigned long long;
using i8 = signed char;
using i32 = int;
using i64 = long long;
using f32 = float;

#ifdef __CUDACC__

// A kernel of `threads` threads a block, at least `blocks` of which should fit a multiprocessor.
#define KERNEL(name, Args, threads, blocks) \
    extern "C" __global__ void __launch_bounds__(threads, blocks) name(const __grid_constant__ Args args)

// A function of the device.
#define DEVICE static __device__ __forceinline__
#define DEVICE_MEMBER __device__ __forceinline__

// Memory that a block's threads share: SHARED(f32, sums, [8][32]).
#define SHARED(type, name, extent) __shared__ __align__(16) type name extent

#define UNROLL _Pragma("unroll")
#define UNROLL_TEXT(text) _Pragma(#text)
#define UNROLL_BY(count) UNROLL_TEXT(unroll count)

#else
#include "../../../fake_driver/emulator.hpp"
#endif

// Threads of a warp; all of them take part in every warp-wide operation.
constexpr u32 WARP = 32;
constexpr u32 ALL_LANES = 0xffffffffu;

// Threads of the usual block, and its warps.
constexpr u32 THREADS = 256;
constexpr u32 WARPS = THREADS / WARP;

// 16 bytes, as one load brings them.
struct alignas(16) Words4 {
    u32 word[4];
};

// 8 bytes.
struct alignas(8) Words2 {
    u32 word[2];
};

DEVICE u32 lane_id() { return threadIdx.x % WARP; }
DEVICE u32 warp_id() { return threadIdx.x / WARP; }

// The first of this thread's elements, and the step to the next, where a grid of one dimension shares `count` of them.
DEVICE i64 grid_thread() { return i64(blockIdx.x) * blockDim.x + threadIdx.x; }
DEVICE i64 grid_threads() { return i64(gridDim.x) * blockDim.x; }

template <class T> DEVICE T least(T a, T b) { return a < b ? a : b; }
template <class T> DEVICE T most(T a, T b) { return a > b ? a : b; }
DEVICE i64 parts_of(i64 count, i64 part) { return (count + part - 1) / part; }

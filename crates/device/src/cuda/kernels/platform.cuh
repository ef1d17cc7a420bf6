// Portability layer of the kernels: CUDA, or C++17 in the fake CUDA driver
// (crates/device/fake_driver/emulator.hpp).
//
// A kernel takes one struct by value. crates/device/src/cuda/args.rs repeats it field by field
// under the same name: pointers and 64-bit fields first, then an even number of 32-bit fields. A
// kernel is launched with the number of threads per block that it declares. Sizes that can exceed
// 2^31 are i64. The compiler does not contract a * b + c (--fmad=false); kernels call fmaf
// explicitly.
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

// Declares a kernel with `threads` threads per block; registers are limited so that at least
// `blocks` blocks fit on a multiprocessor.
#define KERNEL(name, Args, threads, blocks) \
    extern "C" __global__ void __launch_bounds__(threads, blocks) name(const __grid_constant__ Args args)

// A device function.
#define DEVICE static __device__ __forceinline__
#define DEVICE_MEMBER __device__ __forceinline__

// Declares shared memory of a thread block, for example SHARED(f32, sums, [8][32]).
#define SHARED(type, name, extent) __shared__ __align__(16) type name extent

#define UNROLL _Pragma("unroll")
#define UNROLL_TEXT(text) _Pragma(#text)
#define UNROLL_BY(count) UNROLL_TEXT(unroll count)

#else
#include "../../../fake_driver/emulator.hpp"
#endif

// Number of threads of a warp; all of them take part in every warp-wide operation.
constexpr u32 WARP = 32;
constexpr u32 ALL_LANES = 0xffffffffu;

// Threads and warps per thread block of most kernels.
constexpr u32 THREADS = 256;
constexpr u32 WARPS = THREADS / WARP;

// 16 bytes, the size of the widest load.
struct alignas(16) Words4 {
    u32 word[4];
};

// 8 bytes.
struct alignas(8) Words2 {
    u32 word[2];
};

DEVICE u32 lane_id() { return threadIdx.x % WARP; }
DEVICE u32 warp_id() { return threadIdx.x / WARP; }

// Grid-stride loop over a one-dimensional grid: this thread's first element, and the stride.
DEVICE i64 grid_thread() { return i64(blockIdx.x) * blockDim.x + threadIdx.x; }
DEVICE i64 grid_threads() { return i64(gridDim.x) * blockDim.x; }

template <class T> DEVICE T min_of(T a, T b) { return a < b ? a : b; }
template <class T> DEVICE T max_of(T a, T b) { return a > b ? a : b; }
DEVICE i64 div_ceil(i64 count, i64 part) { return (count + part - 1) / part; }

// Device operations that C++ does not have: shared memory, shuffles, mma, asynchronous copies, f16
// conversion.
#pragma once

#include "worker.hpp"

#include <cmath>

namespace emulator {

// Shared memory of the current block, filled with NaNs when the block starts.
template <class T, int id> T& shared() {
    struct SharedMemory {
        alignas(16) T value;
        unsigned long block_number;
    };
    static thread_local SharedMemory& holder = *new SharedMemory{};
    if (holder.block_number != worker().block_number) {
        holder.block_number = worker().block_number;
        std::memset(static_cast<void*>(&holder.value), 0xff, sizeof holder.value);
    }
    return holder.value;
}

template <class T> const T* aligned(const void* pointer) {
    if (reinterpret_cast<std::uintptr_t>(pointer) % alignof(T) != 0) fail("an address is not aligned to the loaded type");
    return static_cast<const T*>(pointer);
}

// Gives `mine` to the other lanes of the warp and returns the value of lane `from`.
inline std::uint32_t exchange(std::uint32_t mine, unsigned from) {
    Worker& self = worker();
    Warp& warp = self.warp();
    const unsigned turn = warp.barrier.generation % 2, lane = self.current->number % LANES;
    warp.value[turn][lane] = mine;
    self.meet(warp.barrier, WaitReason::SHUFFLE, LANES, [] {});
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
    self.meet(self.warp().barrier, WaitReason::WARP_SYNC, LANES, [] {});
}

// Operands of one lane in mma.sync.m16n8k16 with bf16 factors.
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

// c += a * b for the matrix fragments of a warp, in the layout of the PTX ISA.
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
    self.meet(warp.barrier, WaitReason::MATRIX, LANES, [&] { multiply(warp.given[turn]); });
}

// Reads the bytes at the call and stores them at the wait, so that a kernel that reads shared
// memory too early gets the old bytes.
inline void copy16_async(void* to, const void* from, bool there) {
    Fiber& self = *worker().current;
    if (reinterpret_cast<std::uintptr_t>(to) % 16 != 0 || (there && reinterpret_cast<std::uintptr_t>(from) % 16 != 0)) {
        fail("an asynchronous copy of 16 bytes is not aligned");
    }
    AsyncCopy copy{{}, to, self.copy_group};
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

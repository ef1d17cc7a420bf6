// Tensor-core matrix multiplication: 16 rows by 8 columns over 32 of the summed dimension k, bf16
// factors, f32 sums (two mma.sync.m16n8k16 of the PTX ISA).
//
// The hardware expects each lane to hold certain pairs of adjacent k. Any numbering of k gives the
// same sum as long as both factors agree, so each lane holds the 8 adjacent k of one 16-byte load,
// from row lane / 4 and k = 8 * (lane % 4); pair i takes the position of pair i % 2 of step i / 2.
// No factor has to move between lanes. All kernels number k this way and so add in the same order.
#pragma once
#include "memory.cuh"

// Number of elements of k in one mma_32.
constexpr i32 MMA_K = 32;

// The sums of a tile that one lane holds: rows lane / 4 and lane / 4 + 8, columns 2 * (lane % 4)
// and the next; [row half * 2 + column half].
struct Accumulator {
    f32 value[4];
};

constexpr Accumulator ZERO_ACCUMULATOR{{0.0f, 0.0f, 0.0f, 0.0f}};

#ifdef __CUDACC__
DEVICE void mma_16(Accumulator& c, u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(c.value[0]), "+f"(c.value[1]), "+f"(c.value[2]), "+f"(c.value[3])
                 : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}
#else
DEVICE void mma_16(Accumulator& c, u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) {
    const u32 a[4] = {a0, a1, a2, a3}, b[2] = {b0, b1};
    emulator::matrix_multiply(c.value, a, b);
}
#endif

// sums += A B^T over 32 elements of k. `low` and `high` are this lane's 8 elements of rows lane / 4
// and lane / 4 + 8 of A, `b` those of row lane / 4 of B.
DEVICE void mma_32(Accumulator& sums, Words4 low, Words4 high, Words4 b) {
    mma_16(sums, low.word[0], high.word[0], low.word[1], high.word[1], b.word[0], b.word[1]);
    mma_16(sums, low.word[2], high.word[2], low.word[3], high.word[3], b.word[2], b.word[3]);
}

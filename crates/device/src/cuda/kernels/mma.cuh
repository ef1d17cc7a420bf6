// Products by the tensor cores: 16 rows times 8 columns over 32 of the summed dimension k, with bf16 factors and f32 sums.
//
// The hardware wants each lane to hold pairs of neighbors of k, in an order of its own. Since a sum does not care how k is numbered as
// long as both factors agree, each lane here holds the 8 neighbors that one load of 16 bytes brings, from row lane / 4 and k = 8 *
// (lane % 4), and pair i of them stands where the hardware expects pair i % 2 of step i / 2. No factor has to be moved between lanes.
// Every kernel numbers k in this way, so that they all add in the same order.
#pragma once
#include "memory.cuh"

// k that one product covers.
constexpr i32 MMA_K = 32;

// The sums of a tile that a lane holds: rows lane / 4 and 8 more, columns 2 * (lane % 4) and 1 more; [row half * 2 + column half].
struct Sums {
    f32 of[4];
};

constexpr Sums NO_SUMS{{0.0f, 0.0f, 0.0f, 0.0f}};

#ifdef __CUDACC__
DEVICE void mma_16(Sums& c, u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(c.of[0]), "+f"(c.of[1]), "+f"(c.of[2]), "+f"(c.of[3])
                 : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}
#else
DEVICE void mma_16(Sums& c, u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) {
    const u32 a[4] = {a0, a1, a2, a3}, b[2] = {b0, b1};
    emulator::matrix_multiply(c.of, a, b);
}
#endif

// sums += A B^T over 32 of k. `low` and `high` are this lane's 8 numbers of A's rows lane / 4 and lane / 4 + 8; `b` those of B's row
// lane / 4.
DEVICE void mma_32(Sums& sums, Words4 low, Words4 high, Words4 b) {
    mma_16(sums, low.word[0], high.word[0], low.word[1], high.word[1], b.word[0], b.word[1]);
    mma_16(sums, low.word[2], high.word[2], low.word[3], high.word[3], b.word[2], b.word[3]);
}

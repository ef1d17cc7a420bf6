// What a block of attention.cu keeps in shared memory, and numbers on their way to the tensor cores.
#pragma once
#include "attention.cuh"
#include "formats.cuh"
#include "mma.cuh"

// Rows of queries in shared memory are cut into runs of 32 numbers, which one product covers.
constexpr i32 RUN = MMA_K;
constexpr i32 TILE_RUNS = KEY_TILE / RUN;
static_assert(KEY_TILE == 16 * WARPS, "16 keys for each warp");
// Dimensions of a key that shared memory has room for, and of a slice of a value.
constexpr i32 MOST_KEY_DIM = 256;
constexpr i32 SLICE = 16 * i32(WARPS);

template <i32 rows> struct AttentionShared {
    u16 queries[MOST_KEY_DIM / RUN][rows][RUN];  // bf16; of codes too
    f32 query_scales[MOST_KEY_DIM / RUN][rows];  // int8 alone
    u32 weights[TILE_RUNS][rows][RUN];  // as two bf16s (see `upper` and `lower`), or f32 for int8
    f32 warp_max[WARPS][rows];
    f32 warp_sum[WARPS][rows];
    f32 max[rows], sum[rows];            // of the split so far
    f32 factor[rows];                    // of the values so far
    f32 total_max[rows], total_sum[rows];  // of earlier splits
    f32 merge_a[rows], merge_b[rows];
    i32 position[rows];  // -1: there is no such row
    i64 head_row[rows];

    // Weights of a run as bf16: the nearest, and what is left.
    DEVICE_MEMBER u16* upper(i32 run, i32 row) { return reinterpret_cast<u16*>(weights[run][0]) + row * RUN; }
    DEVICE_MEMBER u16* lower(i32 run, i32 row) { return reinterpret_cast<u16*>(weights[run][0]) + (rows + row) * RUN; }
};

// 8 codes as bf16: whole numbers up to 127 are exact. A code plus 128 as the last bits of 2^23 makes a number without a conversion.
DEVICE Words4 codes_to_bf16(Words2 codes) {
    constexpr u32 BASE = 0x4b000000;
    Words4 words;
    UNROLL for (i32 i = 0; i < 4; i++) {
        const u32 four = codes.word[i / 2] ^ 0x80808080u;
        const f32 first = __uint_as_float(__byte_perm(four, BASE, i % 2 ? 0x7542 : 0x7540)) - 8388736.0f;
        const f32 second = __uint_as_float(__byte_perm(four, BASE, i % 2 ? 0x7543 : 0x7541)) - 8388736.0f;
        words.word[i] = __byte_perm(__float_as_uint(first), __float_as_uint(second), 0x7632);
    }
    return words;
}

// 8 stored numbers from number `at` of `from`, as bf16.
template <bool int8> DEVICE Words4 load_stored(const u8* from, i64 at) {
    return int8 ? codes_to_bf16(load8(from + at)) : load_streamed(from + 2 * at);
}

// Ones for the first `count` of 8 halves.
DEVICE Words4 first_halves(i32 count) {
    Words4 ones;
    UNROLL for (i32 i = 0; i < 4; i++) ones.word[i] = 2 * i >= count ? 0 : 2 * i + 1 >= count ? 0xffff : 0xffffffff;
    return ones;
}

DEVICE Words4 both(Words4 a, Words4 b) {
    UNROLL for (i32 i = 0; i < 4; i++) a.word[i] &= b.word[i];
    return a;
}

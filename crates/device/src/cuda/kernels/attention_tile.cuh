// Shared memory of attention.cu, and conversion of cached keys and values to bf16 fragments.
#pragma once
#include "attention.cuh"
#include "formats.cuh"
#include "mma.cuh"

// Query rows in shared memory are divided into runs of 32 elements, the k of one mma_32.
constexpr i32 RUN = MMA_K;
constexpr i32 TILE_RUNS = KEY_TILE / RUN;
static_assert(KEY_TILE == 16 * WARPS, "16 keys for each warp");
// Largest key dimension that fits in shared memory, and number of dimensions of a value slice.
constexpr i32 KEY_DIM_MAX = 256;
constexpr i32 SLICE = 16 * i32(WARPS);

template <i32 rows> struct AttentionShared {
    u16 queries[KEY_DIM_MAX / RUN][rows][RUN];  // bf16, also for int8 codes
    f32 query_scales[KEY_DIM_MAX / RUN][rows];  // int8 only
    u32 weights[TILE_RUNS][rows][RUN];          // `upper` and `lower` bf16 factors, or f32 (int8)
    f32 warp_max[WARPS][rows];
    f32 warp_sum[WARPS][rows];
    f32 max[rows], sum[rows];              // of the current split
    f32 factor[rows];                      // rescales the values accumulated so far
    f32 total_max[rows], total_sum[rows];  // of all earlier splits
    f32 merge_a[rows], merge_b[rows];
    i32 position[rows];  // of each row's token; -1: no such row
    i64 head_row[rows];

    // Softmax weights of a run, rounded to bf16 (upper), and the remainders in bf16 (lower).
    DEVICE_MEMBER u16* upper(i32 run, i32 row) { return reinterpret_cast<u16*>(weights[run][0]) + row * RUN; }
    DEVICE_MEMBER u16* lower(i32 run, i32 row) { return reinterpret_cast<u16*>(weights[run][0]) + (rows + row) * RUN; }
};

// Converts 8 int8 codes to bf16, which represents them exactly. No conversion instruction is
// needed: code + 128 in the low mantissa bits of 2^23 is the f32 2^23 + 128 + code.
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

// Loads 8 cached elements, starting at element `at` of `from`, as bf16.
template <bool int8> DEVICE Words4 load_kv8(const u8* from, i64 at) {
    return int8 ? codes_to_bf16(load8(from + at)) : load_streamed(from + 2 * at);
}

// Bit mask that keeps the first `count` of eight 16-bit elements.
DEVICE Words4 mask_first_halves(i32 count) {
    Words4 ones;
    UNROLL for (i32 i = 0; i < 4; i++) ones.word[i] = 2 * i >= count ? 0 : 2 * i + 1 >= count ? 0xffff : 0xffffffff;
    return ones;
}

DEVICE Words4 bitwise_and(Words4 a, Words4 b) {
    UNROLL for (i32 i = 0; i < 4; i++) a.word[i] &= b.word[i];
    return a;
}

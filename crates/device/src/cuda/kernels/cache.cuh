// The paged cache of one layer.
//
// A block holds so many positions (a power of two) of all heads. Keys lie `[block][kv_head][token][key_dim]`: a key is a row, as products
// want their first factor. In bf16 and int8, values lie transposed, `[block][kv_head][value_dim][token]`: weighted sums over positions are
// products too, whose rows are dimensions. In f32 values lie as keys do. int8 has a bf16 scale for each 32 numbers of a key or value: keys'
// `[block][kv_head][token][key group]`, values' `[block][kv_head][value group][token]`.
#pragma once
#include "functions.cuh"
#include "memory.cuh"
#include "sums.cuh"

struct Cache {
    u8* keys;
    u8* values;
    u16* key_scales;    // int8 alone
    u16* value_scales;  // int8 alone
    i32 kv_heads;
    i32 key_dim;
    i32 value_dim;
    i32 block_shift;  // its tokens are 1 << block_shift

    DEVICE_MEMBER i32 block_tokens() const { return 1 << block_shift; }
};

// Numbers that share a scale.
constexpr i32 GROUP = 32;

DEVICE i32 groups_of(i32 dim) { return (dim + GROUP - 1) / GROUP; }

// Numbers before the keys of `head` in `block`.
DEVICE i64 keys_at(const Cache& cache, i64 block, i32 head) {
    return ((block * cache.kv_heads + head) << cache.block_shift) * cache.key_dim;
}

DEVICE i64 values_at(const Cache& cache, i64 block, i32 head) {
    return ((block * cache.kv_heads + head) << cache.block_shift) * cache.value_dim;
}

DEVICE i64 key_scales_at(const Cache& cache, i64 block, i32 head) {
    return ((block * cache.kv_heads + head) << cache.block_shift) * groups_of(cache.key_dim);
}

DEVICE i64 value_scales_at(const Cache& cache, i64 block, i32 head) {
    return ((block * cache.kv_heads + head) << cache.block_shift) * groups_of(cache.value_dim);
}

// How the numbers of a group become codes: x = scale * code, |code| <= 127. As crates/device/src/cpu/attention/cache.rs rounds them.
struct Codes {
    u16 scale;  // bf16; NaN where a number is not finite, and codes are 0 then
    f32 inverse;

    // `size` is the largest number of the group, without signs; `odd` 0 or, where one is not finite, NaN.
    DEVICE_MEMBER Codes(f32 size, f32 odd) {
        const f32 exact = size / 127.0f;
        scale = f32_to_bf16(exact);
        if (bf16_to_f32(scale) < exact) scale++;  // rounded up, so that the largest number has a code
        inverse = size == 0.0f ? 0.0f : 1.0f / bf16_to_f32(scale);
        if (odd == 0.0f) return;
        scale = 0x7fc0;
        inverse = 0.0f;
    }

    DEVICE_MEMBER i32 of(f32 x) const {
        const f32 scaled = x * inverse;  // an infinity gives NaN, and so 0
        const f32 above = scaled < -127.0f ? -127.0f : scaled;
        return to_whole(above > 127.0f ? 127.0f : above);
    }
};

// What a step asks of the cache: sequences, and the blocks they live in.
struct Span {
    i32 first_row;       // of its new tokens in q, k, v and out
    i32 tokens;          // new ones
    i32 first_position;  // of the first new token
    i32 first_block;     // of its blocks in the table of all
};

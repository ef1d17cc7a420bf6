// Paged KV cache of one layer (PagedAttention, Kwon et al. 2023): layout, int8 quantization.
//
// A KV block holds the keys and values of all heads for a number of positions that is a power of
// two. Keys are `[block][kv_head][token][key_dim]`, the row-major first factor of an mma. Values in
// bf16 and int8 are transposed, `[block][kv_head][value_dim][token]`, since the weighted sum over
// positions is an mma whose rows are dimensions. Values in f32 are laid out like keys. int8 has a
// bf16 scale per 32 elements: keys `[block][kv_head][token][key group]`, values
// `[block][kv_head][value group][token]`.
#pragma once
#include "math.cuh"
#include "memory.cuh"
#include "reduce.cuh"

struct KvCacheArgs {
    u8* keys;
    u8* values;
    u16* key_scales;    // int8 only
    u16* value_scales;  // int8 only
    i32 kv_heads;
    i32 key_dim;
    i32 value_dim;
    i32 block_shift;  // a block has 1 << block_shift tokens

    DEVICE_MEMBER i32 block_tokens() const { return 1 << block_shift; }
};

// Number of elements that share a scale.
constexpr i32 GROUP = 32;

DEVICE i32 groups_of(i32 dim) { return (dim + GROUP - 1) / GROUP; }

// Index of the first element of `head` in `block`, for each part of the cache.
DEVICE i64 keys_at(const KvCacheArgs& cache, i64 block, i32 head) {
    return ((block * cache.kv_heads + head) << cache.block_shift) * cache.key_dim;
}

DEVICE i64 values_at(const KvCacheArgs& cache, i64 block, i32 head) {
    return ((block * cache.kv_heads + head) << cache.block_shift) * cache.value_dim;
}

DEVICE i64 key_scales_at(const KvCacheArgs& cache, i64 block, i32 head) {
    return ((block * cache.kv_heads + head) << cache.block_shift) * groups_of(cache.key_dim);
}

DEVICE i64 value_scales_at(const KvCacheArgs& cache, i64 block, i32 head) {
    return ((block * cache.kv_heads + head) << cache.block_shift) * groups_of(cache.value_dim);
}

// Quantizer of one group: x is approximately scale * code, with |code| <= 127. Rounds as
// crates/device/src/cpu/attention/int8_group.rs does.
struct Int8Quantizer {
    u16 scale;  // bf16; NaN where an element is not finite, and then all codes are 0
    f32 inverse;

    // `largest` is the largest magnitude of the group; `nonfinite` is 0, or NaN where an element is
    // not finite.
    DEVICE_MEMBER Int8Quantizer(f32 largest, f32 nonfinite) {
        const f32 exact = largest / 127.0f;
        scale = f32_to_bf16(exact);
        if (bf16_to_f32(scale) < exact) scale++;  // round up, so that codes stay within 127
        inverse = largest == 0.0f ? 0.0f : 1.0f / bf16_to_f32(scale);
        if (nonfinite == 0.0f) return;
        scale = 0x7fc0;
        inverse = 0.0f;
    }

    DEVICE_MEMBER i32 quantize(f32 x) const {
        const f32 scaled = x * inverse;  // an infinity gives NaN, which quantizes to 0
        const f32 above = scaled < -127.0f ? -127.0f : scaled;
        return round_to_int(above > 127.0f ? 127.0f : above);
    }
};

// One sequence of the batch.
struct SequenceArgs {
    i32 first_row;       // row of its first new token in q, k, v and out
    i32 tokens;          // number of new tokens
    i32 first_position;  // position of the first new token
    i32 first_block;     // start of its block table within `blocks`
};

// Writes the keys and values of new tokens to the paged cache, rounded to its dtype.
#include "kv_cache.cuh"

struct WriteKvArgs {
    KvCacheArgs cache;
    const f32* k;      // [tokens, kv_heads, key_dim]
    const f32* v;      // [tokens, kv_heads, value_dim]
    const u32* slots;  // [tokens], block << block_shift | token in the block
    i64 tokens;
    i32 element_type;
    u32 unused;
};

// Each warp writes 32 elements of a key or value at a time.
KERNEL(write_kv, WriteKvArgs, THREADS, 1) {
    const KvCacheArgs& cache = args.cache;
    const i32 key_groups = groups_of(cache.key_dim), groups = key_groups + groups_of(cache.value_dim);
    const i64 work = args.tokens * cache.kv_heads * groups;
    for (i64 index = grid_thread() / WARP; index < work; index += grid_threads() / WARP) {
        const i64 head_row = index / groups;
        const i32 token = i32(head_row) / cache.kv_heads, head = i32(head_row) % cache.kv_heads, group = i32(index - head_row * groups);
        const bool is_key = group < key_groups;
        const i32 dim = is_key ? cache.key_dim : cache.value_dim, of_kind = is_key ? group : group - key_groups;
        const i32 d = of_kind * GROUP + i32(lane_id());
        const f32 x = d < dim ? (is_key ? args.k : args.v)[head_row * dim + d] : 0.0f;

        const i64 slot = args.slots[token], block = slot >> cache.block_shift, offset = slot & (cache.block_tokens() - 1);
        const bool by_token = is_key || args.element_type == ELEMENT_F32;
        const i64 in_head = by_token ? offset * dim + d : (i64(d) << cache.block_shift) + offset;
        const i64 at = (is_key ? keys_at(cache, block, head) : values_at(cache, block, head)) + in_head;
        u8* const to = is_key ? cache.keys : cache.values;
        if (args.element_type == ELEMENT_INT8) {
            const Int8Quantizer quantizer(warp_max(fabsf(x)), warp_sum(x * 0.0f));
            if (d < dim) reinterpret_cast<i8*>(to)[at] = i8(quantizer.quantize(x));
            if (lane_id() == 0 && is_key) {
                cache.key_scales[key_scales_at(cache, block, head) + offset * key_groups + of_kind] = quantizer.scale;
            } else if (lane_id() == 0) {
                cache.value_scales[value_scales_at(cache, block, head) + (i64(of_kind) << cache.block_shift) + offset] = quantizer.scale;
            }
        } else if (d < dim) {
            store_element(to, at, args.element_type, x);
        }
    }
}

struct CopyKvBlockArgs {
    u8* part[4];   // keys, values, key scales, value scales
    i64 bytes[4];  // of a block in each part; even
    i64 from;
    i64 to;
};

// Copies KV block `from` over block `to` in every part (blockIdx.y): copy-on-write.
KERNEL(copy_kv_block, CopyKvBlockArgs, THREADS, 1) {
    const i64 bytes = args.bytes[blockIdx.y], pairs = bytes / 2;
    const u16* const from = reinterpret_cast<const u16*>(args.part[blockIdx.y] + args.from * bytes);
    u16* const to = reinterpret_cast<u16*>(args.part[blockIdx.y] + args.to * bytes);
    for (i64 i = grid_thread(); i < pairs; i += grid_threads()) to[i] = from[i];
}

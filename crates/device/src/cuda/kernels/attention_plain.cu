// Attention without tensor cores, with the same splits as attention.cu: for an f32 KV cache, for
// head dimensions that the tensor-core kernels do not support, and as a reference for these
// kernels. One thread block per token and query head. Each thread computes the score of one key of
// a tile, then some of the value dimensions.
#include "attention.cuh"

constexpr i32 PLAIN_THREADS = KEY_TILE;
constexpr i32 PLAIN_WARPS = PLAIN_THREADS / i32(WARP);
// Largest supported head dimension.
constexpr i32 PLAIN_DIM_MAX = 1024;

template <i32 element> DEVICE f32 rounded(f32 x) { return element == ELEMENT_F32 ? x : bf16_to_f32(f32_to_bf16(x)); }

struct PlainShared {
    f32 query[PLAIN_DIM_MAX];
    f32 query_scales[PLAIN_DIM_MAX / GROUP];
    f32 weights[KEY_TILE];
    f32 of_warps[2][PLAIN_WARPS];
    f32 values[PLAIN_DIM_MAX];  // of the current split; each element is used by one thread
    f32 total[PLAIN_DIM_MAX];   // of all earlier splits
};

template <i32 element> struct PlainAttentionKernel {
    const AttentionArgs& args;
    PlainShared& shared;
    const SequenceArgs sequence;
    const i64 head_row;  // token * heads + head
    const i32 kv_head, position;
    f32 max, sum, total_max, total_sum;

    DEVICE_MEMBER PlainAttentionKernel(const AttentionArgs& args, PlainShared& shared)
        : args(args),
          shared(shared),
          sequence(args.sequences[args.sequence_of_row[blockIdx.x]]),
          head_row(i64(blockIdx.x) * args.cache.kv_heads * args.group + blockIdx.y),
          kv_head(i32(blockIdx.y) / args.group),
          position(sequence.first_position + i32(blockIdx.x) - sequence.first_row) {}

    // Loads the query, rounded to the dtype of the keys; each warp loads groups of 32 elements.
    DEVICE_MEMBER void load_query() {
        for (i32 g = i32(warp_id()); g < groups_of(args.cache.key_dim); g += PLAIN_WARPS) {
            const i32 d = g * GROUP + i32(lane_id());
            const f32 x = d < args.cache.key_dim ? args.q[head_row * args.cache.key_dim + d] : 0.0f;
            if (element == ELEMENT_INT8) {
                const Int8Quantizer quantizer(warp_max(fabsf(x)), warp_sum(x * 0.0f));
                shared.query[d] = f32(quantizer.quantize(x));
                if (lane_id() == 0) shared.query_scales[g] = bf16_to_f32(quantizer.scale);
            } else {
                shared.query[d] = rounded<element>(x);
            }
        }
    }

    DEVICE_MEMBER f32 score(i32 key) const {
        const KvCacheArgs& cache = args.cache;
        const KvSlot at = slot_of(args, sequence, key);
        const i64 first = keys_at(cache, at.block, kv_head) + i64(at.token) * cache.key_dim;
        f32 score = 0.0f;
        for (i32 g = 0; g < groups_of(cache.key_dim); g++) {
            f32 part = element == ELEMENT_INT8 ? 0.0f : score;
            const i32 end = min_of((g + 1) * GROUP, cache.key_dim);
            for (i32 d = g * GROUP; d < end; d++) {
                const f32 k = element == ELEMENT_INT8 ? f32(reinterpret_cast<const i8*>(cache.keys)[first + d])
                                                    : load_element(cache.keys, first + d, element);
                part = fmaf(k, shared.query[d], part);
            }
            if (element == ELEMENT_INT8) {
                const i64 scales = key_scales_at(cache, at.block, kv_head) + i64(at.token) * groups_of(cache.key_dim);
                score = fmaf(part, bf16_to_f32(cache.key_scales[scales + g]) * shared.query_scales[g], score);
            } else {
                score = part;
            }
        }
        return score * args.scale;
    }

    DEVICE_MEMBER f32 value(i32 key, i32 d) const {
        const KvCacheArgs& cache = args.cache;
        const KvSlot at = slot_of(args, sequence, key);
        const i64 head = values_at(cache, at.block, kv_head);
        if (element == ELEMENT_F32) return reinterpret_cast<const f32*>(cache.values)[head + i64(at.token) * cache.value_dim + d];
        const i64 index = head + (i64(d) << cache.block_shift) + at.token;
        if (element == ELEMENT_BF16) return load_element(cache.values, index, ELEMENT_BF16);
        const i64 scales = value_scales_at(cache, at.block, kv_head) + (i64(d / GROUP) << cache.block_shift) + at.token;
        return f32(reinterpret_cast<const i8*>(cache.values)[index]) * bf16_to_f32(cache.value_scales[scales]);
    }

    // Maximum over all threads of the block.
    DEVICE_MEMBER f32 block_max(f32 x) {
        x = warp_max(x);
        if (lane_id() == 0) shared.of_warps[0][warp_id()] = x;
        __syncthreads();
        f32 max = negative_infinity();
        for (i32 w = 0; w < PLAIN_WARPS; w++) max = larger(max, shared.of_warps[0][w]);
        return max;
    }

    DEVICE_MEMBER void attend_tile(i32 start) {
        const i32 key = start + i32(threadIdx.x);
        const bool seen = key <= position && key >= first_visible(position, args.window);
        const f32 score = seen ? this->score(key) : negative_infinity();
        const f32 before = max;
        max = larger(before, block_max(score));
        const f32 factor = rescale(before, max), weight = exponential(score - softmax_base(max));
        shared.weights[threadIdx.x] = weight;
        const f32 all = block_sum<PLAIN_WARPS>(weight, shared.of_warps[1]);
        sum = fmaf(sum, factor, all);
        const i32 end = min_of(KEY_TILE, position + 1 - start);
        each_dim([&](i32 d) {
            f32 sum = shared.values[d] * factor;
            for (i32 k = max_of(0, first_visible(position, args.window) - start); k < end; k++) {
                sum = fmaf(value(start + k, d), shared.weights[k], sum);
            }
            shared.values[d] = sum;
        });
        __syncthreads();  // all threads have read the weights
    }

    // Calls `job(d)` for each value dimension of this thread.
    template <class Job> DEVICE_MEMBER void each_dim(Job job) const {
        UNROLL_BY(1) for (i32 d = i32(threadIdx.x); d < args.cache.value_dim; d += PLAIN_THREADS) job(d);
    }

    DEVICE_MEMBER void run() {
        load_query();
        __syncthreads();
        total_max = sink_of(args, head_row);
        total_sum = args.sinks == nullptr ? 0.0f : 1.0f;
        each_dim([&](i32 d) { shared.total[d] = 0.0f; });
        const i32 first_tile = first_visible(position, args.window) / KEY_TILE;
        for (i32 split = first_tile / SPLIT_TILES; split <= position / SPLIT; split++) {
            max = negative_infinity();
            sum = 0.0f;
            each_dim([&](i32 d) { shared.values[d] = 0.0f; });
            const i32 end = min_of(position / KEY_TILE + 1, (split + 1) * SPLIT_TILES);
            for (i32 tile = max_of(first_tile, split * SPLIT_TILES); tile < end; tile++) attend_tile(tile * KEY_TILE);
            const SplitMerge merge(total_max, total_sum, max, sum);
            each_dim([&](i32 d) { shared.total[d] = fmaf(shared.values[d], merge.b, shared.total[d] * merge.a); });
            total_max = merge.max;
            total_sum = merge.sum;
        }
        each_dim([&](i32 d) {
            store_with_epilogue(args.out, args.epilogue, head_row * args.cache.value_dim + d, normalized(shared.total[d], total_sum));
        });
    }
};

// Grid: tokens x query heads.
template <i32 element> DEVICE void attention_plain(const AttentionArgs& args) {
    SHARED(PlainShared, shared, [1]);
    PlainAttentionKernel<element> block(args, shared[0]);
    block.run();
}

KERNEL(attention_plain_f32, AttentionArgs, PLAIN_THREADS, 1) { attention_plain<ELEMENT_F32>(args); }
KERNEL(attention_plain_bf16, AttentionArgs, PLAIN_THREADS, 1) { attention_plain<ELEMENT_BF16>(args); }
KERNEL(attention_plain_int8, AttentionArgs, PLAIN_THREADS, 1) { attention_plain<ELEMENT_INT8>(args); }

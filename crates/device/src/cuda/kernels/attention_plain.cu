// Attention, plainly: for a cache in f32 (the oracle mode), for heads of any size, and for the other kernels to be compared with. A block
// for each token's query head; a thread for each key of a tile, then for each dimension.
#include "attention.cuh"

constexpr i32 PLAIN_THREADS = KEY_TILE;
constexpr i32 PLAIN_WARPS = PLAIN_THREADS / i32(WARP);
// Most numbers of a key or value.
constexpr i32 MOST_DIM = 1024;

template <i32 stored> DEVICE f32 rounded(f32 x) { return stored == STORED_F32 ? x : bf16_to_f32(f32_to_bf16(x)); }

struct PlainShared {
    f32 query[MOST_DIM];
    f32 query_scales[MOST_DIM / GROUP];
    f32 weights[KEY_TILE];
    f32 of_warps[2][PLAIN_WARPS];
    f32 values[MOST_DIM];  // of the split so far; each touched by one thread
    f32 total[MOST_DIM];   // of earlier splits
};

template <i32 stored> struct PlainAttention {
    const AttentionArgs& args;
    PlainShared& shared;
    const Span span;
    const i64 head_row;  // token * heads + head
    const i32 kv_head, position;
    f32 max, sum, total_max, total_sum;

    DEVICE_MEMBER PlainAttention(const AttentionArgs& args, PlainShared& shared)
        : args(args),
          shared(shared),
          span(args.spans[args.span_of_row[blockIdx.x]]),
          head_row(i64(blockIdx.x) * args.cache.kv_heads * args.group + blockIdx.y),
          kv_head(i32(blockIdx.y) / args.group),
          position(span.first_position + i32(blockIdx.x) - span.first_row) {}

    // A warp for each 32 numbers.
    DEVICE_MEMBER void take_query() {
        for (i32 g = i32(warp_id()); g < groups_of(args.cache.key_dim); g += PLAIN_WARPS) {
            const i32 d = g * GROUP + i32(lane_id());
            const f32 x = d < args.cache.key_dim ? args.q[head_row * args.cache.key_dim + d] : 0.0f;
            if (stored == STORED_INT8) {
                const Codes codes(warp_max(fabsf(x)), warp_sum(x * 0.0f));
                shared.query[d] = f32(codes.of(x));
                if (lane_id() == 0) shared.query_scales[g] = bf16_to_f32(codes.scale);
            } else {
                shared.query[d] = rounded<stored>(x);
            }
        }
    }

    DEVICE_MEMBER f32 score(i32 key) const {
        const Cache& cache = args.cache;
        const Place at = place_of(args, span, key);
        const i64 first = keys_at(cache, at.block, kv_head) + i64(at.token) * cache.key_dim;
        f32 score = 0.0f;
        for (i32 g = 0; g < groups_of(cache.key_dim); g++) {
            f32 part = stored == STORED_INT8 ? 0.0f : score;
            const i32 end = least((g + 1) * GROUP, cache.key_dim);
            for (i32 d = g * GROUP; d < end; d++) {
                const f32 k = stored == STORED_INT8 ? f32(reinterpret_cast<const i8*>(cache.keys)[first + d])
                                                    : load_number(cache.keys, first + d, stored);
                part = fmaf(k, shared.query[d], part);
            }
            if (stored == STORED_INT8) {
                const i64 scales = key_scales_at(cache, at.block, kv_head) + i64(at.token) * groups_of(cache.key_dim);
                score = fmaf(part, bf16_to_f32(cache.key_scales[scales + g]) * shared.query_scales[g], score);
            } else {
                score = part;
            }
        }
        return score * args.scale;
    }

    DEVICE_MEMBER f32 value(i32 key, i32 d) const {
        const Cache& cache = args.cache;
        const Place at = place_of(args, span, key);
        const i64 head = values_at(cache, at.block, kv_head);
        if (stored == STORED_F32) return reinterpret_cast<const f32*>(cache.values)[head + i64(at.token) * cache.value_dim + d];
        const i64 index = head + (i64(d) << cache.block_shift) + at.token;
        if (stored == STORED_BF16) return load_number(cache.values, index, STORED_BF16);
        const i64 scales = value_scales_at(cache, at.block, kv_head) + (i64(d / GROUP) << cache.block_shift) + at.token;
        return f32(reinterpret_cast<const i8*>(cache.values)[index]) * bf16_to_f32(cache.value_scales[scales]);
    }

    // The largest, or the sum, of all threads.
    DEVICE_MEMBER f32 block_max(f32 x) {
        x = warp_max(x);
        if (lane_id() == 0) shared.of_warps[0][warp_id()] = x;
        __syncthreads();
        f32 max = nothing_yet();
        for (i32 w = 0; w < PLAIN_WARPS; w++) max = larger(max, shared.of_warps[0][w]);
        return max;
    }

    DEVICE_MEMBER void visit(i32 start) {
        const i32 key = start + i32(threadIdx.x);
        const bool seen = key <= position && key >= first_visible(position, args.window);
        const f32 score = seen ? this->score(key) : nothing_yet();
        const f32 before = max;
        max = larger(before, block_max(score));
        const f32 factor = rescale(before, max), weight = exponential(score - base_of(max));
        shared.weights[threadIdx.x] = weight;
        const f32 all = block_sum<PLAIN_WARPS>(weight, shared.of_warps[1]);
        sum = fmaf(sum, factor, all);
        const i32 end = least(KEY_TILE, position + 1 - start);
        each_dim([&](i32 d) {
            f32 sum = shared.values[d] * factor;
            for (i32 k = most(0, first_visible(position, args.window) - start); k < end; k++) {
                sum = fmaf(value(start + k, d), shared.weights[k], sum);
            }
            shared.values[d] = sum;
        });
        __syncthreads();  // weights are read
    }

    // Calls `job` for this thread's dimensions of the value.
    template <class Job> DEVICE_MEMBER void each_dim(Job job) const {
        UNROLL_BY(1) for (i32 d = i32(threadIdx.x); d < args.cache.value_dim; d += PLAIN_THREADS) job(d);
    }

    DEVICE_MEMBER void run() {
        take_query();
        __syncthreads();
        total_max = sink_of(args, head_row);
        total_sum = args.sinks == nullptr ? 0.0f : 1.0f;
        each_dim([&](i32 d) { shared.total[d] = 0.0f; });
        const i32 first_tile = first_visible(position, args.window) / KEY_TILE;
        for (i32 split = first_tile / SPLIT_TILES; split <= position / SPLIT; split++) {
            max = nothing_yet();
            sum = 0.0f;
            each_dim([&](i32 d) { shared.values[d] = 0.0f; });
            const i32 end = least(position / KEY_TILE + 1, (split + 1) * SPLIT_TILES);
            for (i32 tile = most(first_tile, split * SPLIT_TILES); tile < end; tile++) visit(tile * KEY_TILE);
            const Merge merge(total_max, total_sum, max, sum);
            each_dim([&](i32 d) { shared.total[d] = fmaf(shared.values[d], merge.b, shared.total[d] * merge.a); });
            total_max = merge.max;
            total_sum = merge.sum;
        }
        each_dim([&](i32 d) {
            keep(args.out, args.fed, head_row * args.cache.value_dim + d, finished(shared.total[d], total_sum));
        });
    }
};

// The grid is tokens by query heads.
template <i32 stored> DEVICE void attention_plain(const AttentionArgs& args) {
    SHARED(PlainShared, shared, [1]);
    PlainAttention<stored> block(args, shared[0]);
    block.run();
}

KERNEL(attention_plain_f32, AttentionArgs, PLAIN_THREADS, 1) { attention_plain<STORED_F32>(args); }
KERNEL(attention_plain_bf16, AttentionArgs, PLAIN_THREADS, 1) { attention_plain<STORED_BF16>(args); }
KERNEL(attention_plain_int8, AttentionArgs, PLAIN_THREADS, 1) { attention_plain<STORED_INT8>(args); }

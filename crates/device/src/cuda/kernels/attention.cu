// Flash-decoding (Dao et al. 2023) over a paged KV cache in bf16 or int8, on tensor cores.
//
// A thread block holds a tile of query rows of one KV head and processes key tiles of 128 positions
// with an online softmax. Scores: each warp multiplies 16 keys, in their stored layout, with all
// queries. The warps exchange softmax weights through shared memory. Values: each warp multiplies
// 16 value dimensions, in their stored layout, with all weights. So a block reads each key and
// value once for all its queries. Values of more than 128 dimensions are split into slices, one
// block each; every slice recomputes the scores.
//
// Queries are rounded to the dtype of the keys: to bf16, or to int8 codes (sums over 32 dimensions
// are then exact integers). Softmax weights keep f32 precision: each is the sum of two bf16
// factors.
#include "attention_tile.cuh"

// Computation of one thread block, with 8 * eights query rows.
template <i32 eights, bool int8> struct AttentionKernel {
    static constexpr i32 ROWS = 8 * eights;
    using Shared = AttentionShared<ROWS>;

    const AttentionArgs& args;
    Shared& shared;
    const QueryTile tile;
    const i32 kv_head, slice;
    const i32 group, in_group;   // groupID and threadID_in_group of the mma fragment layout
    const i32 first_dim;         // first of the 16 value dimensions of this warp
    Accumulator values[eights];  // of the current split
    Accumulator total[eights];   // of all earlier splits

    DEVICE_MEMBER AttentionKernel(const AttentionArgs& args, Shared& shared)
        : args(args),
          shared(shared),
          tile(args, ROWS),
          kv_head(tile.kv_head),
          slice(i32(blockIdx.y) % args.slices),
          group(i32(lane_id() / 4)),
          in_group(i32(lane_id() % 4)),
          first_dim(slice * SLICE + 16 * i32(warp_id())) {}

    // Copies the queries to shared memory, rounded to the dtype of the keys. Four adjacent lanes
    // hold the 32 elements of a run.
    DEVICE_MEMBER void load_queries() {
        const i32 runs = i32(div_ceil(args.cache.key_dim, RUN));
        UNROLL_BY(1) for (i32 index = i32(threadIdx.x); index < runs * ROWS * 4; index += i32(THREADS)) {
            const i32 eighth = index % 4, row = index / 4 % ROWS, run = index / 4 / ROWS, d = run * RUN + 8 * eighth;
            F32x8 x = ZERO_F32X8;
            if (row < tile.rows && d < args.cache.key_dim) x = load_query8(shared.head_row[row] * args.cache.key_dim + d);
            if (int8) {
                f32 largest = 0.0f, nonfinite = 0.0f;
                UNROLL for (i32 i = 0; i < 8; i++) {
                    largest = larger(largest, fabsf(x.value[i]));
                    nonfinite += x.value[i] * 0.0f;
                }
                UNROLL for (u32 far = 1; far < 4; far *= 2) {
                    largest = larger(largest, __shfl_xor_sync(ALL_LANES, largest, far));
                    nonfinite += __shfl_xor_sync(ALL_LANES, nonfinite, far);
                }
                const Int8Quantizer quantizer(largest, nonfinite);
                UNROLL for (i32 i = 0; i < 8; i++) x.value[i] = f32(quantizer.quantize(x.value[i]));
                if (eighth == 0) shared.query_scales[run][row] = bf16_to_f32(quantizer.scale);
            }
            Words4 words;
            UNROLL for (i32 i = 0; i < 4; i++) words.word[i] = bf16_pair(x.value[2 * i], x.value[2 * i + 1]);
            store16(&shared.queries[run][row][8 * eighth], words);
        }
    }

    // Loads 8 elements of q, starting at element `at`; all belong to one row, since key_dim is a
    // multiple of 8.
    DEVICE_MEMBER F32x8 load_query8(i64 at) const {
        const Words4 low = load16(args.q + at), high = load16(args.q + at + 4);
        F32x8 x;
        UNROLL for (i32 i = 0; i < 4; i++) {
            x.value[i] = __uint_as_float(low.word[i]);
            x.value[4 + i] = __uint_as_float(high.word[i]);
        }
        return x;
    }

    // Whether this thread maintains the running maximum and sum of a query row: one thread per row.
    DEVICE_MEMBER bool owns_row() const { return threadIdx.x < ROWS; }

    DEVICE_MEMBER void begin() {
        if (owns_row()) {
            const i32 row = i32(threadIdx.x);
            const bool there = row < tile.rows;
            shared.position[row] = there ? tile.position_of(args, row) : -1;
            shared.head_row[row] = there ? tile.head_row(args, row) : 0;
            shared.total_max[row] = there ? sink_of(args, shared.head_row[row]) : negative_infinity();
            shared.total_sum[row] = args.sinks == nullptr ? 0.0f : 1.0f;
        }
        __syncthreads();
        load_queries();
        UNROLL for (i32 n = 0; n < eights; n++) total[n] = ZERO_ACCUMULATOR;
        __syncthreads();
    }

    DEVICE_MEMBER void begin_split() {
        if (owns_row()) {
            shared.max[threadIdx.x] = negative_infinity();
            shared.sum[threadIdx.x] = 0.0f;
        }
        UNROLL for (i32 n = 0; n < eights; n++) values[n] = ZERO_ACCUMULATOR;
    }

    // Processes, in order, the key tiles of split `split` that are visible to any row of the query
    // tile.
    DEVICE_MEMBER void run_split(i32 split) {
        begin_split();
        const i32 end = min_of(tile.last / KEY_TILE + 1, (split + 1) * SPLIT_TILES);
        for (i32 key_tile = max_of(tile.first_tile(args), split * SPLIT_TILES); key_tile < end; key_tile++) attend_tile(key_tile * KEY_TILE);
    }

    // Adds positions start .. start + 127 to the state of the split.
    DEVICE_MEMBER void attend_tile(i32 start) {
        Accumulator scores[eights];
        compute_scores(scores, start);
        Words4 values8[TILE_RUNS][2];
        load_values(values8, start);  // loads overlap with the softmax
        mask(scores, start);
        softmax(scores);
        add_values(values8, start);
    }

    // Computes the scores of this warp's 16 keys (rows) for all queries (columns), 128 dimensions
    // at a time.
    DEVICE_MEMBER void compute_scores(Accumulator (&scores)[eights], i32 start) {
        KvSlot at[2];
        UNROLL for (i32 half = 0; half < 2; half++) {
            // Positions past the last visible one repeat the last one's key; `mask` masks their
            // scores.
            at[half] = slot_of(args, tile.sequence, min_of(start + 16 * i32(warp_id()) + 8 * half + group, tile.last));
        }
        UNROLL for (i32 n = 0; n < eights; n++) scores[n] = ZERO_ACCUMULATOR;
        UNROLL_BY(1) for (i32 first = 0; first < args.cache.key_dim; first += KEY_TILE) add_scores(scores, at, first);
    }

    DEVICE_MEMBER void add_scores(Accumulator (&scores)[eights], const KvSlot (&at)[2], i32 first) {
        const KvCacheArgs& cache = args.cache;
        Words4 keys[TILE_RUNS][2];
        f32 scales[TILE_RUNS][2];
        UNROLL for (i32 half = 0; half < 2; half++) {
            const i64 key = keys_at(cache, at[half].block, kv_head) + i64(at[half].token) * cache.key_dim;
            UNROLL for (i32 run = 0; run < TILE_RUNS; run++) {
                const i32 d = first + run * RUN + 8 * in_group;
                keys[run][half] = d < cache.key_dim ? load_kv8<int8>(cache.keys, key + d) : ZEROS;
                if (int8) {
                    const i32 groups = groups_of(cache.key_dim), of_key = first / GROUP + run;
                    const i64 scale = key_scales_at(cache, at[half].block, kv_head) + i64(at[half].token) * groups + of_key;
                    scales[run][half] = of_key < groups ? bf16_to_f32(cache.key_scales[scale]) : 0.0f;
                }
            }
        }
        UNROLL for (i32 run = 0; run < TILE_RUNS; run++) {
            if (first + run * RUN >= cache.key_dim) break;
            const i32 query_run = first / RUN + run;
            UNROLL for (i32 n = 0; n < eights; n++) {
                const Words4 query = load16(&shared.queries[query_run][8 * n + group][8 * in_group]);
                if (int8) {
                    Accumulator whole = ZERO_ACCUMULATOR;
                    mma_32(whole, keys[run][0], keys[run][1], query);
                    UNROLL for (i32 i = 0; i < 4; i++) {
                        const f32 scale = scales[run][i / 2] * shared.query_scales[query_run][8 * n + 2 * in_group + i % 2];
                        scores[n].value[i] = fmaf(whole.value[i], scale, scores[n].value[i]);
                    }
                } else {
                    mma_32(scores[n], keys[run][0], keys[run][1], query);
                }
            }
        }
    }

    // Scales the scores and applies the causal and the sliding-window mask.
    DEVICE_MEMBER void mask(Accumulator (&scores)[eights], i32 start) const {
        UNROLL for (i32 n = 0; n < eights; n++) {
            UNROLL for (i32 i = 0; i < 4; i++) {
                const i32 key = start + 16 * i32(warp_id()) + 8 * (i / 2) + group;
                const i32 position = shared.position[8 * n + 2 * in_group + i % 2];
                const bool seen = key <= position && key >= first_visible(position, args.window);
                scores[n].value[i] = seen ? scores[n].value[i] * args.scale : negative_infinity();
            }
        }
    }

    // Reduces each column over this warp's 16 keys: the lanes that differ in `group` divide the
    // columns among themselves, and one lane per column stores the result.
    template <class Fold> DEVICE_MEMBER void fold_keys(f32 (&columns)[2 * eights], f32 (&of_warps)[WARPS][ROWS], Fold fold) const {
        const f32 folded = fold_lanes<2 * eights, WARP / 2, 4>(columns, fold);
        constexpr i32 GROUPS_PER_COLUMN = 4 / eights;
        const i32 column = group / GROUPS_PER_COLUMN;
        if (group % GROUPS_PER_COLUMN == 0) of_warps[warp_id()][8 * (column / 2) + 2 * in_group + column % 2] = folded;
    }

    // Online softmax: turns scores into weights in shared memory, updates maxima and sums, and
    // rescales the values accumulated so far.
    DEVICE_MEMBER void softmax(const Accumulator (&scores)[eights]) {
        f32 columns[2 * eights];
        UNROLL for (i32 i = 0; i < 2 * eights; i++) columns[i] = larger(scores[i / 2].value[i % 2], scores[i / 2].value[2 + i % 2]);
        fold_keys(columns, shared.warp_max, MaxFold());
        __syncthreads();
        if (owns_row()) {
            const u32 row = threadIdx.x;
            const f32 before = shared.max[row];
            f32 max = before;
            UNROLL for (u32 w = 0; w < WARPS; w++) max = larger(max, shared.warp_max[w][row]);
            shared.factor[row] = rescale(before, max);
            shared.max[row] = max;
        }
        __syncthreads();
        UNROLL for (i32 i = 0; i < 2 * eights; i++) {
            const i32 n = i / 2, column = i % 2, row = 8 * n + 2 * in_group + column;
            const f32 base = softmax_base(shared.max[row]), factor = shared.factor[row];
            const f32 first = exponential(scores[n].value[column] - base), second = exponential(scores[n].value[2 + column] - base);
            store_weight(row, group, first);
            store_weight(row, group + 8, second);
            columns[i] = first + second;
            values[n].value[column] *= factor;
            values[n].value[2 + column] *= factor;
        }
        fold_keys(columns, shared.warp_sum, AddFold());
        __syncthreads();
        if (owns_row()) {
            const u32 row = threadIdx.x;
            f32 sum = 0.0f;
            UNROLL for (u32 w = 0; w < WARPS; w++) sum += shared.warp_sum[w][row];
            shared.sum[row] = fmaf(shared.sum[row], shared.factor[row], sum);
        }
    }

    // Stores the softmax weight of this warp's key `key` (0 .. 15) for query row `row`.
    DEVICE_MEMBER void store_weight(i32 row, i32 key, f32 weight) {
        const i32 run = i32(warp_id()) / 2, at = i32(warp_id()) % 2 * 16 + key;
        if (int8) {
            shared.weights[run][row][at] = __float_as_uint(weight);
        } else {
            const u16 upper = f32_to_bf16(weight);
            shared.upper(run, row)[at] = upper;
            shared.lower(run, row)[at] = f32_to_bf16(weight - bf16_to_f32(upper));
        }
    }

    // Loads this lane's part of the values as the first mma factor: rows are value dimensions, k
    // are positions. Values past the last visible position are zeroed.
    DEVICE_MEMBER void load_values(Words4 (&values8)[TILE_RUNS][2], i32 start) const {
        const KvCacheArgs& cache = args.cache;
        UNROLL for (i32 run = 0; run < TILE_RUNS; run++) {
            const i32 position = start + run * RUN + 8 * in_group, count = tile.last + 1 - position;
            const KvSlot at = slot_of(args, tile.sequence, min_of(position, tile.last & ~7));
            const i64 head = values_at(cache, at.block, kv_head) + at.token;
            const Words4 there = mask_first_halves(count);
            UNROLL for (i32 half = 0; half < 2; half++) {
                const i32 d = first_dim + 8 * half + group;
                const i64 value = head + (i64(d) << cache.block_shift);
                values8[run][half] = d < cache.value_dim && count > 0 ? bitwise_and(load_kv8<int8>(cache.values, value), there) : ZEROS;
            }
        }
    }

    // values += loaded values * softmax weights
    DEVICE_MEMBER void add_values(const Words4 (&values8)[TILE_RUNS][2], i32 start) {
        if (first_dim >= args.cache.value_dim) return;
        UNROLL for (i32 run = 0; run < TILE_RUNS; run++) {
            if (start + run * RUN > tile.last) break;
            F32x8 scales = ZERO_F32X8;
            if (int8) scales = value_scales(start + run * RUN + 8 * in_group);
            UNROLL for (i32 n = 0; n < eights; n++) {
                Words4 upper, lower;
                load_weights(upper, lower, run, 8 * n + group, scales);
                mma_32(values[n], values8[run][0], values8[run][1], upper);
                mma_32(values[n], values8[run][0], values8[run][1], lower);
            }
        }
    }

    // Value scales of 8 positions, starting at `position`; 0 past the last visible position.
    DEVICE_MEMBER F32x8 value_scales(i32 position) const {
        F32x8 scales = ZERO_F32X8;
        if (position > tile.last) return scales;
        const KvSlot at = slot_of(args, tile.sequence, position);
        const i64 first = value_scales_at(args.cache, at.block, kv_head) + (i64(first_dim / GROUP) << args.cache.block_shift) + at.token;
        const Words4 words = bitwise_and(load16(args.cache.value_scales + first), mask_first_halves(tile.last + 1 - position));
        UNROLL for (i32 i = 0; i < 8; i++) scales.value[i] = i % 2 ? high_bf16(words.word[i / 2]) : low_bf16(words.word[i / 2]);
        return scales;
    }

    // Softmax weights of query row `row` for this lane's 8 positions of a run, multiplied by the
    // value scales (int8), each as the sum of two bf16 factors.
    DEVICE_MEMBER void load_weights(Words4& upper, Words4& lower, i32 run, i32 row, const F32x8& scales) {
        if (!int8) {
            upper = load16(shared.upper(run, row) + 8 * in_group);
            lower = load16(shared.lower(run, row) + 8 * in_group);
            return;
        }
        const Words4 words[2] = {load16(&shared.weights[run][row][8 * in_group]), load16(&shared.weights[run][row][8 * in_group + 4])};
        UNROLL for (i32 i = 0; i < 4; i++) {
            const f32 first = __uint_as_float(words[i / 2].word[2 * (i % 2)]) * scales.value[2 * i];
            const f32 second = __uint_as_float(words[i / 2].word[2 * (i % 2) + 1]) * scales.value[2 * i + 1];
            upper.word[i] = bf16_pair(first, second);
            lower.word[i] = bf16_pair(first - low_bf16(upper.word[i]), second - high_bf16(upper.word[i]));
        }
    }

    // Merges the finished split into the total of the earlier splits.
    DEVICE_MEMBER void merge_split() {
        if (owns_row()) {
            const u32 row = threadIdx.x;
            const SplitMerge merge(shared.total_max[row], shared.total_sum[row], shared.max[row], shared.sum[row]);
            shared.merge_a[row] = merge.a;
            shared.merge_b[row] = merge.b;
            shared.total_max[row] = merge.max;
            shared.total_sum[row] = merge.sum;
        }
        __syncthreads();
        UNROLL for (i32 n = 0; n < eights; n++) {
            UNROLL for (i32 i = 0; i < 4; i++) {
                const i32 row = 8 * n + 2 * in_group + i % 2;
                total[n].value[i] = fmaf(values[n].value[i], shared.merge_b[row], total[n].value[i] * shared.merge_a[row]);
            }
        }
    }

    // Calls `store(row, dimension, value)` for each value that this lane holds.
    template <class Store> DEVICE_MEMBER void for_each_value(const Accumulator (&of)[eights], Store store) const {
        UNROLL for (i32 n = 0; n < eights; n++) {
            UNROLL for (i32 i = 0; i < 4; i++) {
                const i32 row = 8 * n + 2 * in_group + i % 2, d = first_dim + 8 * (i / 2) + group;
                if (row < tile.rows && d < args.cache.value_dim) store(row, d, of[n].value[i]);
            }
        }
    }

    DEVICE_MEMBER void store_out() const {
        for_each_value(total, [&](i32 row, i32 d, f32 value) {
            store_with_epilogue(args.out, args.epilogue, shared.head_row[row] * args.cache.value_dim + d, normalized(value, shared.total_sum[row]));
        });
    }

    // Writes the state of the split (maxima, sums, values) to index `index` of this round's states.
    DEVICE_MEMBER void store_state(i32 index) const {
        const i64 head = i64(blockIdx.x) * args.cache.kv_heads + kv_head;
        f32* const state = args.states + (head * args.splits + index) * ROWS * (2 + args.cache.value_dim);
        if (owns_row() && slice == 0) {
            state[threadIdx.x] = shared.max[threadIdx.x];
            state[ROWS + threadIdx.x] = shared.sum[threadIdx.x];
        }
        for_each_value(values, [&](i32 row, i32 d, f32 value) { state[2 * ROWS + i64(row) * args.cache.value_dim + d] = value; });
    }
};

template <i32 eights, bool int8> DEVICE void attention(const AttentionArgs& args) {
    using Kernel = AttentionKernel<eights, int8>;
    SHARED(typename Kernel::Shared, shared, [1]);
    Kernel block(args, shared[0]);
    if (args.states != nullptr) {
        const i32 split = args.first_split + i32(blockIdx.z);
        if (split < block.tile.first_split(args) || split >= block.tile.end_split()) return;
        block.begin();
        block.run_split(split);
        block.store_state(i32(blockIdx.z));
        return;
    }
    block.begin();
    for (i32 split = block.tile.first_split(args); split < block.tile.end_split(); split++) {
        block.run_split(split);
        block.merge_split();
    }
    block.store_out();
}

// Entry points by KV dtype and number of query rows.
KERNEL(attention_bf16_8, AttentionArgs, THREADS, 2) { attention<1, false>(args); }
KERNEL(attention_bf16_32, AttentionArgs, THREADS, 2) { attention<4, false>(args); }
KERNEL(attention_int8_8, AttentionArgs, THREADS, 2) { attention<1, true>(args); }
KERNEL(attention_int8_32, AttentionArgs, THREADS, 1) { attention<4, true>(args); }

// Attention over a cache in bf16 or int8, by the tensor cores.
//
// A block has some query rows of one kv head, and visits tiles of 128 positions. Scores: each warp has 16 keys, as they lie in memory,
// times all queries. Then the softmax, whose weights are shared. Values: each warp has 16 dimensions, as they lie in memory, times all
// weights. So a block reads every key and value once, without a detour, for all its queries. Values of more than 128 dimensions are cut
// into slices, a block each, which all compute the scores.
//
// Queries are rounded as keys are: to bf16, or to codes (then the sums over 32 dimensions are whole and exact). Weights are not rounded:
// each enters as the sum of two bf16s.
#include "attention_tile.cuh"

// 8 * eights query rows.
template <i32 eights, bool int8> struct Attention {
    static constexpr i32 ROWS = 8 * eights;
    using Shared = AttentionShared<ROWS>;

    const AttentionArgs& args;
    Shared& shared;
    const Item item;
    const i32 kv_head, slice;
    const i32 group, place;  // of this lane in a product
    const i32 first_dim;     // of the 16 dimensions of values that this warp has
    Sums values[eights];     // of the split so far
    Sums total[eights];      // of earlier splits

    DEVICE_MEMBER Attention(const AttentionArgs& args, Shared& shared)
        : args(args),
          shared(shared),
          item(args, ROWS),
          kv_head(item.kv_head),
          slice(i32(blockIdx.y) % args.slices),
          group(i32(lane_id() / 4)),
          place(i32(lane_id() % 4)),
          first_dim(slice * SLICE + 16 * i32(warp_id())) {}

    // Queries into shared memory, rounded as the keys are. Four neighboring lanes have the 32 numbers of a run.
    DEVICE_MEMBER void take_queries() {
        const i32 runs = i32(parts_of(args.cache.key_dim, RUN));
        UNROLL_BY(1) for (i32 index = i32(threadIdx.x); index < runs * ROWS * 4; index += i32(THREADS)) {
            const i32 eighth = index % 4, row = index / 4 % ROWS, run = index / 4 / ROWS, d = run * RUN + 8 * eighth;
            Eight x = NO_NUMBERS;
            if (row < item.rows && d < args.cache.key_dim) x = eight_of_query(shared.head_row[row] * args.cache.key_dim + d);
            if (int8) {
                f32 size = 0.0f, odd = 0.0f;
                UNROLL for (i32 i = 0; i < 8; i++) {
                    size = larger(size, fabsf(x.of[i]));
                    odd += x.of[i] * 0.0f;
                }
                UNROLL for (u32 far = 1; far < 4; far *= 2) {
                    size = larger(size, __shfl_xor_sync(ALL_LANES, size, far));
                    odd += __shfl_xor_sync(ALL_LANES, odd, far);
                }
                const Codes codes(size, odd);
                UNROLL for (i32 i = 0; i < 8; i++) x.of[i] = f32(codes.of(x.of[i]));
                if (eighth == 0) shared.query_scales[run][row] = bf16_to_f32(codes.scale);
            }
            Words4 words;
            UNROLL for (i32 i = 0; i < 4; i++) words.word[i] = bf16_pair(x.of[2 * i], x.of[2 * i + 1]);
            store16(&shared.queries[run][row][8 * eighth], words);
        }
    }

    // 8 numbers of q from number `at` on; keys have whole eights.
    DEVICE_MEMBER Eight eight_of_query(i64 at) const {
        const Words4 low = load16(args.q + at), high = load16(args.q + at + 4);
        Eight x;
        UNROLL for (i32 i = 0; i < 4; i++) {
            x.of[i] = __uint_as_float(low.word[i]);
            x.of[4 + i] = __uint_as_float(high.word[i]);
        }
        return x;
    }

    // A thread for each row keeps its books.
    DEVICE_MEMBER bool keeps_row() const { return threadIdx.x < ROWS; }

    DEVICE_MEMBER void begin() {
        if (keeps_row()) {
            const i32 row = i32(threadIdx.x);
            const bool there = row < item.rows;
            shared.position[row] = there ? item.position_of(args, row) : -1;
            shared.head_row[row] = there ? item.head_row(args, row) : 0;
            shared.total_max[row] = there ? sink_of(args, shared.head_row[row]) : nothing_yet();
            shared.total_sum[row] = args.sinks == nullptr ? 0.0f : 1.0f;
        }
        __syncthreads();
        take_queries();
        UNROLL for (i32 n = 0; n < eights; n++) total[n] = NO_SUMS;
        __syncthreads();
    }

    DEVICE_MEMBER void begin_split() {
        if (keeps_row()) {
            shared.max[threadIdx.x] = nothing_yet();
            shared.sum[threadIdx.x] = 0.0f;
        }
        UNROLL for (i32 n = 0; n < eights; n++) values[n] = NO_SUMS;
    }

    // The tiles of split `split` that any row sees, one after the other.
    DEVICE_MEMBER void run_split(i32 split) {
        begin_split();
        const i32 end = least(item.last / KEY_TILE + 1, (split + 1) * SPLIT_TILES);
        for (i32 tile = most(item.first_tile(args), split * SPLIT_TILES); tile < end; tile++) visit(tile * KEY_TILE);
    }

    // Adds the positions start .. start + 127 to the split's state.
    DEVICE_MEMBER void visit(i32 start) {
        Sums scores[eights];
        take_scores(scores, start);
        Words4 stored[TILE_RUNS][2];
        load_values(stored, start);  // on their way during the softmax
        mask(scores, start);
        soften(scores);
        add_values(stored, start);
    }

    // Scores of this warp's 16 keys: rows are keys, columns queries. 128 dimensions at a time.
    DEVICE_MEMBER void take_scores(Sums (&scores)[eights], i32 start) {
        Place at[2];
        UNROLL for (i32 half = 0; half < 2; half++) {
            // Positions past the last one repeat it; their scores are masked.
            at[half] = place_of(args, item.span, least(start + 16 * i32(warp_id()) + 8 * half + group, item.last));
        }
        UNROLL for (i32 n = 0; n < eights; n++) scores[n] = NO_SUMS;
        UNROLL_BY(1) for (i32 first = 0; first < args.cache.key_dim; first += KEY_TILE) add_scores(scores, at, first);
    }

    DEVICE_MEMBER void add_scores(Sums (&scores)[eights], const Place (&at)[2], i32 first) {
        const Cache& cache = args.cache;
        Words4 keys[TILE_RUNS][2];
        f32 scales[TILE_RUNS][2];
        UNROLL for (i32 half = 0; half < 2; half++) {
            const i64 key = keys_at(cache, at[half].block, kv_head) + i64(at[half].token) * cache.key_dim;
            UNROLL for (i32 run = 0; run < TILE_RUNS; run++) {
                const i32 d = first + run * RUN + 8 * place;
                keys[run][half] = d < cache.key_dim ? load_stored<int8>(cache.keys, key + d) : ZEROS;
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
                const Words4 query = load16(&shared.queries[query_run][8 * n + group][8 * place]);
                if (int8) {
                    Sums whole = NO_SUMS;
                    mma_32(whole, keys[run][0], keys[run][1], query);
                    UNROLL for (i32 i = 0; i < 4; i++) {
                        const f32 scale = scales[run][i / 2] * shared.query_scales[query_run][8 * n + 2 * place + i % 2];
                        scores[n].of[i] = fmaf(whole.of[i], scale, scores[n].of[i]);
                    }
                } else {
                    mma_32(scores[n], keys[run][0], keys[run][1], query);
                }
            }
        }
    }

    // Scales the scores, and hides what a row does not see.
    DEVICE_MEMBER void mask(Sums (&scores)[eights], i32 start) const {
        UNROLL for (i32 n = 0; n < eights; n++) {
            UNROLL for (i32 i = 0; i < 4; i++) {
                const i32 key = start + 16 * i32(warp_id()) + 8 * (i / 2) + group;
                const i32 position = shared.position[8 * n + 2 * place + i % 2];
                const bool seen = key <= position && key >= first_visible(position, args.window);
                scores[n].of[i] = seen ? scores[n].of[i] * args.scale : nothing_yet();
            }
        }
    }

    // A fold over the 16 keys of each column: lanes that differ in `group` share the columns out, and one of them keeps each.
    template <class Fold> DEVICE_MEMBER void fold_keys(f32 (&columns)[2 * eights], f32 (&of_warps)[WARPS][ROWS], Fold fold) const {
        const f32 folded = fold_lanes<2 * eights, WARP / 2, 4>(columns, fold);
        constexpr i32 GROUPS_A_COLUMN = 4 / eights;
        const i32 column = group / GROUPS_A_COLUMN;
        if (group % GROUPS_A_COLUMN == 0) of_warps[warp_id()][8 * (column / 2) + 2 * place + column % 2] = folded;
    }

    // Scores become weights, in shared memory; maxima and sums and the values so far follow.
    DEVICE_MEMBER void soften(const Sums (&scores)[eights]) {
        f32 columns[2 * eights];
        UNROLL for (i32 i = 0; i < 2 * eights; i++) columns[i] = larger(scores[i / 2].of[i % 2], scores[i / 2].of[2 + i % 2]);
        fold_keys(columns, shared.warp_max, TakesLarger());
        __syncthreads();
        if (keeps_row()) {
            const u32 row = threadIdx.x;
            const f32 before = shared.max[row];
            f32 max = before;
            UNROLL for (u32 w = 0; w < WARPS; w++) max = larger(max, shared.warp_max[w][row]);
            shared.factor[row] = rescale(before, max);
            shared.max[row] = max;
        }
        __syncthreads();
        UNROLL for (i32 i = 0; i < 2 * eights; i++) {
            const i32 n = i / 2, column = i % 2, row = 8 * n + 2 * place + column;
            const f32 base = base_of(shared.max[row]), factor = shared.factor[row];
            const f32 first = exponential(scores[n].of[column] - base), second = exponential(scores[n].of[2 + column] - base);
            keep_weight(row, group, first);
            keep_weight(row, group + 8, second);
            columns[i] = first + second;
            values[n].of[column] *= factor;
            values[n].of[2 + column] *= factor;
        }
        fold_keys(columns, shared.warp_sum, Adds());
        __syncthreads();
        if (keeps_row()) {
            const u32 row = threadIdx.x;
            f32 sum = 0.0f;
            UNROLL for (u32 w = 0; w < WARPS; w++) sum += shared.warp_sum[w][row];
            shared.sum[row] = fmaf(shared.sum[row], shared.factor[row], sum);
        }
    }

    // The weight of this warp's key `key` (of 16) for row `row`.
    DEVICE_MEMBER void keep_weight(i32 row, i32 key, f32 weight) {
        const i32 run = i32(warp_id()) / 2, at = i32(warp_id()) % 2 * 16 + key;
        if (int8) {
            shared.weights[run][row][at] = __float_as_uint(weight);
        } else {
            const u16 upper = f32_to_bf16(weight);
            shared.upper(run, row)[at] = upper;
            shared.lower(run, row)[at] = f32_to_bf16(weight - bf16_to_f32(upper));
        }
    }

    // This lane's values: rows are dimensions, k are positions. Positions past the last one hold whatever was there before: zeros.
    DEVICE_MEMBER void load_values(Words4 (&stored)[TILE_RUNS][2], i32 start) const {
        const Cache& cache = args.cache;
        UNROLL for (i32 run = 0; run < TILE_RUNS; run++) {
            const i32 position = start + run * RUN + 8 * place, count = item.last + 1 - position;
            const Place at = place_of(args, item.span, least(position, item.last & ~7));
            const i64 head = values_at(cache, at.block, kv_head) + at.token;
            const Words4 there = first_halves(count);
            UNROLL for (i32 half = 0; half < 2; half++) {
                const i32 d = first_dim + 8 * half + group;
                const i64 value = head + (i64(d) << cache.block_shift);
                stored[run][half] = d < cache.value_dim && count > 0 ? both(load_stored<int8>(cache.values, value), there) : ZEROS;
            }
        }
    }

    // values += stored values, each times its weight
    DEVICE_MEMBER void add_values(const Words4 (&stored)[TILE_RUNS][2], i32 start) {
        if (first_dim >= args.cache.value_dim) return;
        UNROLL for (i32 run = 0; run < TILE_RUNS; run++) {
            if (start + run * RUN > item.last) break;
            Eight scales = NO_NUMBERS;
            if (int8) scales = value_scales(start + run * RUN + 8 * place);
            UNROLL for (i32 n = 0; n < eights; n++) {
                Words4 upper, lower;
                take_weights(upper, lower, run, 8 * n + group, scales);
                mma_32(values[n], stored[run][0], stored[run][1], upper);
                mma_32(values[n], stored[run][0], stored[run][1], lower);
            }
        }
    }

    // Scales of 8 positions' values; 0 past the last position.
    DEVICE_MEMBER Eight value_scales(i32 position) const {
        Eight scales = NO_NUMBERS;
        if (position > item.last) return scales;
        const Place at = place_of(args, item.span, position);
        const i64 first = value_scales_at(args.cache, at.block, kv_head) + (i64(first_dim / GROUP) << args.cache.block_shift) + at.token;
        const Words4 words = both(load16(args.cache.value_scales + first), first_halves(item.last + 1 - position));
        UNROLL for (i32 i = 0; i < 8; i++) scales.of[i] = i % 2 ? high_bf16(words.word[i / 2]) : low_bf16(words.word[i / 2]);
        return scales;
    }

    // The weights of row `row` for this lane's 8 positions of a run, times the values' scales, as two bf16s each.
    DEVICE_MEMBER void take_weights(Words4& upper, Words4& lower, i32 run, i32 row, const Eight& scales) {
        if (!int8) {
            upper = load16(shared.upper(run, row) + 8 * place);
            lower = load16(shared.lower(run, row) + 8 * place);
            return;
        }
        const Words4 words[2] = {load16(&shared.weights[run][row][8 * place]), load16(&shared.weights[run][row][8 * place + 4])};
        UNROLL for (i32 i = 0; i < 4; i++) {
            const f32 first = __uint_as_float(words[i / 2].word[2 * (i % 2)]) * scales.of[2 * i];
            const f32 second = __uint_as_float(words[i / 2].word[2 * (i % 2) + 1]) * scales.of[2 * i + 1];
            upper.word[i] = bf16_pair(first, second);
            lower.word[i] = bf16_pair(first - low_bf16(upper.word[i]), second - high_bf16(upper.word[i]));
        }
    }

    // total = total and the later split
    DEVICE_MEMBER void merge_split() {
        if (keeps_row()) {
            const u32 row = threadIdx.x;
            const Merge merge(shared.total_max[row], shared.total_sum[row], shared.max[row], shared.sum[row]);
            shared.merge_a[row] = merge.a;
            shared.merge_b[row] = merge.b;
            shared.total_max[row] = merge.max;
            shared.total_sum[row] = merge.sum;
        }
        __syncthreads();
        UNROLL for (i32 n = 0; n < eights; n++) {
            UNROLL for (i32 i = 0; i < 4; i++) {
                const i32 row = 8 * n + 2 * place + i % 2;
                total[n].of[i] = fmaf(values[n].of[i], shared.merge_b[row], total[n].of[i] * shared.merge_a[row]);
            }
        }
    }

    // Calls `store(row, dimension, value)` for each of this lane's values.
    template <class Store> DEVICE_MEMBER void each(const Sums (&of)[eights], Store store) const {
        UNROLL for (i32 n = 0; n < eights; n++) {
            UNROLL for (i32 i = 0; i < 4; i++) {
                const i32 row = 8 * n + 2 * place + i % 2, d = first_dim + 8 * (i / 2) + group;
                if (row < item.rows && d < args.cache.value_dim) store(row, d, of[n].of[i]);
            }
        }
    }

    DEVICE_MEMBER void store_out() const {
        each(total, [&](i32 row, i32 d, f32 value) {
            keep(args.out, args.fed, shared.head_row[row] * args.cache.value_dim + d, finished(value, shared.total_sum[row]));
        });
    }

    // The split's state: maxima, sums, values.
    DEVICE_MEMBER void store_state(i32 index) const {
        const i64 head = i64(blockIdx.x) * args.cache.kv_heads + kv_head;
        f32* const state = args.states + (head * args.splits + index) * ROWS * (2 + args.cache.value_dim);
        if (keeps_row() && slice == 0) {
            state[threadIdx.x] = shared.max[threadIdx.x];
            state[ROWS + threadIdx.x] = shared.sum[threadIdx.x];
        }
        each(values, [&](i32 row, i32 d, f32 value) { state[2 * ROWS + i64(row) * args.cache.value_dim + d] = value; });
    }
};

template <i32 eights, bool int8> DEVICE void attention(const AttentionArgs& args) {
    using Of = Attention<eights, int8>;
    SHARED(typename Of::Shared, shared, [1]);
    Of block(args, shared[0]);
    if (args.states != nullptr) {
        const i32 split = args.first_split + i32(blockIdx.z);
        if (split < block.item.first_split(args) || split >= block.item.end_split()) return;
        block.begin();
        block.run_split(split);
        block.store_state(i32(blockIdx.z));
        return;
    }
    block.begin();
    for (i32 split = block.item.first_split(args); split < block.item.end_split(); split++) {
        block.run_split(split);
        block.merge_split();
    }
    block.store_out();
}

// By dtype and query rows.
KERNEL(attention_bf16_8, AttentionArgs, THREADS, 2) { attention<1, false>(args); }
KERNEL(attention_bf16_32, AttentionArgs, THREADS, 2) { attention<4, false>(args); }
KERNEL(attention_int8_8, AttentionArgs, THREADS, 2) { attention<1, true>(args); }
KERNEL(attention_int8_32, AttentionArgs, THREADS, 1) { attention<4, true>(args); }

// Second phase of flash-decoding: merges the states of splits that attention.cu computed in
// parallel.
#include "attention.cuh"

// Largest value dimension.
constexpr i32 VALUE_DIM_MAX = 256;

// Number of splits whose states are loaded at once: a chain of dependent loads would take longer
// than attention itself. A missing split has no effect: its maximum is -inf, its sum and values are
// 0.
constexpr i32 SPLITS_AHEAD = 4;

// Merges the states of a round's splits, in order, into the totals; the last round writes the
// output. One warp per row.
template <i32 rows> DEVICE void merge_splits(const AttentionArgs& args) {
    constexpr i32 VALUES_PER_LANE = VALUE_DIM_MAX / i32(WARP);
    const QueryTile tile(args, rows);
    const i32 dim = args.cache.value_dim, state_numbers = rows * (2 + dim);
    const i64 head = i64(blockIdx.x) * args.cache.kv_heads + tile.kv_head;
    f32* const totals = args.totals + head * state_numbers;
    const i32 first = max_of(tile.first_split(args), args.first_split), end = min_of(tile.end_split(), args.first_split + args.splits);
    for (i32 row = i32(warp_id()); row < tile.rows; row += i32(WARPS)) {
        const i64 head_row = tile.head_row(args, row);
        const bool begins = args.first_round;
        f32 max = begins ? sink_of(args, head_row) : totals[row];
        f32 sum = begins ? (args.sinks == nullptr ? 0.0f : 1.0f) : totals[rows + row];
        f32 values[VALUES_PER_LANE];
        UNROLL for (i32 i = 0; i < VALUES_PER_LANE; i++) {
            const i32 d = i * i32(WARP) + i32(lane_id());
            values[i] = begins || d >= dim ? 0.0f : totals[2 * rows + i64(row) * dim + d];
        }
        for (i32 from = first; from < end; from += SPLITS_AHEAD) {
            f32 maxima[SPLITS_AHEAD], sums[SPLITS_AHEAD], of[SPLITS_AHEAD][VALUES_PER_LANE];
            UNROLL for (i32 s = 0; s < SPLITS_AHEAD; s++) {
                const bool there = from + s < end;
                const f32* const state = args.states + (head * args.splits + (there ? from + s : from) - args.first_split) * state_numbers;
                maxima[s] = there ? state[row] : negative_infinity();
                sums[s] = there ? state[rows + row] : 0.0f;
                UNROLL for (i32 i = 0; i < VALUES_PER_LANE; i++) {
                    const i32 d = i * i32(WARP) + i32(lane_id());
                    of[s][i] = there && d < dim ? state[2 * rows + i64(row) * dim + d] : 0.0f;
                }
            }
            UNROLL for (i32 s = 0; s < SPLITS_AHEAD; s++) {
                const SplitMerge merge(max, sum, maxima[s], sums[s]);
                UNROLL for (i32 i = 0; i < VALUES_PER_LANE; i++) values[i] = fmaf(of[s][i], merge.b, values[i] * merge.a);
                max = merge.max;
                sum = merge.sum;
            }
        }
        __syncwarp();  // all lanes have read the totals
        UNROLL for (i32 i = 0; i < VALUES_PER_LANE; i++) {
            const i32 d = i * i32(WARP) + i32(lane_id());
            if (d >= dim) continue;
            if (args.last_round) {
                store_with_epilogue(args.out, args.epilogue, head_row * dim + d, normalized(values[i], sum));
            } else {
                totals[2 * rows + i64(row) * dim + d] = values[i];
            }
        }
        if (!args.last_round && lane_id() == 0) {
            totals[row] = max;
            totals[rows + row] = sum;
        }
    }
}

KERNEL(merge_splits_8, AttentionArgs, THREADS, 1) { merge_splits<8>(args); }
KERNEL(merge_splits_32, AttentionArgs, THREADS, 1) { merge_splits<32>(args); }

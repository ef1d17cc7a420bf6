// The states of splits that attention.cu computed side by side become values.
#include "attention.cuh"

// Most dimensions of a value.
constexpr i32 MOST_VALUE_DIM = 256;

// Splits whose states are on their way at a time: a chain of loads would cost more than attention itself. One that is not there changes nothing:
// its maximum is the least there is, its sum and values are zeros.
constexpr i32 TOGETHER = 4;

// Merges the states of a round's splits, in order, into the totals, and finishes after the last round. A warp for each row.
template <i32 rows> DEVICE void merge_splits(const AttentionArgs& args) {
    constexpr i32 MOST = MOST_VALUE_DIM / i32(WARP);
    const Item item(args, rows);
    const i32 dim = args.cache.value_dim, state_numbers = rows * (2 + dim);
    const i64 head = i64(blockIdx.x) * args.cache.kv_heads + item.kv_head;
    f32* const totals = args.totals + head * state_numbers;
    const i32 first = most(item.first_split(args), args.first_split), end = least(item.end_split(), args.first_split + args.splits);
    for (i32 row = i32(warp_id()); row < item.rows; row += i32(WARPS)) {
        const i64 head_row = item.head_row(args, row);
        const bool begins = args.first_round;
        f32 max = begins ? sink_of(args, head_row) : totals[row];
        f32 sum = begins ? (args.sinks == nullptr ? 0.0f : 1.0f) : totals[rows + row];
        f32 values[MOST];
        UNROLL for (i32 i = 0; i < MOST; i++) {
            const i32 d = i * i32(WARP) + i32(lane_id());
            values[i] = begins || d >= dim ? 0.0f : totals[2 * rows + i64(row) * dim + d];
        }
        for (i32 from = first; from < end; from += TOGETHER) {
            f32 maxima[TOGETHER], sums[TOGETHER], of[TOGETHER][MOST];
            UNROLL for (i32 s = 0; s < TOGETHER; s++) {
                const bool there = from + s < end;
                const f32* const state = args.states + (head * args.splits + (there ? from + s : from) - args.first_split) * state_numbers;
                maxima[s] = there ? state[row] : nothing_yet();
                sums[s] = there ? state[rows + row] : 0.0f;
                UNROLL for (i32 i = 0; i < MOST; i++) {
                    const i32 d = i * i32(WARP) + i32(lane_id());
                    of[s][i] = there && d < dim ? state[2 * rows + i64(row) * dim + d] : 0.0f;
                }
            }
            UNROLL for (i32 s = 0; s < TOGETHER; s++) {
                const Merge merge(max, sum, maxima[s], sums[s]);
                UNROLL for (i32 i = 0; i < MOST; i++) values[i] = fmaf(of[s][i], merge.b, values[i] * merge.a);
                max = merge.max;
                sum = merge.sum;
            }
        }
        __syncwarp();  // all lanes have read the totals
        UNROLL for (i32 i = 0; i < MOST; i++) {
            const i32 d = i * i32(WARP) + i32(lane_id());
            if (d >= dim) continue;
            if (args.last_round) {
                keep(args.out, args.fed, head_row * dim + d, finished(values[i], sum));
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

// RMSNorm (Zhang & Sennrich 2019, optionally fused with the residual addition) and LayerNorm (Ba et
// al. 2016). One warp per short row (a head), one thread block per long row. The choice, and
// thereby the order of additions, depends only on the row length.
#include "epilogue.cuh"
#include "reduce.cuh"

struct NormArgs {
    f32* x;             // [rows, cols]
    const f32* y;       // [rows, cols], added to x first, or null
    const f32* weight;  // [cols]
    const f32* bias;    // [cols], or null
    f32* out;           // [rows, cols]; may be x
    EpilogueArgs epilogue;
    i64 rows;
    i64 cols;
    f32 eps;
    u32 unused;
};

// Number of elements of a row that a thread loads before it stores any: the compiler must assume
// that a store aliases the next load, so that each load would wait for the store before it.
constexpr i32 AHEAD = 8;

// Loads this thread's next elements of a row, `step` apart; zeros past the end.
DEVICE void load_ahead(f32 (&to)[AHEAD], const f32* row, i64 from, i64 step, i64 cols) {
    UNROLL for (i32 j = 0; j < AHEAD; j++) to[j] = from + j * step < cols ? row[from + j * step] : 0.0f;
}

// Sum over the threads that share a row: a warp or a thread block.
template <u32 warps> DEVICE f32 row_sum(f32 x, f32* sums) { return warps == 1 ? warp_sum(x) : block_sum<warps>(x, sums); }

// x += y if y is not null; out = x / sqrt(mean(x^2) + eps) * weight
template <u32 warps> DEVICE void rms_norm(const NormArgs& args) {
    SHARED(f32, sums, [WARPS]);
    constexpr u32 THREADS_PER_ROW = warps * WARP;
    const i64 row = i64(blockIdx.x) * (WARPS / warps) + warp_id() / warps;
    if (row >= args.rows) return;  // uniform for all threads of the row
    const i64 start = row * args.cols, first = threadIdx.x % THREADS_PER_ROW;
    f32* const x = args.x + start;
    const f32* const y = args.y == nullptr ? nullptr : args.y + start;
    f32 squares = 0.0f;
    for (i64 from = first; from < args.cols; from += AHEAD * THREADS_PER_ROW) {
        f32 numbers[AHEAD];
        load_ahead(numbers, x, from, THREADS_PER_ROW, args.cols);
        if (y != nullptr) {
            f32 more[AHEAD];
            load_ahead(more, y, from, THREADS_PER_ROW, args.cols);
            UNROLL for (i32 j = 0; j < AHEAD; j++) {
                const i64 i = from + j * THREADS_PER_ROW;
                numbers[j] += more[j];
                if (i < args.cols) x[i] = numbers[j];  // read again below by the same thread
            }
        }
        UNROLL for (i32 j = 0; j < AHEAD; j++) squares = fmaf(numbers[j], numbers[j], squares);
    }
    const f32 scale = 1.0f / sqrtf(row_sum<warps>(squares, sums) / f32(args.cols) + args.eps);
    for (i64 from = first; from < args.cols; from += AHEAD * THREADS_PER_ROW) {
        f32 numbers[AHEAD], weights[AHEAD];
        load_ahead(numbers, x, from, THREADS_PER_ROW, args.cols);
        load_ahead(weights, args.weight, from, THREADS_PER_ROW, args.cols);
        UNROLL for (i32 j = 0; j < AHEAD; j++) {
            const i64 i = from + j * THREADS_PER_ROW;
            if (i < args.cols) store_with_epilogue(args.out, args.epilogue, start + i, numbers[j] * scale * weights[j]);
        }
    }
}

KERNEL(rms_norm_short, NormArgs, THREADS, 1) { rms_norm<1>(args); }
KERNEL(rms_norm_long, NormArgs, THREADS, 1) { rms_norm<WARPS>(args); }

// out = (x - mean) / sqrt(variance + eps) * weight + bias
template <u32 warps> DEVICE void layer_norm(const NormArgs& args) {
    SHARED(f32, sums, [2][WARPS]);
    constexpr u32 THREADS_PER_ROW = warps * WARP;
    const i64 row = i64(blockIdx.x) * (WARPS / warps) + warp_id() / warps;
    if (row >= args.rows) return;
    const i64 start = row * args.cols;
    const f32* const x = args.x + start;
    const i64 first = threadIdx.x % THREADS_PER_ROW;
    f32 sum = 0.0f;
    UNROLL_BY(4) for (i64 i = first; i < args.cols; i += THREADS_PER_ROW) sum += x[i];
    const f32 mean = row_sum<warps>(sum, sums[0]) / f32(args.cols);
    f32 squares = 0.0f;
    UNROLL_BY(4) for (i64 i = first; i < args.cols; i += THREADS_PER_ROW) squares = fmaf(x[i] - mean, x[i] - mean, squares);
    const f32 scale = 1.0f / sqrtf(row_sum<warps>(squares, sums[1]) / f32(args.cols) + args.eps);
    for (i64 from = first; from < args.cols; from += AHEAD * THREADS_PER_ROW) {
        f32 numbers[AHEAD], weights[AHEAD], biases[AHEAD];
        load_ahead(numbers, x, from, THREADS_PER_ROW, args.cols);
        load_ahead(weights, args.weight, from, THREADS_PER_ROW, args.cols);
        load_ahead(biases, args.bias, from, THREADS_PER_ROW, args.bias == nullptr ? 0 : args.cols);
        UNROLL for (i32 j = 0; j < AHEAD; j++) {
            const i64 i = from + j * THREADS_PER_ROW;
            if (i < args.cols) store_with_epilogue(args.out, args.epilogue, start + i, fmaf((numbers[j] - mean) * scale, weights[j], biases[j]));
        }
    }
}

KERNEL(layer_norm_short, NormArgs, THREADS, 1) { layer_norm<1>(args); }
KERNEL(layer_norm_long, NormArgs, THREADS, 1) { layer_norm<WARPS>(args); }

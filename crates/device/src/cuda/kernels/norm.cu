// Normalization of rows. A row belongs to a warp where it is short (a head), to a block where it is long; which, follows from its length
// alone, and so do all orders of additions.
#include "fed.cuh"
#include "sums.cuh"

struct NormArgs {
    f32* x;             // [rows, cols]
    const f32* y;       // [rows, cols], added to x before, or null
    const f32* weight;  // [cols]
    const f32* bias;    // [cols], or null
    f32* out;           // [rows, cols]; may be x
    Fed fed;
    i64 rows;
    i64 cols;
    f32 eps;
    u32 unused;
};

// Numbers of a row that a thread has on their way at a time. They are loaded before any is stored: what is stored may be what is loaded next, as far
// as the compiler knows, and each load would wait for the store before it.
constexpr i32 AHEAD = 8;

// A thread's next numbers of a row, `step` apart; zeros past its end.
DEVICE void load_ahead(f32 (&to)[AHEAD], const f32* row, i64 from, i64 step, i64 cols) {
    UNROLL for (i32 j = 0; j < AHEAD; j++) to[j] = from + j * step < cols ? row[from + j * step] : 0.0f;
}

// The sum over the threads of a row: a warp's or a block's.
template <u32 warps> DEVICE f32 row_sum(f32 x, f32* sums) { return warps == 1 ? warp_sum(x) : block_sum<warps>(x, sums); }

// x += y, if there is one; out = x / sqrt(mean(x^2) + eps) * weight
template <u32 warps> DEVICE void rms_norm(const NormArgs& args) {
    SHARED(f32, sums, [WARPS]);
    constexpr u32 THREADS_A_ROW = warps * WARP;
    const i64 row = i64(blockIdx.x) * (WARPS / warps) + warp_id() / warps;
    if (row >= args.rows) return;  // all threads of the row
    const i64 start = row * args.cols, first = threadIdx.x % THREADS_A_ROW;
    f32* const x = args.x + start;
    const f32* const y = args.y == nullptr ? nullptr : args.y + start;
    f32 squares = 0.0f;
    for (i64 from = first; from < args.cols; from += AHEAD * THREADS_A_ROW) {
        f32 numbers[AHEAD];
        load_ahead(numbers, x, from, THREADS_A_ROW, args.cols);
        if (y != nullptr) {
            f32 more[AHEAD];
            load_ahead(more, y, from, THREADS_A_ROW, args.cols);
            UNROLL for (i32 j = 0; j < AHEAD; j++) {
                const i64 i = from + j * THREADS_A_ROW;
                numbers[j] += more[j];
                if (i < args.cols) x[i] = numbers[j];  // read again below by the thread that wrote it
            }
        }
        UNROLL for (i32 j = 0; j < AHEAD; j++) squares = fmaf(numbers[j], numbers[j], squares);
    }
    const f32 scale = 1.0f / sqrtf(row_sum<warps>(squares, sums) / f32(args.cols) + args.eps);
    for (i64 from = first; from < args.cols; from += AHEAD * THREADS_A_ROW) {
        f32 numbers[AHEAD], weights[AHEAD];
        load_ahead(numbers, x, from, THREADS_A_ROW, args.cols);
        load_ahead(weights, args.weight, from, THREADS_A_ROW, args.cols);
        UNROLL for (i32 j = 0; j < AHEAD; j++) {
            const i64 i = from + j * THREADS_A_ROW;
            if (i < args.cols) keep(args.out, args.fed, start + i, numbers[j] * scale * weights[j]);
        }
    }
}

KERNEL(rms_norm_short, NormArgs, THREADS, 1) { rms_norm<1>(args); }
KERNEL(rms_norm_long, NormArgs, THREADS, 1) { rms_norm<WARPS>(args); }

// out = (x - mean) / sqrt(variance + eps) * weight + bias
template <u32 warps> DEVICE void layer_norm(const NormArgs& args) {
    SHARED(f32, sums, [2][WARPS]);
    constexpr u32 THREADS_A_ROW = warps * WARP;
    const i64 row = i64(blockIdx.x) * (WARPS / warps) + warp_id() / warps;
    if (row >= args.rows) return;
    const i64 start = row * args.cols;
    const f32* const x = args.x + start;
    const i64 first = threadIdx.x % THREADS_A_ROW;
    f32 sum = 0.0f;
    UNROLL_BY(4) for (i64 i = first; i < args.cols; i += THREADS_A_ROW) sum += x[i];
    const f32 mean = row_sum<warps>(sum, sums[0]) / f32(args.cols);
    f32 squares = 0.0f;
    UNROLL_BY(4) for (i64 i = first; i < args.cols; i += THREADS_A_ROW) squares = fmaf(x[i] - mean, x[i] - mean, squares);
    const f32 scale = 1.0f / sqrtf(row_sum<warps>(squares, sums[1]) / f32(args.cols) + args.eps);
    for (i64 from = first; from < args.cols; from += AHEAD * THREADS_A_ROW) {
        f32 numbers[AHEAD], weights[AHEAD], biases[AHEAD];
        load_ahead(numbers, x, from, THREADS_A_ROW, args.cols);
        load_ahead(weights, args.weight, from, THREADS_A_ROW, args.cols);
        load_ahead(biases, args.bias, from, THREADS_A_ROW, args.bias == nullptr ? 0 : args.cols);
        UNROLL for (i32 j = 0; j < AHEAD; j++) {
            const i64 i = from + j * THREADS_A_ROW;
            if (i < args.cols) keep(args.out, args.fed, start + i, fmaf((numbers[j] - mean) * scale, weights[j], biases[j]));
        }
    }
}

KERNEL(layer_norm_short, NormArgs, THREADS, 1) { layer_norm<1>(args); }
KERNEL(layer_norm_long, NormArgs, THREADS, 1) { layer_norm<WARPS>(args); }

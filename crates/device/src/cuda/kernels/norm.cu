// Normalisation of rows. A row belongs to a warp where it is short (a head), to a block where it is long; which, follows from its length
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
    f32 squares = 0.0f;
    if (args.y == nullptr) {
        UNROLL_BY(4) for (i64 i = first; i < args.cols; i += THREADS_A_ROW) squares = fmaf(x[i], x[i], squares);
    } else {
        const f32* const y = args.y + start;
        UNROLL_BY(4) for (i64 i = first; i < args.cols; i += THREADS_A_ROW) {
            const f32 sum = x[i] + y[i];
            x[i] = sum;  // read again below by the thread that wrote it
            squares = fmaf(sum, sum, squares);
        }
    }
    const f32 scale = 1.0f / sqrtf(row_sum<warps>(squares, sums) / f32(args.cols) + args.eps);
    UNROLL_BY(4) for (i64 i = first; i < args.cols; i += THREADS_A_ROW) {
        keep(args.out, args.fed, start + i, x[i] * scale * args.weight[i]);
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
    for (i64 i = first; i < args.cols; i += THREADS_A_ROW) {
        keep(args.out, args.fed, start + i, fmaf((x[i] - mean) * scale, args.weight[i], args.bias == nullptr ? 0.0f : args.bias[i]));
    }
}

KERNEL(layer_norm_short, NormArgs, THREADS, 1) { layer_norm<1>(args); }
KERNEL(layer_norm_long, NormArgs, THREADS, 1) { layer_norm<WARPS>(args); }

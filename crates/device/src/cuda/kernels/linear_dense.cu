// Matrix product of unquantized weights (f32, f16, bf16) with f32 activations, on the CUDA cores:
// for f32 precision, and for weight dtypes that the tensor-core kernels do not support.
//
// A warp computes a tile of rows and tokens. A lane adds up the 8 elements from k = 256 i + 8 lane
// on, for i = 0, 1, .., in one chain of fused multiply-adds per output element; a butterfly
// reduction adds the sums of the lanes. The order of additions depends only on the number of
// columns.
#include "warp_tile.cuh"

template <class Format, i32 max_rows, i32 max_tokens, bool aligned> DEVICE void dense_rows(const LinearArgs& args) {
    WarpTile<max_rows, max_tokens> tile(args);
    if (!tile.has_rows()) return;
    UNROLL_BY(max_tokens == 1 ? 2 : 1) for (i64 k = lane_id() * 8; k < args.cols; k += UNIT) {
        F32x8 weights[max_rows];
        UNROLL for (i32 r = 0; r < max_rows; r++) {
            weights[r] = Format::template decode8<aligned>(tile.rows[r], k, args.cols);
        }
        tile.add(weights, k);
    }
    tile.finish(args);
}

// One token per warp: for one token, and also for several tokens if weight rows are not 16-byte
// aligned.
template <class Format> DEVICE void dense_one_token(const LinearArgs& args) {
    if (args.aligned) {
        dense_rows<Format, 2, 1, true>(args);
    } else {
        dense_rows<Format, 2, 1, false>(args);
    }
}

KERNEL(linear_f32_1, LinearArgs, THREADS, 2) { dense_one_token<F32Format>(args); }
KERNEL(linear_f16_1, LinearArgs, THREADS, 2) { dense_one_token<F16Format>(args); }
KERNEL(linear_bf16_1, LinearArgs, THREADS, 2) { dense_one_token<Bf16Format>(args); }

// Kernels with eight tokens per warp.
KERNEL(linear_f32_8, LinearArgs, THREADS, 1) { dense_rows<F32Format, 4, 8, true>(args); }
KERNEL(linear_f16_8, LinearArgs, THREADS, 1) { dense_rows<F16Format, 4, 8, true>(args); }
KERNEL(linear_bf16_8, LinearArgs, THREADS, 1) { dense_rows<Bf16Format, 4, 8, true>(args); }

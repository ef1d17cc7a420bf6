// Weights that are numbers (f32, f16, bf16) times f32 activations: the oracle mode, and f16 and f32 weights.
//
// A warp has some rows and some tokens. A lane takes the 8 numbers at k = 256 i + 8 lane, for i in order, in one chain of fused additions
// for each sum; the lanes' sums meet in a fixed butterfly. A sum's order depends on the columns alone.
#include "warp_tile.cuh"

template <class Format, i32 most_rows, i32 most_tokens, bool aligned> DEVICE void plain_rows(const LinearArgs& args) {
    WarpTile<most_rows, most_tokens> tile(args);
    if (!tile.any()) return;
    UNROLL_BY(most_tokens == 1 ? 2 : 1) for (i64 k = lane_id() * 8; k < args.cols; k += UNIT) {
        Eight weights[most_rows];
        UNROLL for (i32 r = 0; r < most_rows; r++) {
            weights[r] = Format::template eight<aligned>(tile.rows[r], k, args.cols);
        }
        tile.add(weights, k);
    }
    tile.finish(args);
}

// One token; also several where rows of weights do not start at multiples of 16 bytes.
template <class Format> DEVICE void plain_1(const LinearArgs& args) {
    if (args.aligned) {
        plain_rows<Format, 2, 1, true>(args);
    } else {
        plain_rows<Format, 2, 1, false>(args);
    }
}

KERNEL(linear_f32_1, LinearArgs, THREADS, 2) { plain_1<InF32>(args); }
KERNEL(linear_f16_1, LinearArgs, THREADS, 2) { plain_1<InF16>(args); }
KERNEL(linear_bf16_1, LinearArgs, THREADS, 2) { plain_1<InBf16>(args); }

// Several tokens.
KERNEL(linear_f32_8, LinearArgs, THREADS, 1) { plain_rows<InF32, 4, 8, true>(args); }
KERNEL(linear_f16_8, LinearArgs, THREADS, 1) { plain_rows<InF16, 4, 8, true>(args); }
KERNEL(linear_bf16_8, LinearArgs, THREADS, 1) { plain_rows<InBf16, 4, 8, true>(args); }

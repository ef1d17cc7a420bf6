// The sums of a warp that multiplies f32 activations: some rows of weights times some tokens, spread over its lanes by k.
#pragma once
#include "formats.cuh"
#include "linear.cuh"
#include "sums.cuh"

// 8 activations of a token; rows of x are padded with zeros to a multiple of 8.
DEVICE Eight eight_of_x(const f32* x, i64 k) {
    Eight of;
    const Words4 low = load16(x + k), high = load16(x + k + 4);
    UNROLL for (i32 i = 0; i < 4; i++) {
        of.of[i] = __uint_as_float(low.word[i]);
        of.of[4 + i] = __uint_as_float(high.word[i]);
    }
    return of;
}

// What a warp computes: `most_rows` rows from `first_row` times `most_tokens` tokens from `first_token`.
template <i32 most_rows, i32 most_tokens> struct WarpTile {
    const Product& product;
    i64 first_row;
    i32 first_token;
    const u8* rows[most_rows];   // where they start; rows and tokens past the end repeat the last one
    const f32* x[most_tokens];
    f32 sums[most_rows * most_tokens];  // [row][token]

    DEVICE_MEMBER explicit WarpTile(const LinearArgs& args)
        : product(product_of(args, blockIdx.x)),
          first_row(((i64(blockIdx.x) - product.first_block) * WARPS + warp_id()) * most_rows),
          first_token(i32(blockIdx.y) * most_tokens) {
        UNROLL for (i32 i = 0; i < most_rows * most_tokens; i++) sums[i] = 0.0f;
        UNROLL for (i32 r = 0; r < most_rows; r++) rows[r] = row(args, r);
        UNROLL for (i32 t = 0; t < most_tokens; t++) {
            x[t] = reinterpret_cast<const f32*>(args.x) + least(first_token + t, args.tokens - 1) * args.x_stride;
        }
    }

    // Whether the warp has any row; a warp without one must still come to the block's barriers.
    DEVICE_MEMBER bool any() const { return first_row < product.rows; }

    // Where row `r` starts, for an `r` that the compiler does not know.
    DEVICE_MEMBER const u8* row(const LinearArgs& args, i32 r) const {
        return product.weight + least(first_row + r, product.rows - 1) * args.row_bytes;
    }

    DEVICE_MEMBER void add(const Eight (&weights)[most_rows], i64 k) {
        UNROLL for (i32 t = 0; t < most_tokens; t++) {
            const Eight numbers = eight_of_x(x[t], k);
            UNROLL for (i32 r = 0; r < most_rows; r++) {
                f32& sum = sums[r * most_tokens + t];
                UNROLL for (i32 i = 0; i < 8; i++) sum = fmaf(weights[r].of[i], numbers.of[i], sum);
            }
        }
    }

    DEVICE_MEMBER void finish(const LinearArgs& args) {
        constexpr i32 LANES_A_SUM = i32(WARP) / (most_rows * most_tokens);
        f32 total = fold_lanes<most_rows * most_tokens, WARP / 2, 1>(sums, Adds());
        const i32 index = i32(lane_id()) / LANES_A_SUM, token = first_token + index % most_tokens;
        const i64 row = first_row + index / most_tokens;
        if (i32(lane_id()) % LANES_A_SUM == 0 && row < product.rows && token < args.tokens) {
            if (product.bias != nullptr) total += product.bias[row];
            product.out[token * product.rows + row] = total;
        }
    }
};

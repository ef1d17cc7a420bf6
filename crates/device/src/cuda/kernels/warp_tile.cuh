// Register tile of one warp for products with f32 activations: rows by tokens, k divided among the
// lanes.
#pragma once
#include "formats.cuh"
#include "linear.cuh"
#include "reduce.cuh"

// Loads 8 activations of a token, starting at k; rows of x are zero-padded to a multiple of 8.
DEVICE F32x8 load_x8(const f32* x, i64 k) {
    F32x8 of;
    const Words4 low = load16(x + k), high = load16(x + k + 4);
    UNROLL for (i32 i = 0; i < 4; i++) {
        of.value[i] = __uint_as_float(low.word[i]);
        of.value[4 + i] = __uint_as_float(high.word[i]);
    }
    return of;
}

// The output elements of `max_rows` rows, starting at `first_row`, for `max_tokens` tokens,
// starting at `first_token`.
template <i32 max_rows, i32 max_tokens> struct WarpTile {
    const ProductArgs& product;
    i64 first_row;
    i32 first_token;
    const u8* rows[max_rows];  // row addresses; rows and tokens past the end repeat the last one
    const f32* x[max_tokens];
    f32 sums[max_rows * max_tokens];  // [row][token]

    DEVICE_MEMBER explicit WarpTile(const LinearArgs& args)
        : product(product_of(args, blockIdx.x)),
          first_row(((i64(blockIdx.x) - product.first_block) * WARPS + warp_id()) * max_rows),
          first_token(i32(blockIdx.y) * max_tokens) {
        UNROLL for (i32 i = 0; i < max_rows * max_tokens; i++) sums[i] = 0.0f;
        UNROLL for (i32 r = 0; r < max_rows; r++) rows[r] = row(args, r);
        UNROLL for (i32 t = 0; t < max_tokens; t++) {
            x[t] = reinterpret_cast<const f32*>(args.x) + min_of(first_token + t, args.tokens - 1) * args.x_stride;
        }
    }

    // False for a warp past the last row, which has nothing to compute.
    DEVICE_MEMBER bool has_rows() const { return first_row < product.rows; }

    // Address of row `r`, for an `r` that is not a compile-time constant, with which the array
    // `rows` cannot be indexed in registers.
    DEVICE_MEMBER const u8* row(const LinearArgs& args, i32 r) const {
        return product.weight + min_of(first_row + r, product.rows - 1) * args.row_bytes;
    }

    DEVICE_MEMBER void add(const F32x8 (&weights)[max_rows], i64 k) {
        UNROLL for (i32 t = 0; t < max_tokens; t++) {
            const F32x8 numbers = load_x8(x[t], k);
            UNROLL for (i32 r = 0; r < max_rows; r++) {
                f32& sum = sums[r * max_tokens + t];
                UNROLL for (i32 i = 0; i < 8; i++) sum = fmaf(weights[r].value[i], numbers.value[i], sum);
            }
        }
    }

    DEVICE_MEMBER void finish(const LinearArgs& args) {
        constexpr i32 LANES_PER_SUM = i32(WARP) / (max_rows * max_tokens);
        f32 total = fold_lanes<max_rows * max_tokens, WARP / 2, 1>(sums, AddFold());
        const i32 index = i32(lane_id()) / LANES_PER_SUM, token = first_token + index % max_tokens;
        const i64 row = first_row + index / max_tokens;
        if (i32(lane_id()) % LANES_PER_SUM == 0 && row < product.rows && token < args.tokens) {
            if (product.bias != nullptr) total += product.bias[row];
            product.out[token * product.rows + row] = total;
        }
    }
};

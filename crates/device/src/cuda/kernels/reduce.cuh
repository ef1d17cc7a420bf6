// Warp and block reductions in a fixed order (butterfly shuffles).
#pragma once
#include "platform.cuh"

// Sum over the lanes of a warp, the same bits in every lane.
DEVICE f32 warp_sum(f32 x) {
    UNROLL for (u32 far = WARP / 2; far > 0; far /= 2) x += __shfl_xor_sync(ALL_LANES, x, far);
    return x;
}

// Reduces `count` (a power of two) values over the lanes that differ in bits far, far / 2 .. last
// of their index. While a lane has several values, each step divides them between two lanes. Lane l
// returns the reduction of value (l % (2 * far)) / (2 * far / count), bit-identical to a separate
// butterfly per value.
template <i32 count, u32 far, u32 last, class Fold> DEVICE f32 fold_lanes(f32 (&x)[count], Fold fold) {
    if constexpr (count == 1) {
        x[0] = fold(x[0], __shfl_xor_sync(ALL_LANES, x[0], far));
        if constexpr (far > last) return fold_lanes<1, far / 2, last>(x, fold);
        return x[0];
    } else {
        const bool second_half = (lane_id() & far) != 0;
        f32 kept[count / 2];
        UNROLL for (i32 i = 0; i < count / 2; i++) {
            const f32 given = second_half ? x[i] : x[count / 2 + i], mine = second_half ? x[count / 2 + i] : x[i];
            kept[i] = fold(mine, __shfl_xor_sync(ALL_LANES, given, far));
        }
        if constexpr (far > last) return fold_lanes<count / 2, far / 2, last>(kept, fold);
        return kept[0];
    }
}

DEVICE f32 larger(f32 a, f32 b) { return b > a ? b : a; }

struct AddFold {
    DEVICE_MEMBER f32 operator()(f32 a, f32 b) const { return a + b; }
};

struct MaxFold {
    DEVICE_MEMBER f32 operator()(f32 a, f32 b) const { return larger(a, b); }
};

// Maximum over the lanes of a warp. NaNs are ignored.
DEVICE f32 warp_max(f32 x) {
    UNROLL for (u32 far = WARP / 2; far > 0; far /= 2) {
        const f32 other = __shfl_xor_sync(ALL_LANES, x, far);
        x = other > x ? other : x;
    }
    return x;
}

// Sum over the threads of a thread block: within each warp, then over the warps in order. `sums` is
// shared memory [warps] that can be reused after the next barrier of the block.
template <u32 warps> DEVICE f32 block_sum(f32 x, f32* sums) {
    x = warp_sum(x);
    if (lane_id() == 0) sums[warp_id()] = x;
    __syncthreads();
    f32 total = 0.0f;
    UNROLL for (u32 w = 0; w < warps; w++) total += sums[w];
    return total;
}

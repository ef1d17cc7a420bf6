// Quantized weights, in their own bytes, times f32 activations.
//
// Blocks have odd sizes (34, 18, 210 bytes ..) that no wide load fits. So a warp copies the 16-byte words around its rows' next units (256
// numbers) to shared memory, a few units ahead of what it multiplies, and takes them apart there. Sums are those of linear_plain.cu: a
// lane's chain over its 8 numbers of each unit, then the butterfly.
#include "warp_tile.cuh"

// 16-byte words that hold a unit wherever it starts.
template <class Format> DEVICE constexpr i32 window_words() { return (unit_bytes<Format>() + 14 + 15) / 16; }

// The units on their way to one warp.
template <class Format, i32 most_rows, i32 stages> struct Windows {
    u8 of[stages][most_rows][window_words<Format>() * 16];
};

// Starts the copies of unit `unit` of the tile's rows. Words that reach out of the weights are copied byte by byte.
template <class Format, i32 most_rows, i32 most_tokens>
DEVICE void copy_unit(u8 (&to)[most_rows][window_words<Format>() * 16], const WarpTile<most_rows, most_tokens>& tile,
                      const LinearArgs& args, i64 unit) {
    constexpr i32 WORDS = window_words<Format>();
    const u8* const begin = tile.product.weight;
    const u8* const end = begin + tile.product.rows * args.row_bytes;
    UNROLL for (i32 first = 0; first < most_rows * WORDS; first += i32(WARP)) {
        const i32 index = first + i32(lane_id()), r = index / WORDS, word = index % WORDS;
        if (index >= most_rows * WORDS) break;
        const u8* const row = tile.row(args, r);
        const u8* const start = row + unit * unit_bytes<Format>();
        const u8* const from = start - (u64(start) & 15) + 16 * word;
        if (from >= row + args.row_bytes) continue;  // the row's last unit may be a part of one
        if (from >= begin && from + 16 <= end) {
            copy16_async(&to[r][16 * word], from, true);
        } else {
            UNROLL_BY(1) for (i32 i = 0; i < 16; i++) if (from + i >= begin && from + i < end) to[r][16 * word + i] = from[i];
        }
    }
}

template <class Format, i32 most_rows, i32 most_tokens, i32 stages> DEVICE void linear_blocks(const LinearArgs& args) {
    using Ring = Windows<Format, most_rows, stages>;
    SHARED(Ring, rings, [WARPS]);
    Ring& ring = rings[warp_id()];
    WarpTile<most_rows, most_tokens> tile(args);
    if (!tile.any()) return;
    const i64 units = parts_of(args.cols, UNIT);
    UNROLL_BY(1) for (i32 unit = 0; unit < stages - 1; unit++) {
        if (unit < units) copy_unit<Format>(ring.of[unit], tile, args, unit);
        copies_commit();
    }
    i32 filling = stages - 1, reading = 0;
    UNROLL_BY(1) for (i64 unit = 0; unit < units; unit++) {
        if (unit + stages - 1 < units) copy_unit<Format>(ring.of[filling], tile, args, unit + stages - 1);
        copies_commit();
        filling = filling + 1 == stages ? 0 : filling + 1;
        copies_wait<stages - 1>();
        __syncwarp();  // the unit is there for all lanes
        const i64 k = unit * UNIT + lane_id() * 8;
        if (k < args.cols) {
            Eight weights[most_rows];
            UNROLL for (i32 r = 0; r < most_rows; r++) {
                const u8* const start = tile.rows[r] + unit * unit_bytes<Format>();
                weights[r] = Format::eight(ring.of[reading][r] + (u64(start) & 15), lane_id());
            }
            tile.add(weights, k);
        }
        reading = reading + 1 == stages ? 0 : reading + 1;
        __syncwarp();  // all lanes are done with the stage that is filled next
    }
    tile.finish(args);
}

// One token, and several.
#define LINEAR_BLOCKS(name, Format)                                                                    \
    KERNEL(linear_##name##_1, LinearArgs, THREADS, 2) { linear_blocks<Format, 2, 1, 8>(args); }        \
    KERNEL(linear_##name##_8, LinearArgs, THREADS, 1) { linear_blocks<Format, 4, 8, 4>(args); }

LINEAR_BLOCKS(q8_0, InQ8_0)
LINEAR_BLOCKS(q4_0, InQ4_0)
LINEAR_BLOCKS(q4_1, InQ4_1)
LINEAR_BLOCKS(q5_0, InQ5_0)
LINEAR_BLOCKS(q5_1, InQ5_1)
LINEAR_BLOCKS(q4_k, InQ4K)
LINEAR_BLOCKS(q5_k, InQ5K)
LINEAR_BLOCKS(q6_k, InQ6K)

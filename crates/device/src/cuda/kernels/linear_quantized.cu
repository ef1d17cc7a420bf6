// Matrix product of quantized weights (GGUF block formats) with f32 activations, dequantized in
// registers.
//
// Quantization blocks have sizes (34, 18, 210 bytes, ...) that are not multiples of a wide load. A
// warp therefore copies the aligned 16-byte words around the next units (256 elements) of its rows
// to shared memory with cp.async, a few units ahead, and decodes them there. The order of additions
// is that of linear_dense.cu: one chain per lane over its 8 elements of each unit, then a
// butterfly.
#include "warp_tile.cuh"

// Number of 16-byte words that cover a unit at any even address.
template <class Format> DEVICE constexpr i32 unit_window_words() { return (unit_bytes<Format>() + 14 + 15) / 16; }

// Multi-stage buffers of the units that one warp copies.
template <class Format, i32 max_rows, i32 stages> struct UnitBuffers {
    u8 units[stages][max_rows][unit_window_words<Format>() * 16];
};

// Starts the copies of unit `unit` of the tile's rows. Words that extend past the weights are
// copied byte by byte.
template <class Format, i32 max_rows, i32 max_tokens>
DEVICE void copy_unit(u8 (&to)[max_rows][unit_window_words<Format>() * 16], const WarpTile<max_rows, max_tokens>& tile,
                      const LinearArgs& args, i64 unit) {
    constexpr i32 WORDS = unit_window_words<Format>();
    const u8* const begin = tile.product.weight;
    const u8* const end = begin + tile.product.rows * args.row_bytes;
    UNROLL for (i32 first = 0; first < max_rows * WORDS; first += i32(WARP)) {
        const i32 index = first + i32(lane_id()), r = index / WORDS, word = index % WORDS;
        if (index >= max_rows * WORDS) break;
        const u8* const row = tile.row(args, r);
        const u8* const start = row + unit * unit_bytes<Format>();
        const u8* const from = start - (u64(start) & 15) + 16 * word;
        if (from >= row + args.row_bytes) continue;  // the last unit of a row may be partial
        if (from >= begin && from + 16 <= end) {
            copy16_async(&to[r][16 * word], from, true);
        } else {
            UNROLL_BY(1) for (i32 i = 0; i < 16; i++) if (from + i >= begin && from + i < end) to[r][16 * word + i] = from[i];
        }
    }
}

template <class Format, i32 max_rows, i32 max_tokens, i32 stages> DEVICE void linear_quantized(const LinearArgs& args) {
    using Ring = UnitBuffers<Format, max_rows, stages>;
    SHARED(Ring, rings, [WARPS]);
    Ring& ring = rings[warp_id()];
    WarpTile<max_rows, max_tokens> tile(args);
    if (!tile.has_rows()) return;
    const i64 units = div_ceil(args.cols, UNIT);
    UNROLL_BY(1) for (i32 unit = 0; unit < stages - 1; unit++) {
        if (unit < units) copy_unit<Format>(ring.units[unit], tile, args, unit);
        copies_commit();
    }
    i32 filling = stages - 1, reading = 0;
    UNROLL_BY(1) for (i64 unit = 0; unit < units; unit++) {
        if (unit + stages - 1 < units) copy_unit<Format>(ring.units[filling], tile, args, unit + stages - 1);
        copies_commit();
        filling = filling + 1 == stages ? 0 : filling + 1;
        copies_wait<stages - 1>();
        __syncwarp();  // the unit has arrived for all lanes
        const i64 k = unit * UNIT + lane_id() * 8;
        if (k < args.cols) {
            F32x8 weights[max_rows];
            UNROLL for (i32 r = 0; r < max_rows; r++) {
                const u8* const start = tile.rows[r] + unit * unit_bytes<Format>();
                weights[r] = Format::decode8(ring.units[reading][r] + (u64(start) & 15), lane_id());
            }
            tile.add(weights, k);
        }
        reading = reading + 1 == stages ? 0 : reading + 1;
        __syncwarp();  // all lanes have read the stage that is filled next
    }
    tile.finish(args);
}

// Entry points for one token and for several.
#define LINEAR_QUANTIZED(name, Format)                                                                    \
    KERNEL(linear_##name##_1, LinearArgs, THREADS, 2) { linear_quantized<Format, 2, 1, 8>(args); }        \
    KERNEL(linear_##name##_8, LinearArgs, THREADS, 1) { linear_quantized<Format, 4, 8, 4>(args); }

LINEAR_QUANTIZED(q8_0, Q8_0Format)
LINEAR_QUANTIZED(q4_0, Q4_0Format)
LINEAR_QUANTIZED(q4_1, Q4_1Format)
LINEAR_QUANTIZED(q5_0, Q5_0Format)
LINEAR_QUANTIZED(q5_1, Q5_1Format)
LINEAR_QUANTIZED(q4_k, Q4KFormat)
LINEAR_QUANTIZED(q5_k, Q5KFormat)
LINEAR_QUANTIZED(q6_k, Q6KFormat)

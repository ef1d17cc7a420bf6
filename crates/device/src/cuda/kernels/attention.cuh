// What both kernels of attention share.
//
// Positions are visited in tiles of 128 with a running maximum (online softmax), and tiles are grouped into splits of 256 whose results
// are merged in order. Tiles and splits stand at fixed positions: a query's bits depend on its sequence alone, not on how that was cut
// into passes, on the batch, or on whether splits were computed side by side.
#pragma once
#include "cache.cuh"
#include "fed.cuh"

constexpr i32 KEY_TILE = 128;
constexpr i32 SPLIT = 256;
constexpr i32 SPLIT_TILES = SPLIT / KEY_TILE;

// Some query rows of one kv head: rows `first ..` of a sequence's, numbered token * group + head of the group.
struct QueryTile {
    u32 span;
    u32 first;
};

struct AttentionArgs {
    Cache cache;
    const f32* q;             // [tokens, heads, key_dim]
    f32* out;                 // [tokens, heads, value_dim]
    Fed fed;
    const f32* sinks;         // [heads], or null
    const Span* spans;
    const u32* blocks;        // block tables, one after the other
    const QueryTile* tiles;   // of the grid's x; its y are kv heads times slices of values
    const u32* span_of_row;   // [tokens]
    // Splits that are computed side by side (the grid's z, from `first_split`), each into a state of its own; null: one after the other
    // by the block itself. A state is maxima, sums and values: `[tile][kv_head][split]` of `[rows * (2 + value_dim)]`.
    f32* states;
    f32* totals;  // the same, `[tile][kv_head]`: what splits before `first_split` gave
    i32 first_split;
    i32 splits;  // of this round
    i32 group;   // query heads of a kv head
    i32 window;  // positions that a token sees, itself included; 0: all before it
    f32 scale;
    i32 slices;       // of values; 1 for `merge_splits`
    i32 first_round;  // whether `merge_splits` begins, and does not go on from the totals
    i32 last_round;   // whether it finishes
};

// The first position that the token at `position` sees.
DEVICE i32 first_visible(i32 position, i32 window) { return window > 0 && position >= window ? position + 1 - window : 0; }

// The maximum of no scores.
DEVICE f32 nothing_yet() { return __uint_as_float(0xff800000u); }

// What the maximum is taken off as: rows that have seen nothing have none.
DEVICE f32 base_of(f32 max) { return max == nothing_yet() ? 0.0f : max; }

// How much a value counts whose maximum was `before`, now that it is `max`.
DEVICE f32 rescale(f32 before, f32 max) { return before == max && max != nothing_yet() ? 1.0f : exponential(before - base_of(max)); }

// Two states of a query become one; values are merged as v = fmaf(later, b, earlier * a).
struct Merge {
    f32 max, sum, a, b;
    DEVICE_MEMBER Merge(f32 max_before, f32 sum_before, f32 max_later, f32 sum_later)
        : max(larger(max_before, max_later)),
          a(exponential(max_before - base_of(max))),
          b(exponential(max_later - base_of(max))) {
        sum = fmaf(sum_later, b, sum_before * a);
    }
};

// A query's value at the end. + 0.0: a key that was masked may have turned a -0 into +0.
DEVICE f32 finished(f32 value, f32 sum) { return fmaf(value, 1.0f / sum, 0.0f); }

// A block's query rows, and what they see.
struct Item {
    Span span;
    i32 first;     // row of the span
    i32 rows;      // at most as many as a tile has
    i32 kv_head;
    i32 position;  // of the first row
    i32 last;      // position of the last row

    DEVICE_MEMBER Item(const AttentionArgs& args, i32 most_rows) {
        const QueryTile tile = args.tiles[blockIdx.x];
        span = args.spans[tile.span];
        first = i32(tile.first);
        kv_head = i32(blockIdx.y) / args.slices;
        rows = least(most_rows, span.tokens * args.group - first);
        position = position_of(args, 0);
        last = position_of(args, rows - 1);
    }
    DEVICE_MEMBER i32 position_of(const AttentionArgs& args, i32 row) const { return span.first_position + (first + row) / args.group; }
    // The row's query in q, its value in out, its sink: [token, head].
    DEVICE_MEMBER i64 head_row(const AttentionArgs& args, i32 row) const {
        const i64 token = span.first_row + (first + row) / args.group;
        return (token * args.cache.kv_heads + kv_head) * args.group + (first + row) % args.group;
    }
    DEVICE_MEMBER i32 first_tile(const AttentionArgs& args) const { return first_visible(position, args.window) / KEY_TILE; }
    DEVICE_MEMBER i32 first_split(const AttentionArgs& args) const { return first_tile(args) / SPLIT_TILES; }
    DEVICE_MEMBER i32 end_split() const { return last / SPLIT + 1; }
};

// The sink of a row, if there are any: a score whose value is zero.
DEVICE f32 sink_of(const AttentionArgs& args, i64 head_row) {
    return args.sinks == nullptr ? nothing_yet() : args.sinks[head_row % (args.cache.kv_heads * args.group)];
}

// Where a position is kept.
struct Place {
    i64 block;
    i32 token;
};

DEVICE Place place_of(const AttentionArgs& args, const Span& span, i32 position) {
    return {i64(args.blocks[span.first_block + (position >> args.cache.block_shift)]), position & (args.cache.block_tokens() - 1)};
}

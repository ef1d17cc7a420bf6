// Split-KV attention (flash-decoding, Dao et al. 2023): arguments, state merging and query tiles
// that the attention kernels share.
//
// Positions are visited in tiles of 128 with an online softmax (Milakov & Gimelshein 2018). Tiles
// are grouped into splits of 256 positions whose states are merged in order. Tiles and splits start
// at fixed positions, so the bits of a query's result depend only on its sequence: not on how the
// sequence was divided into passes, on the batch, or on whether splits were computed in parallel.
#pragma once
#include "kv_cache.cuh"
#include "epilogue.cuh"

constexpr i32 KEY_TILE = 128;
constexpr i32 SPLIT = 256;
constexpr i32 SPLIT_TILES = SPLIT / KEY_TILE;

// A tile of query rows of one KV head, starting at row `first` of the sequence's new tokens. The
// row of a token and a query head is token * group + index of the head within its group.
struct QueryTileArgs {
    u32 sequence;
    u32 first;
};

struct AttentionArgs {
    KvCacheArgs cache;
    const f32* q;  // [tokens, heads, key_dim]
    f32* out;      // [tokens, heads, value_dim]
    EpilogueArgs epilogue;
    const f32* sinks;         // [heads], or null
    const SequenceArgs* sequences;
    const u32* blocks;           // concatenated block tables
    const QueryTileArgs* tiles;  // indexed by grid x; grid y: KV heads x value slices
    const u32* sequence_of_row;  // [tokens]
    // States of the splits that are computed in parallel; grid z is the split, counted from
    // `first_split`. Null: a thread block computes all splits in order. A state consists of maxima
    // [rows], sums [rows] and values [rows, value_dim]; states are indexed
    // `[tile][kv_head][split]`.
    f32* states;
    f32* totals;  // merged state of the splits before `first_split`, `[tile][kv_head]`
    i32 first_split;
    i32 splits;  // number of splits in this round
    i32 group;   // query heads per KV head
    i32 window;  // positions visible to a token, its own included; 0: all up to its own
    f32 scale;
    i32 slices;       // of the value dimensions; 1 in merge_splits
    i32 first_round;  // merge_splits starts a new total
    i32 last_round;   // merge_splits writes the output
};

// First position visible to the token at `position`.
DEVICE i32 first_visible(i32 position, i32 window) { return window > 0 && position >= window ? position + 1 - window : 0; }

// Minus infinity: the maximum of an empty set of scores.
DEVICE f32 negative_infinity() { return __uint_as_float(0xff800000u); }

// Number that is subtracted from scores before exp: the maximum, or 0 for a row without a visible
// key so far.
DEVICE f32 softmax_base(f32 max) { return max == negative_infinity() ? 0.0f : max; }

// Factor that rescales values accumulated with the maximum `before` when the maximum becomes `max`.
DEVICE f32 rescale(f32 before, f32 max) { return before == max && max != negative_infinity() ? 1.0f : exponential(before - softmax_base(max)); }

// Merges two states of a query; values are merged as v = fmaf(later, b, earlier * a).
struct SplitMerge {
    f32 max, sum, a, b;
    DEVICE_MEMBER SplitMerge(f32 max_before, f32 sum_before, f32 max_later, f32 sum_later)
        : max(larger(max_before, max_later)),
          a(exponential(max_before - softmax_base(max))),
          b(exponential(max_later - softmax_base(max))) {
        sum = fmaf(sum_later, b, sum_before * a);
    }
};

// Final value of a query: value / sum. Adding 0.0f turns -0 into +0, as a masked key does, so that
// the sign does not depend on masked keys.
DEVICE f32 normalized(f32 value, f32 sum) { return fmaf(value, 1.0f / sum, 0.0f); }

// The query rows of a thread block and the positions visible to them.
struct QueryTile {
    SequenceArgs sequence;
    i32 first;  // index of the first row within the sequence's new tokens
    i32 rows;   // number of rows; fewer than a tile's at the end of a sequence
    i32 kv_head;
    i32 position;  // position of the first row
    i32 last;      // position of the last row

    DEVICE_MEMBER QueryTile(const AttentionArgs& args, i32 max_rows) {
        const QueryTileArgs of_tile = args.tiles[blockIdx.x];
        sequence = args.sequences[of_tile.sequence];
        first = i32(of_tile.first);
        kv_head = i32(blockIdx.y) / args.slices;
        rows = min_of(max_rows, sequence.tokens * args.group - first);
        position = position_of(args, 0);
        last = position_of(args, rows - 1);
    }
    DEVICE_MEMBER i32 position_of(const AttentionArgs& args, i32 row) const { return sequence.first_position + (first + row) / args.group; }
    // Index of the row's [token, head] in q, out and sinks.
    DEVICE_MEMBER i64 head_row(const AttentionArgs& args, i32 row) const {
        const i64 token = sequence.first_row + (first + row) / args.group;
        return (token * args.cache.kv_heads + kv_head) * args.group + (first + row) % args.group;
    }
    DEVICE_MEMBER i32 first_tile(const AttentionArgs& args) const { return first_visible(position, args.window) / KEY_TILE; }
    DEVICE_MEMBER i32 first_split(const AttentionArgs& args) const { return first_tile(args) / SPLIT_TILES; }
    DEVICE_MEMBER i32 end_split() const { return last / SPLIT + 1; }
};

// Attention sink of a row: an additional score whose value vector is zero; -inf: none.
DEVICE f32 sink_of(const AttentionArgs& args, i64 head_row) {
    return args.sinks == nullptr ? negative_infinity() : args.sinks[head_row % (args.cache.kv_heads * args.group)];
}

// KV block of a position, and the index of its token within the block.
struct KvSlot {
    i64 block;
    i32 token;
};

DEVICE KvSlot slot_of(const AttentionArgs& args, const SequenceArgs& sequence, i32 position) {
    return {i64(args.blocks[sequence.first_block + (position >> args.cache.block_shift)]), position & (args.cache.block_tokens() - 1)};
}

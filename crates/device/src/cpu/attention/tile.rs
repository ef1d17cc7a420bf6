//! Online softmax attention of a row block over one KV tile.

use std::ops::Range;

use super::super::simd::{LANES, LINE, Simd, SimdInt, math};
use super::cache::{KvLane16, KvShape};
use super::kv_format::{KvFormat, ValueStep};
use super::task::first_visible;
use super::{LANE_GROUPS, TILE};

/// The query of one token and head.
#[derive(Clone, Copy)]
pub(super) struct QueryRow {
    /// Flat index in [tokens, heads].
    pub index: usize,
    pub position: usize,
}

/// A few query rows and the KV tile to which they attend.
pub(super) struct RowBlock<'a> {
    pub shape: &'a KvShape,
    pub scale: f32,
    pub window: Option<usize>,
    pub tile: usize,
    pub rows: &'a [QueryRow],
    pub here: &'a [KvLane16; LANE_GROUPS],
    /// The tile to prefetch.
    pub next: &'a [KvLane16; LANE_GROUPS],
    /// Packed queries, [words][query_stride], from the first row of the block.
    pub queries: *const u32,
    pub query_stride: usize,
    /// [rows][64]: the scores, and then the softmax weights.
    pub weights: *mut f32,
    /// Softmax state of the rows: `max` is [rows], `sums` [rows][16], `values`
    /// [rows][value_stride].
    pub max: *mut f32,
    pub sums: *mut f32,
    pub values: *mut f32,
}

/// Adds one tile to the softmax state of R rows. Scores are computed for 16 W keys at a time,
/// weighted values for 16 W elements at a time.
#[inline(always)]
pub(super) unsafe fn attend_tile<S: SimdInt, K: KvFormat, const R: usize, const W: usize>(
    block: &RowBlock,
) {
    let start = block.tile * TILE;
    let (mut first, mut last) = (usize::MAX, 0);
    for row in block.rows {
        first = first.min(first_visible(row.position, block.window));
        last = last.max(row.position);
    }
    if last < start || first >= start + TILE {
        return; // the causal mask or the window hides the whole tile
    }
    scores::<S, K, R, W>(block);
    let factors = softmax::<S, K, R>(block);
    let keys = first.max(start) - start..(last + 1 - start).min(TILE);
    values::<S, K, R, W>(block, &factors, keys);
}

/// Writes the scaled and masked scores, [R][64], to `block.weights`.
#[inline(always)]
unsafe fn scores<S: SimdInt, K: KvFormat, const R: usize, const W: usize>(block: &RowBlock) {
    let scale = S::splat(block.scale);
    for from in (0..LANE_GROUPS).step_by(W) {
        let (here, next) = (&block.here[from..from + W], &block.next[from..from + W]);
        let dots = K::dots::<S, R, W>(block.shape, here, next, block.queries, block.query_stride);
        for r in 0..R {
            for w in 0..W {
                S::store(
                    block.weights.add(r * TILE + (from + w) * LANES),
                    S::mul(dots[r][w], scale),
                );
            }
        }
    }
    let start = block.tile * TILE;
    for (r, row) in block.rows.iter().enumerate() {
        let first = first_visible(row.position, block.window);
        if row.position < start + TILE - 1 || first > start {
            mask::<S>(block.weights.add(r * TILE), start, first, row.position);
        }
    }
}

/// Sets scores of keys outside of first..=last to -inf. Positions are exact in f32 up to 2^24.
#[inline(always)]
unsafe fn mask<S: Simd>(scores: *mut f32, start: usize, first: usize, last: usize) {
    const RAMP: [f32; LANES] =
        [0., 1., 2., 3., 4., 5., 6., 7., 8., 9., 10., 11., 12., 13., 14., 15.];
    let hidden = S::splat(f32::NEG_INFINITY);
    // Positions relative to the start of the tile.
    let first = S::splat(first.saturating_sub(start) as f32);
    let last = S::splat(last as f32 - start as f32);
    for from in (0..TILE).step_by(LANES) {
        let position = S::add(S::load(RAMP.as_ptr()), S::splat(from as f32));
        let score = S::select_less(position, first, hidden, S::load(scores.add(from)));
        S::store(scores.add(from), S::select_less(last, position, hidden, score));
    }
}

/// Replaces the scores by softmax weights, updates maxima and sums, and returns the factor by which
/// each row's accumulated values must be scaled.
#[inline(always)]
unsafe fn softmax<S: Simd, K: KvFormat, const R: usize>(block: &RowBlock) -> [f32; LANES] {
    let mut tile_max = [f32::NEG_INFINITY; LANES];
    for r in 0..R {
        let mut max = score::<S>(block, r, 0);
        for group in 1..LANE_GROUPS {
            max = S::max(score::<S>(block, r, group), max);
        }
        tile_max[r] = S::max_lane(max);
    }
    // Vectors with one lane per row.
    let before = S::load_part(block.max, R);
    let max = S::max(S::load(tile_max.as_ptr()), before);
    S::store_part(block.max, max, R);
    let base = S::select_less(max, S::splat(f32::MIN), S::splat(0.0), max); // -inf - -inf is NaN
    let (mut bases, mut factors) = ([0.0; LANES], [0.0; LANES]);
    S::store(bases.as_mut_ptr(), base);
    S::store(factors.as_mut_ptr(), math::exp::<S>(S::sub(before, base)));
    let half = value_lines::<K>(block.shape) / 2;
    for r in 0..R {
        let mut p = [S::splat(0.0); LANE_GROUPS];
        for group in 0..LANE_GROUPS {
            prefetch_values::<S>(&block.next[group], half * r / R..half * (r + 1) / R);
            p[group] = math::exp::<S>(S::sub(score::<S>(block, r, group), S::splat(bases[r])));
            K::store_weights::<S>(block.weights.add(r * TILE), group * LANES, p[group]);
        }
        let sums = block.sums.add(r * LANES);
        let now = S::add(S::add(p[0], p[1]), S::add(p[2], p[3]));
        S::store(sums, S::fma(S::load(sums), S::splat(factors[r]), now));
    }
    factors
}

/// Number of cache lines of the values of 16 positions. The next tile's keys are prefetched during
/// the computation of the scores, half of its values during the softmax, the other half during the
/// accumulation of values: the number of outstanding loads is limited, so they are spread over the
/// computation. Values that are parts of the keys need no prefetch of their own.
fn value_lines<K: KvFormat>(shape: &KvShape) -> usize {
    if shape.values_in_keys { 0 } else { shape.value_stride() * LANES * K::VALUE_BYTES / LINE }
}

/// Prefetches the cache lines `lines` of the values of 16 positions.
#[inline(always)]
unsafe fn prefetch_values<S: Simd>(lane16: &KvLane16, lines: Range<usize>) {
    for line in lines {
        S::prefetch_far(lane16.values.wrapping_add(line * LINE));
    }
}

#[inline(always)]
unsafe fn score<S: Simd>(block: &RowBlock, r: usize, group: usize) -> S::F {
    S::load(block.weights.add(r * TILE + group * LANES))
}

/// values = values * factor + weights * V, accumulated key by key in order.
#[inline(always)]
unsafe fn values<S: SimdInt, K: KvFormat, const R: usize, const W: usize>(
    block: &RowBlock,
    factors: &[f32; LANES],
    keys: Range<usize>,
) {
    let vectors = block.shape.value_stride() / LANES;
    let mut done = 0;
    while done + W <= vectors {
        add_values::<S, K, R, W>(block, factors, keys.clone(), done);
        done += W;
    }
    if W > 2 && done + 2 <= vectors {
        add_values::<S, K, R, 2>(block, factors, keys.clone(), done);
        done += 2;
    }
    if done < vectors {
        add_values::<S, K, R, 1>(block, factors, keys, done);
    }
}

/// Accumulates N vectors of each key's value, from vector `first`.
#[inline(always)]
unsafe fn add_values<S: SimdInt, K: KvFormat, const R: usize, const N: usize>(
    block: &RowBlock,
    factors: &[f32; LANES],
    keys: Range<usize>,
    first: usize,
) {
    let (stride, groups) = (block.shape.value_stride(), block.shape.value_groups());
    let state = block.values.add(first * LANES);
    let mut acc = [[S::splat(0.0); N]; R];
    for r in 0..R {
        for n in 0..N {
            acc[r][n] = S::mul(S::load(state.add(r * stride + n * LANES)), S::splat(factors[r]));
        }
    }
    let lines = value_lines::<K>(block.shape);
    let half = lines / 2..if first == 0 { lines } else { lines / 2 };
    for group in keys.start / LANES..keys.end.div_ceil(LANES) {
        let (here, next) = (&block.here[group], &block.next[group]);
        // The first step may include a key before `keys.start`, whose weight is zero.
        let mut offset =
            keys.start.saturating_sub(group * LANES) / K::VALUE_POSITIONS * K::VALUE_POSITIONS;
        let end = (keys.end - group * LANES).min(LANES);
        while offset < end {
            let after = offset + K::VALUE_POSITIONS;
            prefetch_values::<S>(
                next,
                half.start + half.len() * offset / LANES..half.start + half.len() * after / LANES,
            );
            let at = (offset * stride + first * LANES * K::VALUE_POSITIONS) * K::VALUE_BYTES;
            let (from, scales) =
                (here.values.add(at), here.value_scales.wrapping_add(offset * groups));
            // Separate calls, so that each is compiled with a constant `alone`.
            if after <= end {
                let values = ValueStep { from, first, scales, alone: false };
                K::add::<S, R, N>(&mut acc, values, block.weights, group * LANES + offset);
            } else {
                let values = ValueStep { from, first, scales, alone: true };
                K::add::<S, R, N>(&mut acc, values, block.weights, group * LANES + offset);
            }
            offset = after;
        }
    }
    for r in 0..R {
        for n in 0..N {
            S::store(state.add(r * stride + n * LANES), acc[r][n]);
        }
    }
}

use std::ops::Range;

use super::super::simd::{Ints, LANES, LINE, Simd, math};
use super::TILE;
use super::cache::{KvShape, Sixteen};
use super::item::first_visible;
use super::stored::{Stored, Values};

/// One token's query of one head.
#[derive(Clone, Copy)]
pub(super) struct QueryRow {
    /// Its place among all [tokens, heads].
    pub at: usize,
    pub position: usize,
}

/// A few query rows against one tile of keys.
pub(super) struct RowBlock<'a> {
    pub shape: &'a KvShape,
    pub scale: f32,
    pub window: Option<usize>,
    pub tile: usize,
    pub rows: &'a [QueryRow],
    pub here: &'a [Sixteen; SIXTEENS],
    /// The tile that comes next, which is asked for meanwhile.
    pub next: &'a [Sixteen; SIXTEENS],
    /// [words][query_stride], the block's rows first.
    pub queries: *const u32,
    pub query_stride: usize,
    /// [rows][64], for scores and then for what the tile's values are multiplied with.
    pub weights: *mut f32,
    /// The rows' state: [rows], [rows][16], [rows][value_stride].
    pub max: *mut f32,
    pub sums: *mut f32,
    pub values: *mut f32,
}

/// Groups of 16 positions in a tile.
pub(super) const SIXTEENS: usize = TILE / LANES;

/// Adds one tile of keys to the state of R rows, W times 16 keys, then W times 16 numbers of the
/// values at a time.
#[inline(always)]
pub(super) unsafe fn visit<S: Ints, K: Stored, const R: usize, const W: usize>(block: &RowBlock) {
    let start = block.tile * TILE;
    let (mut first, mut last) = (usize::MAX, 0);
    for row in block.rows {
        first = first.min(first_visible(row.position, block.window));
        last = last.max(row.position);
    }
    if last < start || first >= start + TILE {
        return; // the causal mask or the window hides all of it
    }
    scores::<S, K, R, W>(block);
    let factors = softmax::<S, K, R>(block);
    let keys = first.max(start) - start..(last + 1 - start).min(TILE);
    values::<S, K, R, W>(block, &factors, keys);
}

/// Leaves the scaled and masked scores of 64 keys for each row in the block's buffer.
#[inline(always)]
unsafe fn scores<S: Ints, K: Stored, const R: usize, const W: usize>(block: &RowBlock) {
    let scale = S::splat(block.scale);
    for from in (0..SIXTEENS).step_by(W) {
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

/// -inf for keys outside of first..=last. Positions are exact in f32 up to 2^24.
#[inline(always)]
unsafe fn mask<S: Simd>(scores: *mut f32, start: usize, first: usize, last: usize) {
    const RAMP: [f32; LANES] =
        [0., 1., 2., 3., 4., 5., 6., 7., 8., 9., 10., 11., 12., 13., 14., 15.];
    let hidden = S::splat(f32::NEG_INFINITY);
    // relative to the tile, so that the numbers stay small
    let first = S::splat(first.saturating_sub(start) as f32);
    let last = S::splat(last as f32 - start as f32);
    for from in (0..TILE).step_by(LANES) {
        let place = S::add(S::load(RAMP.as_ptr()), S::splat(from as f32));
        let score = S::select_less(place, first, hidden, S::load(scores.add(from)));
        S::store(scores.add(from), S::select_less(last, place, hidden, score));
    }
}

/// Turns scores into weights, updates maxima and sums, and returns what each row's values so far
/// are multiplied with.
#[inline(always)]
unsafe fn softmax<S: Simd, K: Stored, const R: usize>(block: &RowBlock) -> [f32; LANES] {
    let mut most = [f32::NEG_INFINITY; LANES];
    for r in 0..R {
        let mut max = score::<S>(block, r, 0);
        for sixteen in 1..SIXTEENS {
            max = S::max(score::<S>(block, r, sixteen), max);
        }
        most[r] = S::max_lane(max);
    }
    // All rows' at once, a lane each.
    let before = S::load_part(block.max, R);
    let max = S::max(S::load(most.as_ptr()), before);
    S::store_part(block.max, max, R);
    let base = S::select_less(max, S::splat(f32::MIN), S::splat(0.0), max); // -inf - -inf would be NaN
    let (mut bases, mut factors) = ([0.0; LANES], [0.0; LANES]);
    S::store(bases.as_mut_ptr(), base);
    S::store(factors.as_mut_ptr(), math::exp::<S>(S::sub(before, base)));
    let half = value_lines::<K>(block.shape) / 2;
    for r in 0..R {
        let mut p = [S::splat(0.0); SIXTEENS];
        for sixteen in 0..SIXTEENS {
            ask::<S>(&block.next[sixteen], half * r / R..half * (r + 1) / R);
            p[sixteen] = math::exp::<S>(S::sub(score::<S>(block, r, sixteen), S::splat(bases[r])));
            K::weigh::<S>(block.weights.add(r * TILE), sixteen * LANES, p[sixteen]);
        }
        let sums = block.sums.add(r * LANES);
        let now = S::add(S::add(p[0], p[1]), S::add(p[2], p[3]));
        S::store(sums, S::fma(S::load(sums), S::splat(factors[r]), now));
    }
    factors
}

/// Cache lines of the values of sixteen positions. The next tile's keys are asked for while scores
/// are computed, half of its values with their softmax, the other half while values are added up:
/// memory answers only so many at a time, and should never wait.
fn value_lines<K: Stored>(shape: &KvShape) -> usize {
    shape.value_stride() * LANES * K::VALUE_BYTES / LINE
}

/// Asks for some lines of the values of sixteen positions.
#[inline(always)]
unsafe fn ask<S: Simd>(of: &Sixteen, lines: Range<usize>) {
    for line in lines {
        S::prefetch_far(of.values.wrapping_add(line * LINE));
    }
}

#[inline(always)]
unsafe fn score<S: Simd>(block: &RowBlock, r: usize, sixteen: usize) -> S::F {
    S::load(block.weights.add(r * TILE + sixteen * LANES))
}

/// values = values * factor + weights . V, key by key in order.
#[inline(always)]
unsafe fn values<S: Ints, K: Stored, const R: usize, const W: usize>(
    block: &RowBlock,
    factors: &[f32; LANES],
    keys: Range<usize>,
) {
    let vectors = block.shape.value_stride() / LANES;
    let mut done = 0;
    while done + W <= vectors {
        some_values::<S, K, R, W>(block, factors, keys.clone(), done);
        done += W;
    }
    if W > 2 && done + 2 <= vectors {
        some_values::<S, K, R, 2>(block, factors, keys.clone(), done);
        done += 2;
    }
    if done < vectors {
        some_values::<S, K, R, 1>(block, factors, keys, done);
    }
}

/// N vectors of every value, from vector `first`.
#[inline(always)]
unsafe fn some_values<S: Ints, K: Stored, const R: usize, const N: usize>(
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
    for sixteen in keys.start / LANES..keys.end.div_ceil(LANES) {
        let (here, next) = (&block.here[sixteen], &block.next[sixteen]);
        // What stands before the first key, in its step, has a weight of zero.
        let mut place = keys.start.saturating_sub(sixteen * LANES) / K::POSITIONS * K::POSITIONS;
        let end = (keys.end - sixteen * LANES).min(LANES);
        while place < end {
            let after = place + K::POSITIONS;
            ask::<S>(
                next,
                half.start + half.len() * place / LANES..half.start + half.len() * after / LANES,
            );
            let at = (place * stride + first * LANES * K::POSITIONS) * K::VALUE_BYTES;
            let (from, scales) =
                (here.values.add(at), here.value_scales.wrapping_add(place * groups));
            // Either way is compiled by itself.
            if after <= end {
                let values = Values { from, first, scales, alone: false };
                K::add::<S, R, N>(&mut acc, values, block.weights, sixteen * LANES + place);
            } else {
                let values = Values { from, first, scales, alone: true };
                K::add::<S, R, N>(&mut acc, values, block.weights, sixteen * LANES + place);
            }
            place = after;
        }
    }
    for r in 0..R {
        for n in 0..N {
            S::store(state.add(r * stride + n * LANES), acc[r][n]);
        }
    }
}

use super::super::simd::{Ints, LANES, Simd, math};
use super::item::{Item, Partial, exp1, first_visible};
use super::stored::{Stored, TileKeys, VALUE_VECTORS};
use super::{Call, TILE};

/// A few query rows against one tile of keys.
pub(super) struct RowBlock<'a, 'b> {
    call: &'a Call<'b>,
    item: &'a Item<'b>,
    tile: usize,
    /// The block's rows in the item.
    first_row: usize,
    queries: &'a [u32],
    weights: &'a mut [f32],
    state: &'a mut Partial,
    keys: TileKeys,
    /// Values of each 16 positions of the tile, and their scales.
    values: [*const u8; SIXTEENS],
    value_scales: [*const u16; SIXTEENS],
}

/// Groups of 16 positions in a tile.
pub(super) const SIXTEENS: usize = TILE / LANES;

impl<'a, 'b> RowBlock<'a, 'b> {
    /// Rows that registers have room for.
    pub(super) const MOST_ROWS: usize = 6;

    #[inline(always)]
    #[allow(clippy::too_many_arguments)] // the fields of the struct, borrowed for one tile
    pub(super) fn new(
        call: &'a Call<'b>,
        item: &'a Item<'b>,
        tile: usize,
        first_row: usize,
        queries: &'a [u32],
        weights: &'a mut [f32],
        state: &'a mut Partial,
    ) -> Self {
        let (mut keys, mut key_scales) = ([std::ptr::null(); SIXTEENS], [std::ptr::null(); SIXTEENS]);
        let (mut values, mut value_scales) = (keys, key_scales);
        let (layer, head, shape) = (call.layer, item.kv_head, call.layer.shape());
        let last = item.position + item.tokens - 1;
        for group in 0..SIXTEENS {
            // Groups past the last position repeat the last one's: their scores are masked.
            let position = (tile * TILE + group * LANES).min(last / LANES * LANES);
            let block = item.blocks[position / shape.block_tokens];
            let place = position % shape.block_tokens;
            keys[group] = layer.keys(block, head).wrapping_add(place * 4);
            key_scales[group] = layer.key_scales(block, head).wrapping_add(place);
            values[group] =
                layer.values(block, head).wrapping_add(place * shape.value_head_bytes() / shape.block_tokens);
            value_scales[group] = layer.value_scales(block, head).wrapping_add(place * shape.value_groups());
        }
        let keys = TileKeys { keys, scales: key_scales };
        Self { call, item, tile, first_row, queries, weights, state, keys, values, value_scales }
    }

    /// The position of row `r`.
    #[inline(always)]
    fn position(&self, r: usize) -> usize {
        self.item.position + (self.first_row + r) / self.call.group
    }
}

/// Adds one tile of keys to the state of R rows.
#[inline(always)]
pub(super) unsafe fn visit<S: Ints, K: Stored, const R: usize>(block: &mut RowBlock) {
    let start = block.tile * TILE;
    let (first, last) = (block.position(0), block.position(R - 1));
    if last < start {
        return; // the causal mask hides all of it
    }
    let window = block.call.options.window;
    let hidden_before = first_visible(first, window).max(start) - start;
    if hidden_before >= TILE {
        return; // so does the window: later rows see even less
    }
    let scores = scores::<S, K, R>(block);
    let factors = softmax::<S, R>(block, scores);
    let keys = hidden_before..(last + 1 - start).min(TILE);
    add_values::<S, K, R>(block, &factors, keys);
}

/// The scaled and masked scores of 64 keys for each row.
#[inline(always)]
unsafe fn scores<S: Ints, K: Stored, const R: usize>(block: &RowBlock) -> [[S::F; SIXTEENS]; R] {
    let shape = block.call.layer.shape();
    let queries = block.queries.as_ptr().add(block.first_row * K::query_words(shape));
    let mut acc = K::dots::<S, R>(shape, &block.keys, queries);
    let scale = S::splat(block.call.options.scale);
    let start = block.tile * TILE;
    for r in 0..R {
        let position = block.position(r);
        let first = first_visible(position, block.call.options.window);
        for group in 0..SIXTEENS {
            acc[r][group] = S::mul(acc[r][group], scale);
        }
        if position < start + TILE - 1 || first > start {
            mask::<S>(&mut acc[r], start, first, position);
        }
    }
    acc
}

/// -inf for keys outside of first..=last. Positions are exact in f32 up to 2^24.
#[inline(always)]
unsafe fn mask<S: Simd>(scores: &mut [S::F; SIXTEENS], start: usize, first: usize, last: usize) {
    const RAMP: [f32; LANES] = [0., 1., 2., 3., 4., 5., 6., 7., 8., 9., 10., 11., 12., 13., 14., 15.];
    let hidden = S::splat(f32::NEG_INFINITY);
    // relative to the tile, so that the numbers stay small
    let first = S::splat(first.saturating_sub(start) as f32);
    let last = S::splat(last as f32 - start as f32);
    for (group, score) in scores.iter_mut().enumerate() {
        let place = S::add(S::load(RAMP.as_ptr()), S::splat((group * LANES) as f32));
        *score = S::select_less(place, first, hidden, *score);
        *score = S::select_less(last, place, hidden, *score);
    }
}

/// Turns scores into weights (left in the block's buffer), updates maxima and sums, and returns what the values so far are
/// multiplied with.
#[inline(always)]
unsafe fn softmax<S: Simd, const R: usize>(block: &mut RowBlock, scores: [[S::F; SIXTEENS]; R]) -> [f32; R] {
    let mut factors = [0.0; R];
    for (r, scores) in scores.into_iter().enumerate() {
        let row = block.first_row + r;
        let most = S::max_lane(S::max(S::max(scores[0], scores[1]), S::max(scores[2], scores[3])));
        let before = block.state.max[row];
        let max = if most > before { most } else { before };
        let base = if max == f32::NEG_INFINITY { 0.0 } else { max };
        factors[r] = if before == max && max != f32::NEG_INFINITY { 1.0 } else { exp1::<S>(before - base) };
        let mut p = scores;
        for (group, p) in p.iter_mut().enumerate() {
            *p = math::exp::<S>(S::sub(*p, S::splat(base)));
            S::store(block.weights.as_mut_ptr().add(r * TILE + group * LANES), *p);
        }
        let sum = S::sum(S::add(S::add(p[0], p[1]), S::add(p[2], p[3])));
        block.state.max[row] = max;
        block.state.sum[row] = block.state.sum[row].mul_add(factors[r], sum);
    }
    factors
}

/// values = values * factor + weights . V, key by key in order.
#[inline(always)]
unsafe fn add_values<S: Ints, K: Stored, const R: usize>(
    block: &mut RowBlock,
    factors: &[f32; R],
    keys: std::ops::Range<usize>,
) {
    let stride = block.call.layer.shape().value_stride();
    let vectors = stride / LANES;
    let mut done = 0;
    while done < vectors {
        let now = (vectors - done).min(if S::WIDE { VALUE_VECTORS } else { 2 });
        match now {
            1 => add_some_values::<S, K, R, 1>(block, factors, keys.clone(), done * LANES),
            2 => add_some_values::<S, K, R, 2>(block, factors, keys.clone(), done * LANES),
            3 => add_some_values::<S, K, R, 3>(block, factors, keys.clone(), done * LANES),
            _ => add_some_values::<S, K, R, 4>(block, factors, keys.clone(), done * LANES),
        }
        done += now;
    }
}

/// N vectors of every value, from element `from`.
#[inline(always)]
unsafe fn add_some_values<S: Ints, K: Stored, const R: usize, const N: usize>(
    block: &mut RowBlock,
    factors: &[f32; R],
    keys: std::ops::Range<usize>,
    from: usize,
) {
    let shape = block.call.layer.shape();
    let (stride, value_groups) = (shape.value_stride(), shape.value_groups());
    let state = block.state.values.as_mut_ptr().add(block.first_row * stride + from);
    let weights = block.weights.as_ptr();
    let mut acc = [[S::splat(0.0); N]; R];
    for r in 0..R {
        for n in 0..N {
            acc[r][n] = S::mul(S::load(state.add(r * stride + n * LANES)), S::splat(factors[r]));
        }
    }
    for key in keys {
        let value = block.values[key / LANES].add((key % LANES * stride + from) * K::VALUE_BYTES);
        let scales = block.value_scales[key / LANES].wrapping_add(key % LANES * value_groups);
        let v: [S::F; N] =
            std::array::from_fn(|n| K::value::<S>(value.add(n * LANES * K::VALUE_BYTES), scales, from / LANES + n));
        for r in 0..R {
            let p = S::splat(*weights.add(r * TILE + key));
            for n in 0..N {
                acc[r][n] = S::fma(v[n], p, acc[r][n]);
            }
        }
    }
    for r in 0..R {
        for n in 0..N {
            S::store(state.add(r * stride + n * LANES), acc[r][n]);
        }
    }
}

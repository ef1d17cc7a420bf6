use std::cell::RefCell;
use std::ops::Range;

use super::super::dispatch::kernel;
use super::super::simd::{Ints, LANES, Simd, math};
use super::cache::KvDtype;
use super::row_block::{RowBlock, visit};
use super::stored::{InBf16, InF32, InInt8, Stored};
use super::{Call, SPLIT, TILE};
use crate::memory::Scratch;

/// Some tokens' queries of one kv head's group: (sequence, kv head, query tile).
pub(super) struct Item<'a> {
    pub blocks: &'a [u32],
    pub kv_head: usize,
    /// The first token's row in q and out.
    pub row: usize,
    /// Its position.
    pub position: usize,
    pub tokens: usize,
}

impl Item<'_> {
    /// The splits that its queries see.
    pub(super) fn splits(&self, window: Option<usize>) -> Range<usize> {
        first_visible(self.position, window) / SPLIT..(self.position + self.tokens - 1) / SPLIT + 1
    }
}

/// The first position that the token at `position` sees.
pub(super) fn first_visible(position: usize, window: Option<usize>) -> usize {
    window.map_or(0, |window| (position + 1).saturating_sub(window))
}

/// The state of the softmax of some query rows: maxima, sums and weighted values.
#[derive(Default)]
pub(super) struct Partial {
    /// [rows]
    pub max: Scratch<f32>,
    /// [rows]
    pub sum: Scratch<f32>,
    /// [rows, value_stride]
    pub values: Scratch<f32>,
}

impl Partial {
    /// Nothing seen yet.
    fn clear(&mut self, rows: usize, stride: usize) {
        self.max.resize(rows).fill(f32::NEG_INFINITY);
        self.sum.resize(rows).fill(0.0);
        self.values.resize(rows * stride).fill(0.0);
    }
}

/// Buffers of a thread.
#[derive(Default)]
struct Buffers {
    total: Partial,
    split: Partial,
    /// [rows, query words]
    queries: Scratch<u32>,
    /// [rows of a block, 64]
    weights: Scratch<f32>,
}

thread_local! {
    static BUFFERS: RefCell<Buffers> = RefCell::default();
}

kernel! {
    /// Computes `item`: one split into a partial, or all of them and the output.
    ///
    /// # Safety
    /// The call's shapes and blocks were checked, and nobody else writes the item's outputs.
    pub(super) unsafe fn run_item(call: &Call, item: &Item, split: Option<(usize, &mut Partial)>) = run_item_body
}

kernel! {
    /// Merges the partials of all of an item's splits, in order, and writes the output.
    ///
    /// # Safety
    /// As for `run_item`.
    pub(super) unsafe fn merge_item(call: &Call, item: &Item, partials: &[Partial]) = merge_item_body
}

#[inline(always)]
unsafe fn run_item_body<S: Ints>(call: &Call, item: &Item, split: Option<(usize, &mut Partial)>) {
    match call.layer.shape().dtype {
        KvDtype::F32 => run_stored::<S, InF32>(call, item, split),
        KvDtype::Bf16 => run_stored::<S, InBf16>(call, item, split),
        KvDtype::Int8 => run_stored::<S, InInt8>(call, item, split),
    }
}

#[inline(always)]
unsafe fn run_stored<S: Ints, K: Stored>(call: &Call, item: &Item, split: Option<(usize, &mut Partial)>) {
    let shape = call.layer.shape();
    let (rows, stride) = (item.tokens * call.group, shape.value_stride());
    let mut buffers = BUFFERS.take(); // the thread's buffers; given back below, lost (and rebuilt) only by a panic
    let words = K::query_words(shape);
    let queries = buffers.queries.resize(rows * words);
    for (row, query) in queries.chunks_exact_mut(words.max(1)).enumerate() {
        K::query(query_row(call, item, row), query);
    }
    buffers.weights.resize(RowBlock::MOST_ROWS * TILE);
    if let Some((split, partial)) = split {
        partial.clear(rows, stride);
        one_split::<S, K>(call, item, split, &buffers.queries, &mut buffers.weights, partial);
    } else {
        begin(call, item, &mut buffers.total);
        for split in item.splits(call.options.window) {
            buffers.split.clear(rows, stride);
            one_split::<S, K>(call, item, split, &buffers.queries, &mut buffers.weights, &mut buffers.split);
            merge::<S>(&mut buffers.total, &buffers.split, stride);
        }
        finish::<S>(call, item, &buffers.total);
    }
    BUFFERS.set(buffers);
}

#[inline(always)]
unsafe fn merge_item_body<S: Simd>(call: &Call, item: &Item, partials: &[Partial]) {
    let mut total = Partial::default();
    begin(call, item, &mut total);
    for partial in partials {
        merge::<S>(&mut total, partial, call.layer.shape().value_stride());
    }
    finish::<S>(call, item, &total);
}

/// The query of row `row` of an item (token-major).
fn query_row<'a>(call: &Call<'a>, item: &Item, row: usize) -> &'a [f32] {
    let (token, head) = (item.row + row / call.group, item.kv_head * call.group + row % call.group);
    let dim = call.layer.shape().key_dim;
    &call.q[(token * call.options.heads + head) * dim..][..dim]
}

/// Before any key: nothing, or the sink, whose value is zero.
fn begin(call: &Call, item: &Item, total: &mut Partial) {
    let rows = item.tokens * call.group;
    total.clear(rows, call.layer.shape().value_stride());
    if let Some(sinks) = call.options.sinks {
        for row in 0..rows {
            total.max[row] = sinks[item.kv_head * call.group + row % call.group];
            total.sum[row] = 1.0;
        }
    }
}

/// All tiles of one split for all rows of the item.
#[inline(always)]
unsafe fn one_split<S: Ints, K: Stored>(
    call: &Call,
    item: &Item,
    split: usize,
    queries: &[u32],
    weights: &mut [f32],
    state: &mut Partial,
) {
    let last = item.position + item.tokens - 1;
    let first = first_visible(item.position, call.options.window).max(split * SPLIT);
    let end = (last + 1).min((split + 1) * SPLIT);
    for tile in first / TILE..end.div_ceil(TILE) {
        let rows = item.tokens * call.group;
        let most = if S::WIDE { RowBlock::MOST_ROWS } else { 1 };
        let mut row = 0;
        while row < rows {
            let count = (rows - row).min(most);
            let mut block = RowBlock::new(call, item, tile, row, queries, weights, state);
            // Blocks of several rows are compiled only where there are registers for them.
            if count == 1 || !S::WIDE {
                visit::<S, K, 1>(&mut block);
            } else {
                match count {
                    2 => visit::<S, K, 2>(&mut block),
                    3 => visit::<S, K, 3>(&mut block),
                    4 => visit::<S, K, 4>(&mut block),
                    5 => visit::<S, K, 5>(&mut block),
                    _ => visit::<S, K, 6>(&mut block),
                }
            }
            row += count;
        }
    }
}

/// total = total and the later `part`.
#[inline(always)]
unsafe fn merge<S: Simd>(total: &mut Partial, part: &Partial, stride: usize) {
    for row in 0..total.max.len() {
        let max = if part.max[row] > total.max[row] { part.max[row] } else { total.max[row] };
        let base = if max == f32::NEG_INFINITY { 0.0 } else { max };
        let (a, b) = (exp1::<S>(total.max[row] - base), exp1::<S>(part.max[row] - base));
        total.max[row] = max;
        total.sum[row] = part.sum[row].mul_add(b, total.sum[row] * a);
        let (a, b) = (S::splat(a), S::splat(b));
        for at in (row * stride..(row + 1) * stride).step_by(LANES) {
            let to = total.values.as_mut_ptr().add(at);
            let before = S::mul(S::load(to), a);
            S::store(to, S::fma(S::load(part.values.as_ptr().add(at)), b, before));
        }
    }
}

/// Divides by the sums and writes the outputs.
#[inline(always)]
unsafe fn finish<S: Simd>(call: &Call, item: &Item, total: &Partial) {
    let (dim, stride) = (call.layer.shape().value_dim, call.layer.shape().value_stride());
    for row in 0..item.tokens * call.group {
        let (token, head) = (item.row + row / call.group, item.kv_head * call.group + row % call.group);
        let out =
            call.out.slice((token * call.options.heads + head) * dim..(token * call.options.heads + head + 1) * dim);
        let scale = S::splat(1.0 / total.sum[row]);
        for at in (0..dim).step_by(LANES) {
            // + 0.0: a key that was masked may have turned a -0 into +0
            let value = S::fma(S::load(total.values.as_ptr().add(row * stride + at)), scale, S::splat(0.0));
            S::store_part(out.as_mut_ptr().add(at), value, (dim - at).min(LANES));
        }
    }
}

/// e^x by the vector kernel.
#[inline(always)]
pub(super) unsafe fn exp1<S: Simd>(x: f32) -> f32 {
    let mut lanes = [0.0; LANES];
    S::store(lanes.as_mut_ptr(), math::exp::<S>(S::splat(x)));
    lanes[0]
}

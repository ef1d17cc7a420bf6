use std::cell::RefCell;
use std::cmp::Reverse;
use std::ops::Range;

use placement::KvDtype;

use super::super::dispatch::kernel;
use super::super::simd::{Ints, LANES, Simd};
use super::cache::Slot;
use super::partial::Partial;
use super::row_block::{QueryRow, RowBlock, SIXTEENS, visit};
use super::stored::{InBf16, InF32, InInt8, Stored};
use super::{AttentionSequence, Call, SPLIT, TILE};
use crate::memory::Scratch;

/// Query rows (tokens x heads of a group) of one sequence that share one pass over its keys: whole
/// row blocks of twelve.
const MEMBER_ROWS: usize = 60;

/// The same of several sequences together, so few that their tiles stay in the second-level cache
/// and that all threads have work.
const JOINED_ROWS: usize = 24;

/// Some new tokens of one sequence.
pub(super) struct Member<'a> {
    pub blocks: &'a [u32],
    /// The first token's row in q and out.
    pub row: usize,
    /// Its position.
    pub position: usize,
    pub tokens: usize,
}

/// What one thread computes: the queries of one kv head's group for some tokens, of one sequence or
/// of several that begin alike.
pub(super) struct Item<'a> {
    pub kv_head: usize,
    pub members: &'a [Member<'a>],
}

impl<'a> Member<'a> {
    /// The step's tokens, those of sequences that begin with the same block side by side.
    pub(super) fn all(sequences: &'a [AttentionSequence<'a>], group: usize) -> Vec<Self> {
        let most = (MEMBER_ROWS / group).max(1);
        let parts = sequences.iter().flat_map(|sequence| {
            (0..sequence.rows.len()).step_by(most).map(move |first| Member {
                blocks: sequence.blocks,
                row: sequence.rows.start + first,
                position: sequence.first_position + first,
                tokens: (sequence.rows.len() - first).min(most),
            })
        });
        let mut members: Vec<_> = parts.collect();
        members.sort_by_key(|member| member.blocks[0]);
        members
    }

    fn last_position(&self) -> usize {
        self.position + self.tokens - 1
    }

    /// Where each 16 positions of `tile` begin in the cache. Those past the last position repeat
    /// the last one's: their scores are masked.
    #[inline(always)]
    fn slots(&self, tile: usize, block_tokens: usize) -> [Slot; SIXTEENS] {
        let last = self.last_position() / LANES * LANES;
        let mut position = (tile * TILE).min(last);
        let (mut index, mut place) = (position / block_tokens, position % block_tokens);
        std::array::from_fn(|_| {
            let slot = Slot { block: self.blocks[index] as usize, place };
            if position < last {
                position += LANES;
                place += LANES;
                if place == block_tokens {
                    (index, place) = (index + 1, 0);
                }
            }
            slot
        })
    }
}

/// The step's items, the longest first, so that no thread is left with one at the end.
pub(super) fn items_of<'a>(
    members: &'a [Member<'a>],
    kv_heads: usize,
    group: usize,
    window: Option<usize>,
) -> Vec<Item<'a>> {
    let mut items = Vec::new();
    let mut left = members;
    while let Some(first) = left.first() {
        let mut rows = 0;
        let joined = left.iter().take_while(|member| {
            rows += member.tokens * group;
            member.blocks[0] == first.blocks[0] && rows <= JOINED_ROWS
        });
        let (now, later) = left.split_at(joined.count().max(1));
        items.extend((0..kv_heads).map(|kv_head| Item { kv_head, members: now }));
        left = later;
    }
    items.sort_by_cached_key(|item| Reverse(item.rows(group) * item.tiles(window).len()));
    items
}

impl Item<'_> {
    /// The splits that its queries see.
    pub(super) fn splits(&self, window: Option<usize>) -> Range<usize> {
        let tiles = self.tiles(window);
        tiles.start / (SPLIT / TILE)..(tiles.end - 1) / (SPLIT / TILE) + 1
    }

    /// The tiles that they see.
    fn tiles(&self, window: Option<usize>) -> Range<usize> {
        let first = self.members.iter().map(|member| first_visible(member.position, window)).min();
        let last = self.members.iter().map(Member::last_position).max();
        first.unwrap_or(0) / TILE..last.unwrap_or(0) / TILE + 1
    }

    fn rows(&self, group: usize) -> usize {
        self.members.iter().map(|member| member.tokens * group).sum()
    }
}

/// The first position that the token at `position` sees.
pub(super) fn first_visible(position: usize, window: Option<usize>) -> usize {
    window.map_or(0, |window| (position + 1).saturating_sub(window))
}

/// Buffers of a thread.
#[derive(Default)]
struct Buffers {
    total: Partial,
    split: Partial,
    rows: Vec<QueryRow>,
    /// [query words][rows]
    queries: Scratch<u32>,
    /// [rows of a block][64]
    weights: Scratch<f32>,
    /// Through the cache, for one split.
    way: Vec<Stop>,
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
unsafe fn merge_item_body<S: Ints>(call: &Call, item: &Item, partials: &[Partial]) {
    let mut rows = Vec::new();
    query_rows(call, item, &mut rows);
    let mut total = Partial::default();
    begin(call, &rows, &mut total);
    for partial in partials {
        total.merge::<S>(partial, call.layer.shape().value_stride());
    }
    finish::<S>(call, &rows, &total);
}

#[inline(always)]
unsafe fn run_stored<S: Ints, K: Stored>(
    call: &Call,
    item: &Item,
    split: Option<(usize, &mut Partial)>,
) {
    let shape = call.layer.shape();
    let stride = shape.value_stride();
    let mut buffers = BUFFERS.take(); // the thread's buffers; given back below, lost (and rebuilt) only by a panic
    query_rows(call, item, &mut buffers.rows);
    let rows = buffers.rows.len();
    let queries = buffers.queries.resize(K::query_words::<S>(shape) * rows);
    for (column, row) in buffers.rows.iter().enumerate() {
        let q = &call.q[row.at * shape.key_dim..][..shape.key_dim];
        K::query::<S>(q, queries.as_mut_ptr().add(column), rows);
    }
    buffers.weights.resize(MOST_ROWS * TILE);
    if let Some((split, partial)) = split {
        partial.clear(rows, stride);
        let Buffers { rows, queries, weights, way, .. } = &mut buffers;
        one_split::<S, K>(call, item, split, rows, queries, (weights, way), partial);
    } else {
        begin(call, &buffers.rows, &mut buffers.total);
        for split in item.splits(call.options.window) {
            let Buffers { rows, queries, weights, way, split: part, .. } = &mut buffers;
            part.clear(rows.len(), stride);
            one_split::<S, K>(call, item, split, rows, queries, (weights, way), part);
            buffers.total.merge::<S>(&buffers.split, stride);
        }
        finish::<S>(call, &buffers.rows, &buffers.total);
    }
    BUFFERS.set(buffers);
}

/// The rows of an item: member by member, token by token, head by head.
fn query_rows(call: &Call, item: &Item, rows: &mut Vec<QueryRow>) {
    rows.clear();
    for member in item.members {
        for token in 0..member.tokens {
            let first = (member.row + token) * call.options.heads + item.kv_head * call.group;
            rows.extend(
                (first..first + call.group)
                    .map(|at| QueryRow { at, position: member.position + token }),
            );
        }
    }
}

/// Before any key: nothing, or the head's sink.
fn begin(call: &Call, rows: &[QueryRow], total: &mut Partial) {
    total.clear(rows.len(), call.layer.shape().value_stride());
    if let Some(sinks) = call.options.sinks {
        for (row, query) in rows.iter().enumerate() {
            total.sink(row, sinks[query.at % call.options.heads]);
        }
    }
}

/// Rows of the largest block.
const MOST_ROWS: usize = 12;

/// A tile on a thread's way through the cache, and the rows that meet it.
struct Stop {
    tile: usize,
    rows: Range<usize>,
    slots: [Slot; SIXTEENS],
}

/// All tiles of one split for all rows of the item.
#[inline(always)]
unsafe fn one_split<S: Ints, K: Stored>(
    call: &Call,
    item: &Item,
    split: usize,
    rows: &[QueryRow],
    queries: &[u32],
    buffers: (&mut [f32], &mut Vec<Stop>),
    state: &mut Partial,
) {
    let shape = call.layer.shape();
    let (weights, way) = buffers;
    plan_way(call, item, split, way);
    let place = |slots: [Slot; SIXTEENS]| slots.map(|slot| call.layer.sixteen(slot, item.kv_head));
    for (index, stop) in way.iter().enumerate() {
        let (here, next) = (place(stop.slots), place(way.get(index + 1).unwrap_or(stop).slots));
        let mut first = stop.rows.start;
        while first < stop.rows.end {
            let count = rows_at_once::<S>(stop.rows.end - first);
            let block = RowBlock {
                shape,
                scale: call.options.scale,
                window: call.options.window,
                tile: stop.tile,
                rows: &rows[first..first + count],
                here: &here,
                next: &next,
                queries: queries.as_ptr().add(first),
                query_stride: rows.len(),
                weights: weights.as_mut_ptr(),
                max: state.max.as_mut_ptr().add(first),
                sums: state.sums.as_mut_ptr().add(first * LANES),
                values: state.values.as_mut_ptr().add(first * shape.value_stride()),
            };
            visit_rows::<S, K>(&block);
            first += count;
        }
    }
}

/// The way through the tiles of a split: all members meet those that they share, and then each
/// meets its own from first to last, so that memory is read in longer pieces. A row meets its tiles
/// in their order either way.
fn plan_way(call: &Call, item: &Item, split: usize, way: &mut Vec<Stop>) {
    way.clear();
    let (window, block_tokens) = (call.options.window, call.layer.shape().block_tokens);
    let (seen, of_split) = (item.tiles(window), SPLIT / TILE);
    let mut tiles = seen.start.max(split * of_split)..seen.end.min((split + 1) * of_split);
    if let [first, others @ ..] = item.members
        && !others.is_empty()
    {
        let shared = |tile: &usize| {
            let slots = first.slots(*tile, block_tokens);
            others.iter().all(|member| member.slots(*tile, block_tokens) == slots)
        };
        for tile in tiles.clone().take_while(shared) {
            way.push(Stop {
                tile,
                rows: 0..item.rows(call.group),
                slots: first.slots(tile, block_tokens),
            });
            tiles.start = tile + 1;
        }
    }
    let mut row = 0;
    for member in item.members {
        let rows = row..row + member.tokens * call.group;
        row = rows.end;
        let own = first_visible(member.position, window) / TILE..member.last_position() / TILE + 1;
        for tile in tiles.start.max(own.start)..tiles.end.min(own.end) {
            way.push(Stop { tile, rows: rows.clone(), slots: member.slots(tile, block_tokens) });
        }
    }
}

/// How many of `rows` rows are visited together. All results are the same bits.
#[inline(always)]
fn rows_at_once<S: Simd>(rows: usize) -> usize {
    if !S::WIDE {
        rows.min(2)
    } else if rows >= MOST_ROWS {
        MOST_ROWS
    } else {
        rows.div_ceil(rows.div_ceil(6)) // blocks of much the same size
    }
}

/// Blocks are compiled only where there are registers for them: R rows times 16 W keys or numbers.
#[inline(always)]
unsafe fn visit_rows<S: Ints, K: Stored>(block: &RowBlock) {
    match block.rows.len() {
        1 => visit::<S, K, 1, 4>(block),
        _ if !S::WIDE => visit::<S, K, 2, 2>(block),
        2 => visit::<S, K, 2, 4>(block),
        3 => visit::<S, K, 3, 4>(block),
        4 => visit::<S, K, 4, 4>(block),
        5 => visit::<S, K, 5, 2>(block),
        6 => visit::<S, K, 6, 2>(block),
        _ => visit::<S, K, MOST_ROWS, 2>(block),
    }
}

/// Divides by the sums and writes the outputs.
#[inline(always)]
unsafe fn finish<S: Simd>(call: &Call, rows: &[QueryRow], total: &Partial) {
    let (dim, stride) = (call.layer.shape().value_dim, call.layer.shape().value_stride());
    for (row, query) in rows.iter().enumerate() {
        let out = call.out.slice(query.at * dim..(query.at + 1) * dim);
        let scale = S::splat(1.0 / S::sum(S::load(total.sums.as_ptr().add(row * LANES))));
        let values = total.values.as_ptr().add(row * stride);
        for from in (0..stride).step_by(LANES) {
            // + 0.0: a key that was masked may have turned a -0 into +0
            let value = S::fma(S::load(values.add(from)), scale, S::splat(0.0));
            S::store_part(out.as_mut_ptr().add(from), value, (dim - from).min(LANES));
        }
    }
}

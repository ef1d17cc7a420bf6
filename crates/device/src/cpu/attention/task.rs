//! Work items of attention, one a thread at a time: which query rows visit which KV tiles.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::ops::Range;

use placement::KvDtype;

use super::super::dispatch::kernel;
use super::super::simd::{LANES, Simd, SimdInt};
use super::cache::CacheSlot;
use super::kv_format::{KvFormat, KvInBf16, KvInF32, KvInInt8};
use super::softmax_state::SoftmaxState;
use super::tile::{LANE_GROUPS, QueryRow, RowBlock, attend_tile};
use super::{AttentionCall, AttentionSequence, SPLIT, TILE};
use crate::memory::Scratch;

/// Maximum query rows (tokens x heads of a group) of a slice, which share one pass over the keys of
/// their sequence: five row blocks of [`ROWS_MAX`].
const SLICE_ROWS_MAX: usize = 60;

/// Maximum query rows of a task with slices of several sequences: few enough that their tiles fit
/// in the L2 cache and that there are tasks for all threads.
const SHARED_ROWS_MAX: usize = 24;

/// Rows of the largest row block.
const ROWS_MAX: usize = 12;

/// Consecutive new tokens of one sequence.
pub(super) struct QuerySlice<'a> {
    /// Block table of the sequence.
    pub blocks: &'a [u32],
    /// Row of the first token in q and out.
    pub row: usize,
    /// Position of the first token.
    pub position: usize,
    pub tokens: usize,
}

/// Unit of work of one thread: the query heads of one kv head, for one slice or for several slices
/// of sequences that share their first block.
pub(super) struct AttentionTask<'a> {
    pub kv_head: usize,
    pub slices: &'a [QuerySlice<'a>],
}

impl<'a> QuerySlice<'a> {
    /// Splits the sequences into slices, sorted by first block, so that sequences with a common
    /// prefix are neighbors. `group`: query heads per kv head.
    pub(super) fn all(sequences: &'a [AttentionSequence<'a>], group: usize) -> Vec<Self> {
        let tokens_max = (SLICE_ROWS_MAX / group).max(1);
        let slices = sequences.iter().flat_map(|sequence| {
            (0..sequence.rows.len()).step_by(tokens_max).map(move |first| QuerySlice {
                blocks: sequence.blocks,
                row: sequence.rows.start + first,
                position: sequence.first_position + first,
                tokens: (sequence.rows.len() - first).min(tokens_max),
            })
        });
        let mut slices: Vec<_> = slices.collect();
        slices.sort_by_key(|slice| slice.blocks[0]);
        slices
    }

    fn last_position(&self) -> usize {
        self.position + self.tokens - 1
    }

    /// Cache slots of each group of 16 positions of `tile`. Groups past the last position repeat
    /// the last one; the causal mask hides their scores.
    #[inline(always)]
    fn slots(&self, tile: usize, block_tokens: usize) -> [CacheSlot; LANE_GROUPS] {
        let last = self.last_position() / LANES * LANES;
        let mut position = (tile * TILE).min(last);
        let (mut index, mut offset) = (position / block_tokens, position % block_tokens);
        std::array::from_fn(|_| {
            let slot = CacheSlot { block: self.blocks[index] as usize, offset };
            if position < last {
                position += LANES;
                offset += LANES;
                if offset == block_tokens {
                    (index, offset) = (index + 1, 0);
                }
            }
            slot
        })
    }
}

/// The tasks of a step, longest first for an even load.
pub(super) fn tasks_of<'a>(
    slices: &'a [QuerySlice<'a>],
    kv_heads: usize,
    group: usize,
    window: Option<usize>,
) -> Vec<AttentionTask<'a>> {
    let mut tasks = Vec::new();
    let mut rest = slices;
    while let Some(first) = rest.first() {
        let mut rows = 0;
        let joined = rest.iter().take_while(|slice| {
            rows += slice.tokens * group;
            slice.blocks[0] == first.blocks[0] && rows <= SHARED_ROWS_MAX
        });
        let (now, later) = rest.split_at(joined.count().max(1));
        tasks.extend((0..kv_heads).map(|kv_head| AttentionTask { kv_head, slices: now }));
        rest = later;
    }
    tasks.sort_by_cached_key(|task| Reverse(task.rows(group) * task.tiles(window).len()));
    tasks
}

impl AttentionTask<'_> {
    /// The splits that its queries attend to.
    pub(super) fn splits(&self, window: Option<usize>) -> Range<usize> {
        let tiles = self.tiles(window);
        tiles.start / (SPLIT / TILE)..(tiles.end - 1) / (SPLIT / TILE) + 1
    }

    /// The tiles that its queries attend to.
    fn tiles(&self, window: Option<usize>) -> Range<usize> {
        let first = self.slices.iter().map(|slice| first_visible(slice.position, window)).min();
        let last = self.slices.iter().map(QuerySlice::last_position).max();
        first.unwrap_or(0) / TILE..last.unwrap_or(0) / TILE + 1
    }

    fn rows(&self, group: usize) -> usize {
        self.slices.iter().map(|slice| slice.tokens * group).sum()
    }
}

/// The first position that the token at `position` attends to.
pub(super) fn first_visible(position: usize, window: Option<usize>) -> usize {
    window.map_or(0, |window| (position + 1).saturating_sub(window))
}

/// Working memory of a thread.
#[derive(Default)]
struct AttentionBuffers {
    total: SoftmaxState,
    split: SoftmaxState,
    rows: Vec<QueryRow>,
    /// [query words][rows]
    queries: Scratch<u32>,
    /// [rows of a row block][64]
    weights: Scratch<f32>,
    /// Tile visits of one split.
    visits: Vec<TileVisit>,
}

thread_local! {
    static BUFFERS: RefCell<AttentionBuffers> = RefCell::default();
}

kernel! {
    /// Computes `task`: one split into a state, or all splits and the output.
    ///
    /// # Safety
    /// The call's shapes and blocks were checked, and no other thread writes the task's outputs.
    pub(super) unsafe fn run_task(call: &AttentionCall, task: &AttentionTask, split: Option<(usize, &mut SoftmaxState)>) = run_task_body
}

kernel! {
    /// Merges the states of all splits of a task, in order, and writes the output.
    ///
    /// # Safety
    /// As for `run_task`.
    pub(super) unsafe fn merge_task(call: &AttentionCall, task: &AttentionTask, states: &[SoftmaxState]) = merge_task_body
}

#[inline(always)]
unsafe fn run_task_body<S: SimdInt>(
    call: &AttentionCall,
    task: &AttentionTask,
    split: Option<(usize, &mut SoftmaxState)>,
) {
    match call.layer.shape().dtype {
        KvDtype::F32 => run_format::<S, KvInF32>(call, task, split),
        KvDtype::Bf16 => run_format::<S, KvInBf16>(call, task, split),
        KvDtype::Int8 => run_format::<S, KvInInt8>(call, task, split),
    }
}

#[inline(always)]
unsafe fn merge_task_body<S: SimdInt>(
    call: &AttentionCall,
    task: &AttentionTask,
    states: &[SoftmaxState],
) {
    let mut rows = Vec::new();
    query_rows(call, task, &mut rows);
    let mut total = SoftmaxState::default();
    begin(call, &rows, &mut total);
    for state in states {
        total.merge::<S>(state, call.layer.shape().value_stride());
    }
    finish::<S>(call, &rows, &total);
}

#[inline(always)]
unsafe fn run_format<S: SimdInt, K: KvFormat>(
    call: &AttentionCall,
    task: &AttentionTask,
    split: Option<(usize, &mut SoftmaxState)>,
) {
    let shape = call.layer.shape();
    let stride = shape.value_stride();
    // Put back below. A panic loses the buffers, which are then allocated again.
    let mut buffers = BUFFERS.take();
    query_rows(call, task, &mut buffers.rows);
    let rows = buffers.rows.len();
    let queries = buffers.queries.resize(K::query_words::<S>(shape) * rows);
    for (column, row) in buffers.rows.iter().enumerate() {
        let q = &call.q[row.index * shape.key_dim..][..shape.key_dim];
        K::query::<S>(q, queries.as_mut_ptr().add(column), rows);
    }
    buffers.weights.resize(ROWS_MAX * TILE);
    if let Some((split, state)) = split {
        state.clear(rows, stride);
        let AttentionBuffers { rows, queries, weights, visits, .. } = &mut buffers;
        attend_split::<S, K>(
            call,
            task,
            split,
            SplitOperands { rows, queries, weights, visits },
            state,
        );
    } else {
        begin(call, &buffers.rows, &mut buffers.total);
        for split in task.splits(call.options.window) {
            let AttentionBuffers { rows, queries, weights, visits, split: state, .. } =
                &mut buffers;
            state.clear(rows.len(), stride);
            let operands = SplitOperands { rows, queries, weights, visits };
            attend_split::<S, K>(call, task, split, operands, state);
            buffers.total.merge::<S>(&buffers.split, stride);
        }
        finish::<S>(call, &buffers.rows, &buffers.total);
    }
    BUFFERS.set(buffers);
}

/// The query rows of a task, ordered by slice, token and head.
fn query_rows(call: &AttentionCall, task: &AttentionTask, rows: &mut Vec<QueryRow>) {
    rows.clear();
    for slice in task.slices {
        for token in 0..slice.tokens {
            let first = (slice.row + token) * call.options.heads + task.kv_head * call.group;
            rows.extend(
                (first..first + call.group)
                    .map(|index| QueryRow { index, position: slice.position + token }),
            );
        }
    }
}

/// Initial state: empty, or with the sink of each row's head.
fn begin(call: &AttentionCall, rows: &[QueryRow], total: &mut SoftmaxState) {
    total.clear(rows.len(), call.layer.shape().value_stride());
    if let Some(sinks) = call.options.sinks {
        for (row, query) in rows.iter().enumerate() {
            total.sink(row, sinks[query.index % call.options.heads]);
        }
    }
}

/// A KV tile and the task's query rows that attend to it.
struct TileVisit {
    tile: usize,
    rows: Range<usize>,
    slots: [CacheSlot; LANE_GROUPS],
}

/// Query rows of a task, and working memory.
struct SplitOperands<'a> {
    rows: &'a [QueryRow],
    /// [query words][rows]
    queries: &'a [u32],
    /// [rows of a row block][64]
    weights: &'a mut [f32],
    visits: &'a mut Vec<TileVisit>,
}

/// Attends all rows of the task to all tiles of one split.
#[inline(always)]
unsafe fn attend_split<S: SimdInt, K: KvFormat>(
    call: &AttentionCall,
    task: &AttentionTask,
    split: usize,
    operands: SplitOperands,
    state: &mut SoftmaxState,
) {
    let shape = call.layer.shape();
    let SplitOperands { rows, queries, weights, visits } = operands;
    plan_visits(call, task, split, visits);
    let lanes =
        |slots: [CacheSlot; LANE_GROUPS]| slots.map(|slot| call.layer.lane16(slot, task.kv_head));
    for (index, visit) in visits.iter().enumerate() {
        let (here, next) =
            (lanes(visit.slots), lanes(visits.get(index + 1).unwrap_or(visit).slots));
        let mut first = visit.rows.start;
        while first < visit.rows.end {
            let count = rows_at_once::<S>(visit.rows.end - first);
            let block = RowBlock {
                shape,
                scale: call.options.scale,
                window: call.options.window,
                tile: visit.tile,
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
            attend_rows::<S, K>(&block);
            first += count;
        }
    }
}

/// Order in which a split's KV tiles are visited: tiles shared by all slices first, then each
/// slice's own, so that memory is read sequentially. Every row visits its tiles by position, so the
/// order does not affect the result.
fn plan_visits(
    call: &AttentionCall,
    task: &AttentionTask,
    split: usize,
    visits: &mut Vec<TileVisit>,
) {
    visits.clear();
    let (window, block_tokens) = (call.options.window, call.layer.shape().block_tokens);
    let (visible, of_split) = (task.tiles(window), SPLIT / TILE);
    let mut tiles = visible.start.max(split * of_split)..visible.end.min((split + 1) * of_split);
    if let [first, others @ ..] = task.slices
        && !others.is_empty()
    {
        let shared = |tile: &usize| {
            let slots = first.slots(*tile, block_tokens);
            others.iter().all(|slice| slice.slots(*tile, block_tokens) == slots)
        };
        for tile in tiles.clone().take_while(shared) {
            visits.push(TileVisit {
                tile,
                rows: 0..task.rows(call.group),
                slots: first.slots(tile, block_tokens),
            });
            tiles.start = tile + 1;
        }
    }
    let mut row = 0;
    for slice in task.slices {
        let rows = row..row + slice.tokens * call.group;
        row = rows.end;
        let own = first_visible(slice.position, window) / TILE..slice.last_position() / TILE + 1;
        for tile in tiles.start.max(own.start)..tiles.end.min(own.end) {
            visits.push(TileVisit {
                tile,
                rows: rows.clone(),
                slots: slice.slots(tile, block_tokens),
            });
        }
    }
}

/// Size of the next row block of `rows` rows. The result does not depend on it.
#[inline(always)]
fn rows_at_once<S: Simd>(rows: usize) -> usize {
    if !S::WIDE {
        rows.min(2)
    } else if rows >= ROWS_MAX {
        ROWS_MAX
    } else {
        rows.div_ceil(rows.div_ceil(6)) // row blocks of equal size
    }
}

/// Selects the instantiation of [`attend_tile`] for the number of rows. Each keeps R rows times
/// 16 W keys or values in registers.
#[inline(always)]
unsafe fn attend_rows<S: SimdInt, K: KvFormat>(block: &RowBlock) {
    match block.rows.len() {
        1 => attend_tile::<S, K, 1, 4>(block),
        _ if !S::WIDE => attend_tile::<S, K, 2, 2>(block),
        2 => attend_tile::<S, K, 2, 4>(block),
        3 => attend_tile::<S, K, 3, 4>(block),
        4 => attend_tile::<S, K, 4, 4>(block),
        5 => attend_tile::<S, K, 5, 2>(block),
        6 => attend_tile::<S, K, 6, 2>(block),
        _ => attend_tile::<S, K, ROWS_MAX, 2>(block),
    }
}

/// Divides the weighted values by the softmax sums and writes the outputs.
#[inline(always)]
unsafe fn finish<S: Simd>(call: &AttentionCall, rows: &[QueryRow], total: &SoftmaxState) {
    let (dim, stride) = (call.layer.shape().value_dim, call.layer.shape().value_stride());
    for (row, query) in rows.iter().enumerate() {
        let out = call.out.slice(query.index * dim..(query.index + 1) * dim);
        let scale = S::splat(1.0 / S::sum(S::load(total.sums.as_ptr().add(row * LANES))));
        let values = total.values.as_ptr().add(row * stride);
        for from in (0..stride).step_by(LANES) {
            // + 0.0, since a masked key may have turned -0 into +0.
            let value = S::fma(S::load(values.add(from)), scale, S::splat(0.0));
            S::store_part(out.as_mut_ptr().add(from), value, (dim - from).min(LANES));
        }
    }
}

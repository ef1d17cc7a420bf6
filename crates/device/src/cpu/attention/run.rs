//! Execution of attention tasks.

use std::cell::RefCell;

use placement::KvDtype;

use super::super::dispatch::kernel;
use super::super::simd::{LANES, Simd, SimdInt};
use super::cache::CacheSlot;
use super::kv_format::{KvFormat, KvInBf16, KvInF32, KvInInt8};
use super::softmax_state::SoftmaxState;
use super::task::{AttentionTask, TileVisit, plan_visits};
use super::tile::{QueryRow, RowBlock, attend_tile};
use super::transposed_values::TransposedValues;
use super::{AttentionCall, LANE_GROUPS, TILE};
use crate::memory::Scratch;

/// Maximum query rows of a row block.
const ROWS_MAX: usize = 12;

/// Per-thread buffers.
#[derive(Default)]
struct AttentionBuffers {
    total: SoftmaxState,
    split: SoftmaxState,
    rows: Vec<QueryRow>,
    /// Packed queries, [query words][rows].
    queries: Scratch<u32>,
    /// Scores, and then softmax weights, [rows of a row block][64].
    weights: Scratch<f32>,
    /// Tile visits of one split.
    visits: Vec<TileVisit>,
    /// Values of one tile, if the cache has only keys.
    transposed: TransposedValues,
}

thread_local! {
    static BUFFERS: RefCell<AttentionBuffers> = RefCell::default();
}

kernel! {
    /// Computes one split of `task` into the given state, or all splits and the output.
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
    // The buffers are stored in BUFFERS again below. A panic loses them, and they are allocated
    // anew.
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
        let AttentionBuffers { rows, queries, weights, visits, transposed, .. } = &mut buffers;
        attend_split::<S, K>(
            call,
            task,
            split,
            SplitOperands { rows, queries, weights, visits, transposed },
            state,
        );
    } else {
        begin(call, &buffers.rows, &mut buffers.total);
        for split in task.splits(call.options.window) {
            let AttentionBuffers {
                rows, queries, weights, visits, transposed, split: state, ..
            } = &mut buffers;
            state.clear(rows.len(), stride);
            let operands = SplitOperands { rows, queries, weights, visits, transposed };
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
                (first + task.heads.start..first + task.heads.end)
                    .map(|index| QueryRow { index, position: slice.position + token }),
            );
        }
    }
}

/// Sets `total` to the empty state, or to the attention sink of each row's head.
fn begin(call: &AttentionCall, rows: &[QueryRow], total: &mut SoftmaxState) {
    total.clear(rows.len(), call.layer.shape().value_stride());
    if let Some(sinks) = call.options.sinks {
        for (row, query) in rows.iter().enumerate() {
            total.sink(row, sinks[query.index % call.options.heads]);
        }
    }
}

/// Query rows of a task, and the buffers that a split needs.
struct SplitOperands<'a> {
    rows: &'a [QueryRow],
    /// Packed queries, [query words][rows].
    queries: &'a [u32],
    /// Scores, and then softmax weights, [rows of a row block][64].
    weights: &'a mut [f32],
    visits: &'a mut Vec<TileVisit>,
    transposed: &'a mut TransposedValues,
}

/// Computes the attention of all rows of the task over the tiles of one split.
#[inline(always)]
unsafe fn attend_split<S: SimdInt, K: KvFormat>(
    call: &AttentionCall,
    task: &AttentionTask,
    split: usize,
    operands: SplitOperands,
    state: &mut SoftmaxState,
) {
    let shape = call.layer.shape();
    let SplitOperands { rows, queries, weights, visits, transposed } = operands;
    plan_visits(call, task, split, visits);
    let lanes =
        |slots: [CacheSlot; LANE_GROUPS]| slots.map(|slot| call.layer.lane16(slot, task.kv_head));
    for (index, visit) in visits.iter().enumerate() {
        let (mut here, next) =
            (lanes(visit.slots), lanes(visits.get(index + 1).unwrap_or(visit).slots));
        if shape.values_in_keys {
            transposed.fill::<S, K>(shape, &visit.slots, &mut here);
        }
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

/// Number of rows of the next row block, if `rows` rows remain. The result does not depend on it.
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

/// Selects the instantiation of [`attend_tile`] for the number of rows. Each keeps 16 W scores, or
/// 16 W elements of the weighted values, of each of R rows in registers.
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
            // Adding 0.0 turns -0 into +0, as a masked key of weight 0 may have done.
            let value = S::fma(S::load(values.add(from)), scale, S::splat(0.0));
            S::store_part(out.as_mut_ptr().add(from), value, (dim - from).min(LANES));
        }
    }
}

//! Division of attention into tasks, and the KV tiles that each task visits.

use std::cmp::Reverse;
use std::ops::Range;

use super::super::simd::LANES;
use super::cache::CacheSlot;
use super::{AttentionCall, LANE_GROUPS, SPLIT, TILE};
use crate::backend::AttentionSequence;

/// Maximum query rows (tokens x query heads per KV head) of a slice, which share one pass over the
/// keys of their sequence: five row blocks of 12.
const SLICE_ROWS_MAX: usize = 60;

/// Maximum query rows of a task with slices of several sequences: few enough that their tiles fit
/// in the L2 cache and that there are tasks for all threads.
const SHARED_ROWS_MAX: usize = 24;

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

/// Unit of work of one thread: query heads of one KV head, for one slice or for several slices of
/// sequences that share their first block.
pub(super) struct AttentionTask<'a> {
    pub kv_head: usize,
    /// Query heads within the group of the KV head: all of them, or a part.
    pub heads: Range<usize>,
    pub slices: &'a [QuerySlice<'a>],
}

/// Division of query heads into tasks.
#[derive(Clone, Copy)]
pub(super) struct TaskHeads {
    pub kv_heads: usize,
    /// Query heads per KV head.
    pub group: usize,
    /// Maximum query heads of a task.
    pub part: usize,
}

impl<'a> QuerySlice<'a> {
    /// Splits the sequences into slices, sorted by first block, so that sequences with a common
    /// prefix are neighbors. `heads` is the number of query heads of a task.
    pub(super) fn all(sequences: &'a [AttentionSequence<'a>], heads: usize) -> Vec<Self> {
        let tokens_max = (SLICE_ROWS_MAX / heads).max(1);
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

/// The tasks of a forward pass, longest first, so that threads are evenly loaded.
pub(super) fn tasks_of<'a>(
    slices: &'a [QuerySlice<'a>],
    heads: TaskHeads,
    window: Option<usize>,
) -> Vec<AttentionTask<'a>> {
    let TaskHeads { kv_heads, group, part } = heads;
    let mut tasks = Vec::new();
    let mut rest = slices;
    while let Some(first) = rest.first() {
        let mut rows = 0;
        let joined = rest.iter().take_while(|slice| {
            rows += slice.tokens * part.min(group);
            slice.blocks[0] == first.blocks[0] && rows <= SHARED_ROWS_MAX
        });
        let (now, later) = rest.split_at(joined.count().max(1));
        for kv_head in 0..kv_heads {
            tasks.extend((0..group).step_by(part).map(|first| {
                let heads = first..(first + part).min(group);
                AttentionTask { kv_head, heads, slices: now }
            }));
        }
        rest = later;
    }
    tasks.sort_by_cached_key(|task| Reverse(task.rows() * task.tiles(window).len()));
    tasks
}

impl AttentionTask<'_> {
    /// The splits to which the task's queries attend.
    pub(super) fn splits(&self, window: Option<usize>) -> Range<usize> {
        let tiles = self.tiles(window);
        tiles.start / (SPLIT / TILE)..(tiles.end - 1) / (SPLIT / TILE) + 1
    }

    /// The tiles to which the task's queries attend.
    fn tiles(&self, window: Option<usize>) -> Range<usize> {
        let first = self.slices.iter().map(|slice| first_visible(slice.position, window)).min();
        let last = self.slices.iter().map(QuerySlice::last_position).max();
        first.unwrap_or(0) / TILE..last.unwrap_or(0) / TILE + 1
    }

    fn rows(&self) -> usize {
        self.slices.iter().map(|slice| slice.tokens * self.heads.len()).sum()
    }
}

/// The first position to which the token at `position` attends.
pub(super) fn first_visible(position: usize, window: Option<usize>) -> usize {
    window.map_or(0, |window| (position + 1).saturating_sub(window))
}

/// A KV tile and the task's query rows that attend to it.
pub(super) struct TileVisit {
    pub tile: usize,
    pub rows: Range<usize>,
    pub slots: [CacheSlot; LANE_GROUPS],
}

/// Order in which a split's KV tiles are visited: tiles shared by all slices first, then each
/// slice's own, so that memory is read sequentially. Every row visits its tiles by position, so the
/// order does not affect the result.
pub(super) fn plan_visits(
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
                rows: 0..task.rows(),
                slots: first.slots(tile, block_tokens),
            });
            tiles.start = tile + 1;
        }
    }
    let mut row = 0;
    for slice in task.slices {
        let rows = row..row + slice.tokens * task.heads.len();
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

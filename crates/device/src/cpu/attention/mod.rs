//! Flash-decoding (Dao 2023) over paged KV; shared prefixes as in cascade attention.
//!
//! Every query (one token and head) visits the keys in tiles of 64 positions with an online
//! softmax. Tiles form splits of 1024 positions, whose results are merged in order. Tiles and
//! splits start at fixed positions, so the result depends only on the sequence: not on the division
//! of its tokens into chunks, the batch or the threads. Keys and values are read from the cache in
//! its dtype, including those of the current step. Blocks that several sequences share (a common
//! system prompt) are read once for all of them.
#![allow(unsafe_op_in_unsafe_fn)]

mod cache;
mod int8_group;
mod kv_format;
mod run;
mod softmax_state;
mod task;
mod tile;
mod transposed_values;
mod writer;

use super::shared::SharedMut;
use super::simd::LANES;
use super::{Cpu, expect};
use crate::DeviceError;
use crate::backend::{AttentionOptions, AttentionSequence};

pub use cache::{KvLayer, KvShape};
use run::{merge_task, run_task};
use softmax_state::SoftmaxState;
use task::{AttentionTask, QuerySlice, TaskHeads, tasks_of};
use writer::KvWriter;

/// Positions of a KV tile.
const TILE: usize = 64;

/// Groups of 16 positions in a tile.
const LANE_GROUPS: usize = TILE / LANES;

/// Positions of a split, the unit by which a long sequence is divided among threads.
const SPLIT: usize = 1024;

impl Cpu {
    /// Writes keys and values of the new tokens, both [tokens, kv_heads, dim], to the cache,
    /// rounded to its dtype. `v` is empty if the values are parts of the keys.
    ///
    /// # Errors
    /// [`DeviceError::Shape`], or [`DeviceError::Index`] for a block past the end of the cache.
    pub fn write_kv(
        &self,
        layer: &mut KvLayer,
        sequences: &[AttentionSequence],
        k: &[f32],
        v: &[f32],
    ) -> Result<(), DeviceError> {
        let shape = *layer.shape();
        let tokens = check_sequences(layer.shape().block_tokens, layer.blocks(), sequences)?;
        expect(
            "write_kv: k is [tokens, kv_heads, key_dim]",
            tokens * shape.kv_heads * shape.key_dim,
            k.len(),
        )?;
        expect(
            "write_kv: v is [tokens, kv_heads, value_dim]",
            tokens * shape.kv_heads * shape.stored_value_dim(),
            v.len(),
        )?;
        let mut slots = vec![0usize; tokens]; // block * block_tokens + offset in the block
        for sequence in sequences {
            for (i, row) in sequence.rows.clone().enumerate() {
                let position = sequence.first_position + i;
                let block = sequence.blocks[position / shape.block_tokens] as usize;
                slots[row] = block * shape.block_tokens + position % shape.block_tokens;
            }
        }
        let writer = KvWriter::new(layer);
        let row_elements = shape.kv_heads * (shape.key_dim + shape.stored_value_dim());
        self.over_rows(tokens, row_elements, &|rows| {
            for row in rows {
                // SAFETY: `check_sequences` checked the block ids, so every slot is inside the
                // cache, and that no row occurs twice, so rows of one sequence have different
                // slots. Block tables must not share a block that is written; if two do, keys and
                // values are mixed, but no write leaves the cache.
                unsafe { writer.write(slots[row], row, k, v) };
            }
        })
    }

    /// out[t, h, :] = softmax(q[t, h] . keys * scale) values, causal. `q` is [tokens, heads,
    /// key_dim] after RoPE, `out` [tokens, heads, value_dim]. [`Cpu::write_kv`] must be called
    /// first for the new tokens.
    ///
    /// # Errors
    /// [`DeviceError::Shape`], or [`DeviceError::Index`] for a block past the end of the cache.
    pub fn attention(
        &self,
        layer: &KvLayer,
        sequences: &[AttentionSequence],
        options: &AttentionOptions<Cpu>,
        q: &[f32],
        out: &mut [f32],
    ) -> Result<(), DeviceError> {
        let shape = layer.shape();
        let tokens = check_sequences(layer.shape().block_tokens, layer.blocks(), sequences)?;
        let group = options.heads / shape.kv_heads.max(1);
        expect(
            "attention: heads are a multiple of kv_heads",
            group * shape.kv_heads,
            options.heads,
        )?;
        expect(
            "attention: q is [tokens, heads, key_dim]",
            tokens * options.heads * shape.key_dim,
            q.len(),
        )?;
        expect(
            "attention: out is [tokens, heads, value_dim]",
            tokens * options.heads * shape.value_dim,
            out.len(),
        )?;
        expect("attention: sinks", options.heads, options.sinks.map_or(options.heads, Vec::len))?;
        if group == 0 || tokens == 0 {
            return Ok(());
        }
        let part = task_heads(shape, group, tokens, self.pool.threads());
        let slices = QuerySlice::all(sequences, part);
        let heads = TaskHeads { kv_heads: shape.kv_heads, group, part };
        let tasks = tasks_of(&slices, heads, options.window);
        let call =
            AttentionCall { layer, options, q, group, out: SharedMut::new(out), set: self.set };
        if tasks.len() < 4 * self.pool.threads()
            && tasks.iter().any(|task| task.splits(options.window).len() > 1)
        {
            return self.split_attention(&call, &tasks);
        }
        self.pool.run(tasks.len(), &|i, _| {
            // SAFETY: blocks and shapes were checked above; tasks write disjoint outputs.
            unsafe { run_task(call.set, &call, &tasks[i], None) };
        })
    }

    /// Computes the splits of the tasks in parallel and merges them in order, for few tasks with
    /// long sequences. The result is bit-identical to that of tasks that are not split.
    fn split_attention(
        &self,
        call: &AttentionCall,
        tasks: &[AttentionTask],
    ) -> Result<(), DeviceError> {
        let work: Vec<(&AttentionTask, usize)> = tasks
            .iter()
            .flat_map(|task| task.splits(call.options.window).map(move |split| (task, split)))
            .collect();
        let mut states: Vec<SoftmaxState> = work.iter().map(|_| SoftmaxState::default()).collect();
        let slots = SharedMut::new(&mut states);
        self.pool.run(work.len(), &|i, _| {
            let (task, split) = work[i];
            // SAFETY: `attention` checked blocks and shapes; each call writes its own state.
            unsafe { run_task(call.set, call, task, Some((split, &mut slots.slice(i..i + 1)[0]))) };
        })?;
        let mut done = 0;
        for task in tasks {
            let count = task.splits(call.options.window).len();
            // SAFETY: `attention` checked blocks and shapes; the pool is idle, so only this thread
            // writes the outputs.
            unsafe { merge_task(call.set, call, task, &states[done..done + count]) };
            done += count;
        }
        Ok(())
    }
}

/// Query heads of one task. The many heads of latent attention share one key, so they are divided
/// among tasks: into parts of at most 64 heads, and into more while there are fewer tasks than
/// threads. Each task transposes the values of its tiles, so a part has at least 12 heads. The
/// result does not depend on the division.
fn task_heads(shape: &KvShape, group: usize, tokens: usize, threads: usize) -> usize {
    const HEADS_MAX: usize = 64;
    const HEADS_MIN: usize = 12;
    if !shape.values_in_keys {
        return group;
    }
    let wanted = threads.div_ceil(tokens * shape.kv_heads);
    let parts = group.div_ceil(HEADS_MAX).max(wanted.min(group.div_ceil(HEADS_MIN)));
    group.div_ceil(parts)
}

/// Operands of one call of [`Cpu::attention`].
struct AttentionCall<'a> {
    layer: &'a KvLayer,
    options: &'a AttentionOptions<'a, Cpu>,
    q: &'a [f32],
    /// Query heads per KV head.
    group: usize,
    out: SharedMut<f32>,
    set: super::KernelSet,
}

/// Checks that every row belongs to exactly one sequence, and that the block tables cover all
/// positions with block ids below `blocks`. Returns the number of rows.
pub(crate) fn check_sequences(
    block_tokens: usize,
    blocks: usize,
    sequences: &[AttentionSequence],
) -> Result<usize, DeviceError> {
    let tokens: usize = sequences.iter().map(|s| s.rows.len()).sum();
    let mut seen = vec![false; tokens];
    for sequence in sequences {
        let rows = seen.get_mut(sequence.rows.clone());
        let rows = rows.ok_or(DeviceError::Index {
            what: "row of a sequence",
            index: sequence.rows.end,
            len: tokens,
        })?;
        if rows.contains(&true) {
            return Err(DeviceError::Shape {
                what: "sequences: rows that no other sequence has",
                expected: rows.len(),
                found: 0,
            });
        }
        rows.fill(true);
        let needed = (sequence.first_position + sequence.rows.len()).div_ceil(block_tokens);
        if sequence.blocks.len() < needed {
            return Err(DeviceError::Index {
                what: "block table entry",
                index: needed,
                len: sequence.blocks.len(),
            });
        }
        if let Some(&block) = sequence.blocks[..needed].iter().find(|&&b| b as usize >= blocks) {
            return Err(DeviceError::Index {
                what: "KV block",
                index: block as usize,
                len: blocks,
            });
        }
    }
    Ok(tokens)
}

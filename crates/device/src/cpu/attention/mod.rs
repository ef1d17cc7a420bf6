//! Attention over a paged cache of keys and values.
//!
//! For every (token, head) the keys are visited in tiles of 64 positions with a running maximum
//! (online softmax), and tiles are grouped into splits of 1024 positions whose results are merged
//! in order. Tiles and splits stand at fixed positions, so the bits depend on the sequence alone:
//! not on how its tokens were chunked, on the batch or on the threads. Keys and values are read
//! back from the cache in stored precision, also those that the same step wrote. Sequences whose
//! tables name the same blocks (runs behind one system prompt) meet these together: they are read
//! once for all of them.
#![allow(unsafe_op_in_unsafe_fn)]

mod cache;
mod item;
mod partial;
mod row_block;
mod stored;

use std::ops::Range;

use super::shared::SharedMut;
use super::{Cpu, expect};
use crate::DeviceError;

pub use cache::{KvLayer, KvShape};
use item::{Item, Member, items_of, merge_item, run_item};
use partial::Partial;

/// Positions of a tile of keys.
const TILE: usize = 64;

/// Positions of a split: long sequences are shared among threads at these borders.
const SPLIT: usize = 1024;

/// One sequence's share of a step.
#[derive(Debug, Clone)]
pub struct AttentionSequence<'a> {
    /// Its blocks in order of position; they cover all positions up to the last new token.
    pub blocks: &'a [u32],
    /// Its new tokens' rows in q, k, v and out.
    pub rows: Range<usize>,
    /// The position of the first new token: the number of tokens already in the cache.
    pub first_position: usize,
}

/// What attention computes besides its operands.
#[derive(Debug, Clone, Copy)]
pub struct AttentionOptions<'a> {
    /// Query heads; a multiple of the cache's kv heads.
    pub heads: usize,
    /// Factor of the scores, usually 1 / sqrt(head_dim).
    pub scale: f32,
    /// A token sees itself and the `window - 1` tokens before it; all of them if `None`.
    pub window: Option<usize>,
    /// One logit a head that takes part in the softmax without a value (gpt-oss).
    pub sinks: Option<&'a [f32]>,
}

impl Cpu {
    /// Stores the new tokens' keys and values, both [tokens, kv_heads, dim], rounded to the cache's
    /// dtype.
    ///
    /// # Errors
    /// [`DeviceError::Shape`], or [`DeviceError::Index`] for a block that is not there.
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
            tokens * shape.kv_heads * shape.value_dim,
            v.len(),
        )?;
        let mut slots = vec![0usize; tokens]; // block * block_tokens + place in the block
        for sequence in sequences {
            for (i, row) in sequence.rows.clone().enumerate() {
                let position = sequence.first_position + i;
                let block = sequence.blocks[position / shape.block_tokens] as usize;
                slots[row] = block * shape.block_tokens + position % shape.block_tokens;
            }
        }
        let writer = layer.writer();
        let row_elements = shape.kv_heads * (shape.key_dim + shape.value_dim);
        self.over_rows(tokens, row_elements, &|rows| {
            for row in rows {
                // SAFETY: a slot lies in the cache (blocks were checked), and each row has its own,
                // or the caller wrote one slot twice in one step, which
                // `check_sequences` refuses by refusing shared rows; equal slots of different
                // sequences would be a block shared for writing, which a block
                // table must not have (then values mix, memory stays valid).
                unsafe { writer.write(slots[row], row, k, v) };
            }
        })
    }

    /// out[t, h, :] = softmax(q[t, h] . keys * scale) values, causal. `q` is [tokens, heads,
    /// key_dim] after rope, `out` [tokens, heads, value_dim]. The new tokens' keys and values
    /// were written before.
    ///
    /// # Errors
    /// [`DeviceError::Shape`], or [`DeviceError::Index`] for a block that is not there.
    pub fn attention(
        &self,
        layer: &KvLayer,
        sequences: &[AttentionSequence],
        options: &AttentionOptions,
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
        expect(
            "attention: sinks",
            options.heads,
            options.sinks.map_or(options.heads, <[f32]>::len),
        )?;
        if group == 0 || tokens == 0 {
            return Ok(());
        }
        let members = Member::all(sequences, group);
        let items = items_of(&members, shape.kv_heads, group, options.window);
        let call = Call { layer, options, q, group, out: SharedMut::new(out), set: self.set };
        if items.len() < 4 * self.pool.threads()
            && items.iter().any(|item| item.splits(options.window).len() > 1)
        {
            return self.split_attention(&call, &items);
        }
        self.pool.run(items.len(), &|i, _| {
            // SAFETY: blocks and shapes were checked; items write disjoint outputs.
            unsafe { run_item(call.set, &call, &items[i], None) };
        })
    }

    /// Few items, long sequences: splits are computed in parallel, then merged in order, which
    /// gives the same bits.
    fn split_attention(&self, call: &Call, items: &[Item]) -> Result<(), DeviceError> {
        let work: Vec<(&Item, usize)> = items
            .iter()
            .flat_map(|item| item.splits(call.options.window).map(move |split| (item, split)))
            .collect();
        let mut partials: Vec<Partial> = work.iter().map(|_| Partial::default()).collect();
        let slots = SharedMut::new(&mut partials);
        self.pool.run(work.len(), &|i, _| {
            let (item, split) = work[i];
            // SAFETY: as above; each part writes its own partial.
            unsafe { run_item(call.set, call, item, Some((split, &mut slots.slice(i..i + 1)[0]))) };
        })?;
        let mut done = 0;
        for item in items {
            let count = item.splits(call.options.window).len();
            // SAFETY: outputs of an item are written by this thread alone now.
            unsafe { merge_item(call.set, call, item, &partials[done..done + count]) };
            done += count;
        }
        Ok(())
    }
}

/// The operands of one call.
struct Call<'a> {
    layer: &'a KvLayer,
    options: &'a AttentionOptions<'a>,
    q: &'a [f32],
    /// Query heads of a kv head.
    group: usize,
    out: SharedMut<f32>,
    set: super::KernelSet,
}

/// Fails unless rows are disjoint and complete, and every block of `blocks`, which hold so many
/// tokens, is there. Returns the number of rows.
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

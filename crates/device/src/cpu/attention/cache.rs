//! One layer's paged KV cache and its layout.

use placement::KvDtype;

use super::super::simd::LANES;
use super::expect;
use crate::DeviceError;
use crate::memory::{Arena, Zeroed};

/// Elements of a head that share a scale in an int8 cache.
pub(super) const GROUP: usize = KvDtype::GROUP;

/// Added to the int8 codes of keys to make them unsigned, which the dot product instruction
/// (`vpdpbusd`) requires of one operand.
pub(super) const KEY_OFFSET: i32 = 128;

/// Shape of one layer's cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvShape {
    pub kv_heads: usize,
    /// Elements of a key (and of a query).
    pub key_dim: usize,
    /// Elements of a value.
    pub value_dim: usize,
    /// Tokens per block: 16, 32 or 64.
    pub block_tokens: usize,
    pub dtype: KvDtype,
    /// Latent attention: a value is the first `value_dim` elements of its key, and only keys are
    /// stored.
    pub values_in_keys: bool,
}

impl KvShape {
    /// Bytes of a word of a key. A word holds one f32, two bf16 or four int8 codes.
    const WORD: usize = 4;

    /// Bytes of a scale, which is a bf16.
    const SCALE: usize = 2;

    /// Number of words of a key.
    pub(super) fn key_words(&self) -> usize {
        match self.dtype {
            KvDtype::F32 => self.key_dim,
            KvDtype::Bf16 => self.key_dim.div_ceil(2),
            KvDtype::Int8 => self.key_dim.div_ceil(4),
        }
    }

    /// Number of scales of a key: 0 unless the cache is int8.
    pub(crate) fn key_groups(&self) -> usize {
        self.groups(self.key_dim)
    }

    /// Number of scales of a value: 0 unless the cache is int8.
    pub(crate) fn value_groups(&self) -> usize {
        self.groups(self.value_dim)
    }

    fn groups(&self, dim: usize) -> usize {
        if self.dtype == KvDtype::Int8 { dim.div_ceil(GROUP) } else { 0 }
    }

    /// Elements from one value to the next: `value_dim` and zero padding up to a multiple of 16.
    pub(super) fn value_stride(&self) -> usize {
        self.value_dim.next_multiple_of(LANES)
    }

    pub(crate) fn element_bytes(&self) -> usize {
        match self.dtype {
            KvDtype::F32 => 4,
            KvDtype::Bf16 => 2,
            KvDtype::Int8 => 1,
        }
    }

    /// Bytes of the keys of one KV head in one block.
    pub(super) fn key_head_bytes(&self) -> usize {
        self.key_words() * Self::WORD * self.block_tokens
    }

    /// Bytes of the values of one KV head in one block.
    pub(super) fn value_head_bytes(&self) -> usize {
        if self.values_in_keys {
            0
        } else {
            self.value_stride() * self.element_bytes() * self.block_tokens
        }
    }

    /// Bytes of the scales of the keys of one KV head in one block.
    pub(super) fn key_scales_head_bytes(&self) -> usize {
        self.key_groups() * Self::SCALE * self.block_tokens
    }

    /// Bytes of the scales of the values of one KV head in one block.
    pub(super) fn value_scales_head_bytes(&self) -> usize {
        if self.values_in_keys { 0 } else { self.value_groups() * Self::SCALE * self.block_tokens }
    }

    /// Elements of a value that are stored beside its key.
    pub(crate) fn stored_value_dim(&self) -> usize {
        if self.values_in_keys { 0 } else { self.value_dim }
    }

    /// Bytes of one block: keys and values of all heads, padding included.
    pub fn block_bytes(&self) -> usize {
        self.parts().into_iter().sum::<usize>() * self.kv_heads
    }

    /// Bytes of one KV head in one block: keys, values, scales of keys, scales of values.
    pub(super) fn parts(&self) -> [usize; 4] {
        [
            self.key_head_bytes(),
            self.value_head_bytes(),
            self.key_scales_head_bytes(),
            self.value_scales_head_bytes(),
        ]
    }

    pub(crate) fn check(&self) -> Result<(), DeviceError> {
        let rounded = if self.block_tokens <= 16 {
            16
        } else if self.block_tokens <= 32 {
            32
        } else {
            64
        };
        expect("KvShape: block_tokens is 16, 32 or 64", rounded, self.block_tokens)?;
        let value_dim_max = if self.values_in_keys { self.key_dim } else { usize::MAX };
        expect("KvShape: values within keys", self.value_dim.min(value_dim_max), self.value_dim)?;
        expect("KvShape: kv_heads is not 0", self.kv_heads.max(1), self.kv_heads)
    }
}

/// KV cache of one layer, in blocks.
///
/// In a block, keys are transposed: `[kv_head][dim][token]`, with pairs (bf16) or groups of four
/// (int8) of neighboring dimensions in one word, so that a vector holds one word of sixteen keys.
/// Values are `[kv_head][token][value_dim]`, in bf16 `[kv_head][token pair][value_dim][2]`. Int8
/// scales are `[kv_head][group][token]` for keys and `[kv_head][token][group]` for values. With
/// latent attention there are only keys; a tile's values are transposed from them when it is read.
pub struct KvLayer {
    shape: KvShape,
    blocks: usize,
    /// Keys, values, scales of keys and scales of values of all blocks.
    parts: [Zeroed; 4],
}

impl KvLayer {
    /// Bytes that [`Self::new`] allocates, padding included.
    pub fn bytes(shape: &KvShape, blocks: usize) -> usize {
        let aligned =
            |part: usize| (blocks * shape.kv_heads * part).next_multiple_of(Arena::ALIGNMENT_BYTES);
        shape.parts().into_iter().map(aligned).sum()
    }

    /// Allocates `blocks` blocks of zeros.
    ///
    /// # Errors
    /// [`DeviceError::ArenaFull`], [`DeviceError::Shape`].
    pub fn new(arena: &Arena, shape: KvShape, blocks: usize) -> Result<Self, DeviceError> {
        shape.check()?;
        let [keys, values, key_scales, value_scales] =
            shape.parts().map(|part| arena.zeroed(blocks * shape.kv_heads * part));
        Ok(Self { shape, blocks, parts: [keys?, values?, key_scales?, value_scales?] })
    }

    pub fn shape(&self) -> &KvShape {
        &self.shape
    }

    /// Number of blocks.
    pub fn blocks(&self) -> usize {
        self.blocks
    }

    /// Copies block `from` to block `to`, before a shared block is written (copy on write).
    ///
    /// # Errors
    /// [`DeviceError::Index`].
    pub fn copy_block(&mut self, from: u32, to: u32) -> Result<(), DeviceError> {
        let (from, to) = (from as usize, to as usize);
        let index = from.max(to);
        if index >= self.blocks {
            return Err(DeviceError::Index { what: "KV block", index, len: self.blocks });
        }
        for (part, head_bytes) in self.parts.iter_mut().zip(self.shape.parts()) {
            let bytes = self.shape.kv_heads * head_bytes;
            part.copy_within(from * bytes..(from + 1) * bytes, to * bytes);
        }
        Ok(())
    }

    /// Pointers to the keys and values of `head` at the 16 positions from `slot`.
    #[inline(always)]
    pub(super) fn lane16(&self, slot: CacheSlot, head: usize) -> KvLane16 {
        let shape = &self.shape;
        let (index, offset) = (slot.block * shape.kv_heads + head, slot.offset);
        let bytes = shape.parts();
        let part = |part: usize| self.parts[part][index * bytes[part]..].as_ptr();
        KvLane16 {
            keys: part(0).wrapping_add(offset * KvShape::WORD),
            values: part(1).wrapping_add(offset * shape.value_stride() * shape.element_bytes()),
            key_scales: part(2).cast::<u16>().wrapping_add(offset),
            value_scales: part(3).cast::<u16>().wrapping_add(offset * shape.value_groups()),
        }
    }

    /// Pointers to the starts of keys, values, scales of keys and scales of values, for writing.
    pub(super) fn parts_mut(&mut self) -> ([*mut u8; 4], &KvShape) {
        (self.parts.each_mut().map(|part| part.as_mut_ptr()), &self.shape)
    }
}

/// First of 16 consecutive positions in the cache.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct CacheSlot {
    pub block: usize,
    /// Token within the block: a multiple of 16.
    pub offset: usize,
}

/// Pointers to keys and values of 16 consecutive positions of one head.
#[derive(Clone, Copy)]
pub(super) struct KvLane16 {
    /// [words][block_tokens], from the column of the first of the 16 positions.
    pub keys: *const u8,
    /// [16][value_stride], in bf16 [8][value_stride][2].
    pub values: *const u8,
    /// [groups][block_tokens], from the column of the first of the 16 positions.
    pub key_scales: *const u16,
    /// [16][groups], from the first of the 16 positions.
    pub value_scales: *const u16,
}

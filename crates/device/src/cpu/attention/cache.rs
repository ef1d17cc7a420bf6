use half::bf16;

use super::super::simd::LANES;
use super::expect;
use crate::DeviceError;
use crate::memory::{Arena, Zeroed};

/// How keys and values are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KvDtype {
    /// 4 bytes a number: the oracle mode.
    F32,
    /// 2 bytes a number.
    Bf16,
}

/// The shape of one layer's cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvShape {
    /// Heads of keys and values.
    pub kv_heads: usize,
    /// Elements of a key (and of a query).
    pub key_dim: usize,
    /// Elements of a value.
    pub value_dim: usize,
    /// Tokens of a block: 16, 32 or 64.
    pub block_tokens: usize,
    /// How numbers are stored.
    pub dtype: KvDtype,
}

impl KvShape {
    /// Bytes of one 32-bit column's worth of a key: a number, or a pair of bf16.
    const WORD: usize = 4;

    /// 32-bit words of a key.
    pub(super) fn key_words(&self) -> usize {
        match self.dtype {
            KvDtype::F32 => self.key_dim,
            KvDtype::Bf16 => self.key_dim.div_ceil(2),
        }
    }

    /// Elements from one value to the next: whole vectors, zeros at the end.
    pub(super) fn value_stride(&self) -> usize {
        self.value_dim.next_multiple_of(LANES)
    }

    fn number_bytes(&self) -> usize {
        match self.dtype {
            KvDtype::F32 => 4,
            KvDtype::Bf16 => 2,
        }
    }

    /// Bytes of the keys of one head of one block.
    pub(super) fn key_head_bytes(&self) -> usize {
        self.key_words() * Self::WORD * self.block_tokens
    }

    /// Bytes of the values of one head of one block.
    pub(super) fn value_head_bytes(&self) -> usize {
        self.value_stride() * self.number_bytes() * self.block_tokens
    }

    /// Bytes of one block, keys and values of all heads, as they are really stored (padding included): what a plan counts.
    pub fn block_bytes(&self) -> usize {
        self.kv_heads * (self.key_head_bytes() + self.value_head_bytes())
    }

    fn check(&self) -> Result<(), DeviceError> {
        let rounded = if self.block_tokens <= 16 {
            16
        } else if self.block_tokens <= 32 {
            32
        } else {
            64
        };
        expect("KvShape: block_tokens is 16, 32 or 64", rounded, self.block_tokens)?;
        expect("KvShape: kv_heads is not 0", self.kv_heads.max(1), self.kv_heads)
    }
}

/// One layer's keys and values, in blocks.
///
/// Inside a block, values are `[kv_head][token][value_dim]` and keys are transposed, `[kv_head][dim][token]`, in bf16 by pairs of
/// neighbouring dimensions: sixteen keys' scores are then sixteen lanes, without a rearrangement on the way.
pub struct KvLayer {
    shape: KvShape,
    blocks: usize,
    keys: Zeroed,
    values: Zeroed,
}

impl KvLayer {
    /// Bytes that [`Self::new`] takes from its arena, padding included.
    pub fn bytes(shape: &KvShape, blocks: usize) -> usize {
        let keys = (blocks * shape.kv_heads * shape.key_head_bytes()).next_multiple_of(Arena::ALIGNMENT_BYTES);
        let values = blocks * shape.kv_heads * shape.value_head_bytes();
        keys + values.next_multiple_of(Arena::ALIGNMENT_BYTES)
    }

    /// Room for `blocks` blocks in `arena`.
    ///
    /// # Errors
    /// [`DeviceError::ArenaFull`], [`DeviceError::Shape`].
    pub fn new(arena: &Arena, shape: KvShape, blocks: usize) -> Result<Self, DeviceError> {
        shape.check()?;
        let keys = arena.zeroed(blocks * shape.kv_heads * shape.key_head_bytes())?;
        let values = arena.zeroed(blocks * shape.kv_heads * shape.value_head_bytes())?;
        Ok(Self { shape, blocks, keys, values })
    }

    /// Its shape.
    pub fn shape(&self) -> &KvShape {
        &self.shape
    }

    /// Its blocks.
    pub fn blocks(&self) -> usize {
        self.blocks
    }

    /// Copies block `from` over block `to` (a shared block that is about to be written).
    ///
    /// # Errors
    /// [`DeviceError::Index`].
    pub fn copy_block(&mut self, from: u32, to: u32) -> Result<(), DeviceError> {
        let (from, to) = (from as usize, to as usize);
        let index = from.max(to);
        if index >= self.blocks {
            return Err(DeviceError::Index { what: "KV block", index, len: self.blocks });
        }
        let key_bytes = self.shape.kv_heads * self.shape.key_head_bytes();
        let value_bytes = self.shape.kv_heads * self.shape.value_head_bytes();
        self.keys.copy_within(from * key_bytes..(from + 1) * key_bytes, to * key_bytes);
        self.values.copy_within(from * value_bytes..(from + 1) * value_bytes, to * value_bytes);
        Ok(())
    }

    /// The keys of `head` in `block`: [words][block_tokens].
    pub(super) fn keys(&self, block: u32, head: usize) -> *const u8 {
        let bytes = self.shape.key_head_bytes();
        self.keys[(block as usize * self.shape.kv_heads + head) * bytes..].as_ptr()
    }

    /// The values of `head` in `block`: [block_tokens][value_stride].
    pub(super) fn values(&self, block: u32, head: usize) -> *const u8 {
        let bytes = self.shape.value_head_bytes();
        self.values[(block as usize * self.shape.kv_heads + head) * bytes..].as_ptr()
    }

    pub(super) fn writer(&mut self) -> Writer<'_> {
        Writer { keys: self.keys.as_mut_ptr(), values: self.values.as_mut_ptr(), shape: &self.shape }
    }
}

/// A cache being written by several threads, each its own slots.
pub(super) struct Writer<'a> {
    keys: *mut u8,
    values: *mut u8,
    shape: &'a KvShape,
}

// SAFETY: `write` touches only the bytes of its slot, and every slot is written by one thread (a promise of its callers).
unsafe impl Sync for Writer<'_> {}

impl Writer<'_> {
    /// Stores row `row` of `k` and `v` in `slot` (block * block_tokens + place).
    ///
    /// # Safety
    /// The slot exists and no other thread writes it meanwhile.
    pub(super) unsafe fn write(&self, slot: usize, row: usize, k: &[f32], v: &[f32]) {
        let shape = self.shape;
        let (block, place) = (slot / shape.block_tokens, slot % shape.block_tokens);
        for head in 0..shape.kv_heads {
            let at = block * shape.kv_heads + head;
            let key = &k[(row * shape.kv_heads + head) * shape.key_dim..][..shape.key_dim];
            let value = &v[(row * shape.kv_heads + head) * shape.value_dim..][..shape.value_dim];
            let keys = self.keys.add(at * shape.key_head_bytes() + place * KvShape::WORD).cast::<u32>();
            let values =
                self.values.add(at * shape.value_head_bytes() + place * shape.value_stride() * shape.number_bytes());
            match shape.dtype {
                KvDtype::F32 => {
                    for (d, x) in key.iter().enumerate() {
                        keys.add(d * shape.block_tokens).write(x.to_bits());
                    }
                    std::ptr::copy_nonoverlapping(value.as_ptr(), values.cast::<f32>(), value.len());
                }
                KvDtype::Bf16 => {
                    for (d, pair) in key.chunks(2).enumerate() {
                        keys.add(d * shape.block_tokens).write(bf16_pair(pair));
                    }
                    for (d, x) in value.iter().enumerate() {
                        values.cast::<u16>().add(d).write(bf16::from_f32(*x).to_bits());
                    }
                }
            }
        }
    }
}

/// One or two numbers as bf16, the first in the low half.
pub(super) fn bf16_pair(pair: &[f32]) -> u32 {
    let low = u32::from(bf16::from_f32(pair[0]).to_bits());
    let high = pair.get(1).map_or(0, |x| u32::from(bf16::from_f32(*x).to_bits()));
    low | high << 16
}

use half::bf16;
use placement::KvDtype;

use super::super::simd::LANES;
use super::expect;
use crate::DeviceError;
use crate::memory::{Arena, Zeroed};

/// Elements of a head that share a scale in int8.
pub(super) const GROUP: usize = KvDtype::GROUP;

/// What is added to an int8 key's code so that it is an unsigned byte, as the instructions for
/// products want one side to be.
pub(super) const KEY_OFFSET: i32 = 128;

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
    /// Bytes of one 32-bit column's worth of a key: a number, a pair of bf16, or four codes.
    const WORD: usize = 4;

    /// Bytes of a scale.
    const SCALE: usize = 2;

    /// 32-bit words of a key.
    pub(super) fn key_words(&self) -> usize {
        match self.dtype {
            KvDtype::F32 => self.key_dim,
            KvDtype::Bf16 => self.key_dim.div_ceil(2),
            KvDtype::Int8 => self.key_dim.div_ceil(4),
        }
    }

    /// Scales of a key.
    pub(crate) fn key_groups(&self) -> usize {
        self.groups(self.key_dim)
    }

    /// Scales of a value.
    pub(crate) fn value_groups(&self) -> usize {
        self.groups(self.value_dim)
    }

    fn groups(&self, dim: usize) -> usize {
        if self.dtype == KvDtype::Int8 { dim.div_ceil(GROUP) } else { 0 }
    }

    /// Elements from one value to the next: whole vectors, zeros at the end.
    pub(super) fn value_stride(&self) -> usize {
        self.value_dim.next_multiple_of(LANES)
    }

    pub(crate) fn number_bytes(&self) -> usize {
        match self.dtype {
            KvDtype::F32 => 4,
            KvDtype::Bf16 => 2,
            KvDtype::Int8 => 1,
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

    /// Bytes of the keys' scales of one head of one block.
    pub(super) fn key_scales_head_bytes(&self) -> usize {
        self.key_groups() * Self::SCALE * self.block_tokens
    }

    /// Bytes of the values' scales of one head of one block.
    pub(super) fn value_scales_head_bytes(&self) -> usize {
        self.value_groups() * Self::SCALE * self.block_tokens
    }

    /// Bytes of one block, keys and values of all heads, as they are really stored (padding
    /// included): what a plan counts.
    pub fn block_bytes(&self) -> usize {
        self.parts().into_iter().sum::<usize>() * self.kv_heads
    }

    /// Bytes of one head of one block: keys, values, keys' scales, values' scales.
    fn parts(&self) -> [usize; 4] {
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
        expect("KvShape: kv_heads is not 0", self.kv_heads.max(1), self.kv_heads)
    }
}

/// One layer's keys and values, in blocks.
///
/// Inside a block, values are `[kv_head][token][value_dim]`, in bf16 `[kv_head][token
/// pair][value_dim][2]`, and keys are transposed, `[kv_head][dim][token]`, in bf16 by pairs and in
/// int8 by fours of neighboring dimensions: sixteen keys' scores, and sixteen numbers of a value,
/// are then sixteen lanes, and what an instruction multiplies by pairs lies in pairs. Scales are
/// `[kv_head][group][token]` for keys and `[kv_head][token][group]` for values.
pub struct KvLayer {
    shape: KvShape,
    blocks: usize,
    /// Keys, values, keys' scales, values' scales.
    parts: [Zeroed; 4],
}

impl KvLayer {
    /// Bytes that [`Self::new`] takes from its arena, padding included.
    pub fn bytes(shape: &KvShape, blocks: usize) -> usize {
        let aligned =
            |part: usize| (blocks * shape.kv_heads * part).next_multiple_of(Arena::ALIGNMENT_BYTES);
        shape.parts().into_iter().map(aligned).sum()
    }

    /// Room for `blocks` blocks in `arena`.
    ///
    /// # Errors
    /// [`DeviceError::ArenaFull`], [`DeviceError::Shape`].
    pub fn new(arena: &Arena, shape: KvShape, blocks: usize) -> Result<Self, DeviceError> {
        shape.check()?;
        let [keys, values, key_scales, value_scales] =
            shape.parts().map(|part| arena.zeroed(blocks * shape.kv_heads * part));
        Ok(Self { shape, blocks, parts: [keys?, values?, key_scales?, value_scales?] })
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
        for (part, head_bytes) in self.parts.iter_mut().zip(self.shape.parts()) {
            let bytes = self.shape.kv_heads * head_bytes;
            part.copy_within(from * bytes..(from + 1) * bytes, to * bytes);
        }
        Ok(())
    }

    /// The sixteen positions of `head` from `slot`.
    #[inline(always)]
    pub(super) fn sixteen(&self, slot: Slot, head: usize) -> Sixteen {
        let shape = &self.shape;
        let (at, place) = (slot.block * shape.kv_heads + head, slot.place);
        let bytes = shape.parts();
        let part = |part: usize| self.parts[part][at * bytes[part]..].as_ptr();
        Sixteen {
            keys: part(0).wrapping_add(place * KvShape::WORD),
            values: part(1).wrapping_add(place * shape.value_stride() * shape.number_bytes()),
            key_scales: part(2).cast::<u16>().wrapping_add(place),
            value_scales: part(3).cast::<u16>().wrapping_add(place * shape.value_groups()),
        }
    }

    pub(super) fn writer(&mut self) -> Writer<'_> {
        Writer { parts: self.parts.each_mut().map(|part| part.as_mut_ptr()), shape: &self.shape }
    }
}

/// A position in the cache.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    pub block: usize,
    /// In the block: a multiple of 16.
    pub place: usize,
}

/// Where the keys and values of sixteen positions of one head are.
#[derive(Clone, Copy)]
pub(super) struct Sixteen {
    /// [words][block_tokens], the positions' columns first.
    pub keys: *const u8,
    /// [16][value_stride], in bf16 [8][value_stride][2]
    pub values: *const u8,
    /// [groups][block_tokens], the positions' columns first.
    pub key_scales: *const u16,
    /// [16][groups]
    pub value_scales: *const u16,
}

/// A cache being written by several threads, each its own slots.
pub(super) struct Writer<'a> {
    parts: [*mut u8; 4],
    shape: &'a KvShape,
}

// SAFETY: `write` touches only the bytes of its slot, and every slot is written by one thread (a
// promise of its callers).
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
            let [keys, values, key_scales, value_scales] =
                std::array::from_fn(|part| self.parts[part].add(at * shape.parts()[part]));
            let keys = keys.cast::<u32>().add(place);
            // Of two neighbors' bytes, which begin with the first one's, in bf16.
            let first = if shape.dtype == KvDtype::Bf16 { place / 2 * 2 } else { place };
            let values = values.add(first * shape.value_stride() * shape.number_bytes());
            match shape.dtype {
                KvDtype::F32 => {
                    for (d, x) in key.iter().enumerate() {
                        keys.add(d * shape.block_tokens).write(x.to_bits());
                    }
                    std::ptr::copy_nonoverlapping(
                        value.as_ptr(),
                        values.cast::<f32>(),
                        value.len(),
                    );
                }
                KvDtype::Bf16 => {
                    for (d, pair) in key.chunks(2).enumerate() {
                        keys.add(d * shape.block_tokens).write(bf16_pair(pair));
                    }
                    let values = values.cast::<u16>().add(place % 2);
                    for (d, x) in value.iter().enumerate() {
                        values.add(2 * d).write(bf16::from_f32(*x).to_bits());
                    }
                }
                KvDtype::Int8 => {
                    let scales = key_scales.cast::<u16>().add(place);
                    for (g, group) in key.chunks(GROUP).enumerate() {
                        let (scale, codes) = Codes::of(group);
                        scales.add(g * shape.block_tokens).write(scale.to_bits());
                        for (w, four) in
                            codes.words(KEY_OFFSET).take(group.len().div_ceil(4)).enumerate()
                        {
                            keys.add((g * GROUP / 4 + w) * shape.block_tokens).write(four);
                        }
                    }
                    let scales = value_scales.cast::<u16>().add(place * shape.value_groups());
                    for (g, group) in value.chunks(GROUP).enumerate() {
                        let (scale, codes) = Codes::of(group);
                        scales.add(g).write(scale.to_bits());
                        std::ptr::copy_nonoverlapping(
                            codes.0.as_ptr(),
                            values.cast::<i8>().add(g * GROUP),
                            group.len(),
                        );
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

/// 1.5 * 2^23: a small number plus it is rounded to a whole one (ties to even), which then stands
/// in the lowest bits.
const TO_WHOLE: f32 = 12_582_912.0;

/// A group's codes, zeros after its end.
pub(super) struct Codes(pub [i8; GROUP]);

impl Codes {
    /// The nearest codes of at most 32 numbers, x = scale * code, |code| <= 127. The scale is NaN
    /// where a number is not finite: so is then everything that is computed with it.
    #[inline(always)] // into the kernels, whose instructions it then uses
    pub(super) fn of(numbers: &[f32]) -> (bf16, Codes) {
        let most = numbers.iter().fold(0f32, |most, x| most.max(x.abs()));
        let sum_of_all: f32 = numbers.iter().map(|x| x * 0.0).sum();
        let mut codes = Codes([0; GROUP]);
        if sum_of_all != 0.0 {
            return (bf16::NAN, codes);
        }
        // Rounded up, so that the largest number has a code.
        let exact = most / 127.0;
        let near = bf16::from_f32(exact);
        let scale = if near.to_f32() < exact { bf16::from_bits(near.to_bits() + 1) } else { near };
        let inverse = if most == 0.0 { 0.0 } else { 1.0 / scale.to_f32() };
        for (code, x) in codes.0.iter_mut().zip(numbers) {
            *code = ((x * inverse).clamp(-127.0, 127.0) + TO_WHOLE).to_bits() as i8;
        }
        (scale, codes)
    }

    /// Fours of codes plus `offset` as words, the first in the lowest byte.
    pub(super) fn words(&self, offset: i32) -> impl Iterator<Item = u32> {
        self.0.chunks_exact(4).map(move |four| {
            u32::from_le_bytes(std::array::from_fn(|i| (i32::from(four[i]) + offset) as u8))
        })
    }
}

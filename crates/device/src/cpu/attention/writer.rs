//! Writing of keys and values to the cache.

use half::bf16;
use placement::KvDtype;

use super::cache::{GROUP, KEY_OFFSET, KvLayer, KvShape};
use super::int8_group::Int8Group;

/// Writer that several threads share. Each thread writes different slots.
pub(super) struct KvWriter<'a> {
    /// Pointers to the starts of keys, values, scales of keys and scales of values.
    parts: [*mut u8; 4],
    shape: &'a KvShape,
}

// SAFETY: `write` accesses only the bytes of its slot, and its callers guarantee that every slot is
// written by one thread.
unsafe impl Sync for KvWriter<'_> {}

/// Addresses to which one token's key and value of one head are written.
struct KvSlotPointers {
    /// Word d of the key is `d * block_tokens` words after this one.
    keys: *mut u32,
    /// In a bf16 cache, the value of the first token of the pair.
    values: *mut u8,
    /// The scale of group g is `g * block_tokens` elements after this one.
    key_scales: *mut u16,
    value_scales: *mut u16,
}

impl<'a> KvWriter<'a> {
    pub(super) fn new(layer: &'a mut KvLayer) -> Self {
        let (parts, shape) = layer.parts_mut();
        Self { parts, shape }
    }

    /// Writes row `row` of `k` and `v` to slot `slot` (block * block_tokens + offset in the block).
    ///
    /// # Safety
    /// The slot exists and no other thread writes it meanwhile.
    pub(super) unsafe fn write(&self, slot: usize, row: usize, k: &[f32], v: &[f32]) {
        let shape = self.shape;
        let offset = slot % shape.block_tokens;
        for head in 0..shape.kv_heads {
            let key = &k[(row * shape.kv_heads + head) * shape.key_dim..][..shape.key_dim];
            let value_dim = shape.stored_value_dim();
            let value = &v[(row * shape.kv_heads + head) * value_dim..][..value_dim];
            // SAFETY: the slot exists, so the pointers of all parts that are stored lie in the
            // cache.
            unsafe {
                let to = self.pointers(slot / shape.block_tokens, offset, head);
                match shape.dtype {
                    KvDtype::F32 => self.write_f32(&to, key, value),
                    KvDtype::Bf16 => self.write_bf16(&to, offset, key, value),
                    KvDtype::Int8 => self.write_int8(&to, key, value),
                }
            }
        }
    }

    unsafe fn pointers(&self, block: usize, offset: usize, head: usize) -> KvSlotPointers {
        let shape = self.shape;
        let index = block * shape.kv_heads + head;
        let [keys, values, key_scales, value_scales] =
            std::array::from_fn(|part| self.parts[part].add(index * shape.parts()[part]));
        let first = if shape.dtype == KvDtype::Bf16 { offset / 2 * 2 } else { offset };
        KvSlotPointers {
            keys: keys.cast::<u32>().add(offset),
            // Without stored values these two pointers are never used.
            values: values.wrapping_add(first * shape.value_stride() * shape.element_bytes()),
            key_scales: key_scales.cast::<u16>().add(offset),
            value_scales: value_scales.cast::<u16>().wrapping_add(offset * shape.value_groups()),
        }
    }

    unsafe fn write_f32(&self, to: &KvSlotPointers, key: &[f32], value: &[f32]) {
        for (d, x) in key.iter().enumerate() {
            to.keys.add(d * self.shape.block_tokens).write(x.to_bits());
        }
        std::ptr::copy_nonoverlapping(value.as_ptr(), to.values.cast::<f32>(), value.len());
    }

    unsafe fn write_bf16(&self, to: &KvSlotPointers, offset: usize, key: &[f32], value: &[f32]) {
        for (d, pair) in key.chunks(2).enumerate() {
            to.keys.add(d * self.shape.block_tokens).write(bf16_pair(pair));
        }
        let values = to.values.cast::<u16>().add(offset % 2);
        for (d, x) in value.iter().enumerate() {
            values.add(2 * d).write(bf16::from_f32(*x).to_bits());
        }
    }

    unsafe fn write_int8(&self, to: &KvSlotPointers, key: &[f32], value: &[f32]) {
        let block_tokens = self.shape.block_tokens;
        for (g, group) in key.chunks(GROUP).enumerate() {
            let (scale, codes) = Int8Group::quantize(group);
            to.key_scales.add(g * block_tokens).write(scale.to_bits());
            let words = codes.words(KEY_OFFSET).take(group.len().div_ceil(4));
            for (w, word) in words.enumerate() {
                to.keys.add((g * GROUP / 4 + w) * block_tokens).write(word);
            }
        }
        for (g, group) in value.chunks(GROUP).enumerate() {
            let (scale, codes) = Int8Group::quantize(group);
            to.value_scales.add(g).write(scale.to_bits());
            std::ptr::copy_nonoverlapping(
                codes.0.as_ptr(),
                to.values.cast::<i8>().add(g * GROUP),
                group.len(),
            );
        }
    }
}

/// Packs one or two values as bf16, the first in the low half.
fn bf16_pair(pair: &[f32]) -> u32 {
    let low = u32::from(bf16::from_f32(pair[0]).to_bits());
    let high = pair.get(1).map_or(0, |x| u32::from(bf16::from_f32(*x).to_bits()));
    low | high << 16
}

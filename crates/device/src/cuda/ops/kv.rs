use placement::KvDtype;

use super::{AttentionMetadata, on, over, size};
use crate::DeviceError;
use crate::cpu::attention::KvShape;
use crate::cpu::expect;
use crate::cuda::args::{CopyKvBlockArgs, ElementType, KvCacheArgs, WriteKvArgs};
use crate::cuda::{Buffer, Gpu, GpuArena, Kernel};

/// One layer's keys and values on a GPU, in blocks.
///
/// Inside a block, keys are `[kv_head][token][key_dim]`. Values are transposed,
/// `[kv_head][value_dim][token]`, in bf16 and int8, and `[kv_head][token][value_dim]` in f32. int8
/// has scales as the CPU has, keys' `[kv_head][token][group]`, values' `[kv_head][group][token]`.
/// There is no padding: it takes what `placement` plans for a layer, or less.
pub struct GpuKvLayer {
    shape: KvShape,
    blocks: usize,
    data: Buffer<u8>,
    /// Where keys, values, keys' scales and values' scales start, in bytes.
    parts: [usize; 4],
}

/// What parts start at a multiple of.
const ALIGNMENT_BYTES: usize = 64;

impl GpuKvLayer {
    /// Bytes that [`Self::new`] takes from its arena.
    pub fn bytes(shape: &KvShape, blocks: usize) -> usize {
        places(shape, blocks).1
    }

    /// Room for `blocks` blocks in `arena`.
    ///
    /// # Errors
    /// [`DeviceError::Shape`], or those of [`GpuArena::zeroed`].
    pub fn new(arena: &GpuArena, shape: KvShape, blocks: usize) -> Result<Self, DeviceError> {
        shape.check()?;
        let (parts, bytes) = places(&shape, blocks);
        Ok(Self { shape, blocks, data: arena.zeroed(bytes)?, parts })
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
    /// [`DeviceError::Index`], or the driver's error.
    pub fn copy_block(&mut self, from: u32, to: u32) -> Result<(), DeviceError> {
        let index = from.max(to) as usize;
        if index >= self.blocks {
            return Err(DeviceError::Index { what: "KV block", index, len: self.blocks });
        }
        let bytes = block_bytes(&self.shape);
        let args = CopyKvBlockArgs {
            part: self.parts.map(|at| self.data.address() + at as u64),
            bytes: bytes.map(|bytes| bytes as i64),
            from: i64::from(from),
            to: i64::from(to),
        };
        let mut grid = over(bytes[0].max(bytes[1]) / 2);
        grid.blocks[1] = 4;
        // SAFETY: both blocks lie in every part; a part without bytes is not touched.
        Ok(unsafe { self.data.gpu().launch(Kernel::CopyKvBlock, grid, &args) }?)
    }

    /// As kernels know it.
    pub(super) fn args(&self, gpu: &Gpu) -> Result<KvCacheArgs, DeviceError> {
        on(gpu, &self.data)?;
        let [keys, values, key_scales, value_scales] =
            self.parts.map(|at| self.data.address() + at as u64);
        Ok(KvCacheArgs {
            keys,
            values,
            key_scales,
            value_scales,
            kv_heads: size("KvShape: kv_heads", self.shape.kv_heads)?,
            key_dim: size("KvShape: key_dim", self.shape.key_dim)?,
            value_dim: size("KvShape: value_dim", self.shape.value_dim)?,
            block_shift: self.shape.block_tokens.trailing_zeros() as i32,
        })
    }
}

/// Bytes of one block in each part: whole pairs, since every size is a multiple of the tokens of a
/// block.
fn block_bytes(shape: &KvShape) -> [usize; 4] {
    let slots = shape.kv_heads * shape.block_tokens;
    let (number, scale) = (shape.element_bytes(), 2);
    [
        slots * shape.key_dim * number,
        slots * shape.value_dim * number,
        slots * shape.key_groups() * scale,
        slots * shape.value_groups() * scale,
    ]
}

/// Where the parts start, and where the last one ends.
fn places(shape: &KvShape, blocks: usize) -> ([usize; 4], usize) {
    let mut end = 0usize;
    let starts = block_bytes(shape).map(|bytes| {
        let start = end;
        end = (start + blocks * bytes).next_multiple_of(ALIGNMENT_BYTES);
        start
    });
    (starts, end)
}

/// How a cache's dtype is numbered.
pub(super) fn element_type(dtype: KvDtype) -> ElementType {
    match dtype {
        KvDtype::F32 => ElementType::F32,
        KvDtype::Bf16 => ElementType::Bf16,
        KvDtype::Int8 => ElementType::Int8,
    }
}

impl Gpu {
    /// Stores the new tokens' keys and values, both [tokens, kv_heads, dim], rounded to the cache's
    /// dtype. Tokens and places are the pass's.
    ///
    /// # Errors
    /// [`DeviceError::Shape`], [`DeviceError::Index`] for a block that is not there, or the
    /// driver's error.
    pub fn write_kv(
        &self,
        layer: &mut GpuKvLayer,
        pass: &AttentionMetadata,
        k: &Buffer<f32>,
        v: &Buffer<f32>,
    ) -> Result<(), DeviceError> {
        let (shape, tokens) = (layer.shape, pass.tokens());
        pass.check(layer)?;
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
        size("write_kv: heads of tokens", tokens * shape.kv_heads)?;
        on(self, k)?;
        on(self, v)?;
        let args = WriteKvArgs {
            cache: layer.args(self)?,
            k: k.address(),
            v: v.address(),
            slots: pass.slots(self)?,
            tokens: tokens as i64,
            element_type: element_type(shape.dtype) as i32,
            unused: 0,
        };
        let groups = shape.key_dim.div_ceil(32) + shape.value_dim.div_ceil(32);
        // SAFETY: operands are as long as was checked; the pass's slots lie in the cache, for it
        // has as many blocks as the pass was checked for. Two tokens have one slot only if
        // a block table has a block twice, or two of them share one for writing, which must
        // not be: then values mix, memory stays valid.
        Ok(unsafe {
            self.launch(Kernel::WriteKv, over(tokens * shape.kv_heads * groups * 32), &args)
        }?)
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::*;

    /// Plans count the CPU's layers.
    #[test]
    fn a_layer_takes_what_is_planned_or_less() {
        for dtype in [KvDtype::F32, KvDtype::Bf16, KvDtype::Int8] {
            for (dim, kv_heads, blocks) in
                [(64, 3, 7), (128, 8, 100), (80, 1, 1), (40, 5, 3), (24, 2, 11)]
            {
                let block_tokens = placement::KV_BLOCK_TOKENS;
                let shape = KvShape { kv_heads, key_dim: dim, value_dim: dim, block_tokens, dtype };
                let (taken, planned) = (
                    GpuKvLayer::bytes(&shape, blocks),
                    crate::cpu::attention::KvLayer::bytes(&shape, blocks),
                );
                assert!(taken <= planned, "{dtype:?} {dim} {blocks}: {taken} of {planned}");
            }
        }
    }

    #[test]
    fn parts_follow_each_other() {
        let shape = KvShape {
            kv_heads: 2,
            key_dim: 40,
            value_dim: 24,
            block_tokens: 16,
            dtype: KvDtype::Int8,
        };
        let (starts, end) = places(&shape, 3);
        let parts: Vec<Range<usize>> =
            starts.iter().zip(starts.iter().skip(1).chain([&end])).map(|(a, b)| *a..*b).collect();
        for (part, bytes) in parts.iter().zip(block_bytes(&shape)) {
            assert!(
                part.start % ALIGNMENT_BYTES == 0
                    && part.len() >= 3 * bytes
                    && part.len() < 3 * bytes + 64
            );
        }
        assert_eq!(block_bytes(&shape), [32 * 40, 32 * 24, 32 * 2 * 2, 32 * 2]);
    }
}

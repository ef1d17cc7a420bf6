//! The paged KV cache of one layer on a GPU, and writes to it.

use placement::KvDtype;

use super::{AttentionMetadata, check_gpu, grid_over, to_i32};
use crate::DeviceError;
use crate::cpu::attention::KvShape;
use crate::cpu::expect;
use crate::cuda::args::{CopyKvBlockArgs, ElementType, KvCacheArgs, WriteKvArgs};
use crate::cuda::{Buffer, Gpu, GpuArena, Kernel};

/// Keys and values of one layer on a GPU, in KV blocks.
///
/// Inside a block, keys are `[kv_head][token][key_dim]`. Values are transposed,
/// `[kv_head][value_dim][token]`, in bf16 and int8, and `[kv_head][token][value_dim]` in f32. int8
/// has a bf16 scale per group of 32 dimensions, as in the CPU's cache: keys
/// `[kv_head][token][group]`, values `[kv_head][group][token]`. Blocks have no padding, so a layer
/// takes at most the bytes that `placement` plans.
pub struct GpuKvLayer {
    shape: KvShape,
    blocks: usize,
    data: Buffer<u8>,
    /// Byte offsets of keys, values, key scales and value scales in `data`.
    offsets: [usize; 4],
}

/// Alignment of keys, values, key scales and value scales within the cache, in bytes.
const ALIGNMENT_BYTES: usize = 64;

impl GpuKvLayer {
    /// Bytes that [`Self::new`] allocates from the arena.
    pub fn bytes(shape: &KvShape, blocks: usize) -> usize {
        layout(shape, blocks).1
    }

    /// Allocates `blocks` blocks from `arena`.
    ///
    /// # Errors
    /// [`DeviceError::Shape`], or those of [`GpuArena::zeroed`].
    pub fn new(arena: &GpuArena, shape: KvShape, blocks: usize) -> Result<Self, DeviceError> {
        shape.check()?;
        let (offsets, bytes) = layout(&shape, blocks);
        Ok(Self { shape, blocks, data: arena.zeroed(bytes)?, offsets })
    }

    pub fn shape(&self) -> &KvShape {
        &self.shape
    }

    pub fn blocks(&self) -> usize {
        self.blocks
    }

    /// Copies block `from` over block `to`: copy-on-write of a shared block.
    ///
    /// # Errors
    /// [`DeviceError::Index`], or the driver's error.
    pub fn copy_block(&mut self, from: u32, to: u32) -> Result<(), DeviceError> {
        let index = from.max(to) as usize;
        if index >= self.blocks {
            return Err(DeviceError::Index { what: "KV block", index, len: self.blocks });
        }
        let bytes = part_bytes_per_block(&self.shape);
        let args = CopyKvBlockArgs {
            part: self.addresses(),
            bytes: bytes.map(|bytes| bytes as i64),
            from: i64::from(from),
            to: i64::from(to),
        };
        let mut grid = grid_over(bytes[0].max(bytes[1]) / 2);
        grid.blocks[1] = 4;
        // SAFETY: both blocks lie inside every part of the cache; a part of 0 bytes is not
        // accessed.
        Ok(unsafe { self.data.gpu().launch(Kernel::CopyKvBlock, grid, &args) }?)
    }

    /// The cache as the argument of a kernel.
    pub(super) fn args(&self, gpu: &Gpu) -> Result<KvCacheArgs, DeviceError> {
        check_gpu(gpu, &self.data)?;
        let [keys, values, key_scales, value_scales] = self.addresses();
        Ok(KvCacheArgs {
            keys,
            values,
            key_scales,
            value_scales,
            kv_heads: to_i32("KvShape: kv_heads", self.shape.kv_heads)?,
            key_dim: to_i32("KvShape: key_dim", self.shape.key_dim)?,
            value_dim: to_i32("KvShape: value_dim", self.shape.value_dim)?,
            block_shift: self.shape.block_tokens.trailing_zeros() as i32,
        })
    }

    fn addresses(&self) -> [u64; 4] {
        self.offsets.map(|offset| self.data.address() + offset as u64)
    }
}

/// Bytes of one block in each part: keys, values, key scales, value scales. All are even, since
/// they are multiples of the tokens per block.
fn part_bytes_per_block(shape: &KvShape) -> [usize; 4] {
    let slots = shape.kv_heads * shape.block_tokens;
    let (element_bytes, scale_bytes) = (shape.element_bytes(), 2);
    [
        slots * shape.key_dim * element_bytes,
        slots * shape.value_dim * element_bytes,
        slots * shape.key_groups() * scale_bytes,
        slots * shape.value_groups() * scale_bytes,
    ]
}

/// Byte offsets of the parts, and their total size in bytes.
fn layout(shape: &KvShape, blocks: usize) -> ([usize; 4], usize) {
    let mut end = 0usize;
    let offsets = part_bytes_per_block(shape).map(|bytes| {
        let start = end;
        end = (start + blocks * bytes).next_multiple_of(ALIGNMENT_BYTES);
        start
    });
    (offsets, end)
}

/// The element type of a KV dtype.
pub(super) fn element_type(dtype: KvDtype) -> ElementType {
    match dtype {
        KvDtype::F32 => ElementType::F32,
        KvDtype::Bf16 => ElementType::Bf16,
        KvDtype::Int8 => ElementType::Int8,
    }
}

/// Writes the keys `k`, `[tokens, kv_heads, key_dim]`, and the values `v`, `[tokens, kv_heads,
/// value_dim]`, of the new tokens to the slots in `metadata`, rounded to the cache's dtype.
///
/// # Errors
/// [`DeviceError::Shape`], [`DeviceError::Index`] for a missing block, or the driver's error.
pub(in crate::cuda) fn write_kv(
    gpu: &Gpu,
    layer: &mut GpuKvLayer,
    metadata: &AttentionMetadata,
    k: &Buffer<f32>,
    v: &Buffer<f32>,
) -> Result<(), DeviceError> {
    let (shape, tokens) = (layer.shape, metadata.tokens());
    metadata.check(layer)?;
    let heads = tokens * shape.kv_heads;
    expect("write_kv: k is [tokens, kv_heads, key_dim]", heads * shape.key_dim, k.len())?;
    expect("write_kv: v is [tokens, kv_heads, value_dim]", heads * shape.value_dim, v.len())?;
    to_i32("write_kv: tokens times kv_heads", heads)?;
    check_gpu(gpu, k)?;
    check_gpu(gpu, v)?;
    let args = WriteKvArgs {
        cache: layer.args(gpu)?,
        k: k.address(),
        v: v.address(),
        slots: metadata.slots_address(gpu)?,
        tokens: tokens as i64,
        element_type: element_type(shape.dtype) as i32,
        unused: 0,
    };
    let groups = shape.key_dim.div_ceil(32) + shape.value_dim.div_ceil(32);
    // SAFETY: the operands have the lengths checked above; the slots lie in the cache, which has
    // the number of blocks that the metadata was checked for. Two tokens share a slot only if a
    // written block is in two block tables or twice in one. Callers must not do this, but it would
    // only mix values, not access invalid memory.
    Ok(unsafe { gpu.launch(Kernel::WriteKv, grid_over(heads * groups * 32), &args) }?)
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::*;
    use crate::cpu::attention::KvLayer;

    /// Memory plans use the size of a CPU's layer also for a GPU.
    #[test]
    fn a_layer_on_a_gpu_takes_at_most_the_bytes_of_one_on_the_cpu() {
        for dtype in [KvDtype::F32, KvDtype::Bf16, KvDtype::Int8] {
            for (dim, kv_heads, blocks) in
                [(64, 3, 7), (128, 8, 100), (80, 1, 1), (40, 5, 3), (24, 2, 11)]
            {
                let block_tokens = placement::KV_BLOCK_TOKENS;
                let shape = KvShape {
                    kv_heads,
                    key_dim: dim,
                    value_dim: dim,
                    block_tokens,
                    dtype,
                    values_in_keys: false,
                };
                let bytes = GpuKvLayer::bytes(&shape, blocks);
                let planned = KvLayer::bytes(&shape, blocks);
                assert!(bytes <= planned, "{dtype:?} {dim} {blocks}: {bytes} of {planned}");
            }
        }
    }

    #[test]
    fn parts_are_aligned_and_adjacent() {
        let shape = KvShape {
            kv_heads: 2,
            key_dim: 40,
            value_dim: 24,
            block_tokens: 16,
            dtype: KvDtype::Int8,
            values_in_keys: false,
        };
        let (starts, end) = layout(&shape, 3);
        let parts: Vec<Range<usize>> =
            starts.iter().zip(starts.iter().skip(1).chain([&end])).map(|(a, b)| *a..*b).collect();
        for (part, bytes) in parts.iter().zip(part_bytes_per_block(&shape)) {
            assert_eq!(part.start % ALIGNMENT_BYTES, 0);
            assert!((3 * bytes..3 * bytes + ALIGNMENT_BYTES).contains(&part.len()));
        }
        assert_eq!(part_bytes_per_block(&shape), [32 * 40, 32 * 24, 32 * 2 * 2, 32 * 2]);
    }
}

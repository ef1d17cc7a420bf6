//! [`KvPool`]: the memory of the paged KV cache, allocated once, with a reference count for each
//! block, as in vLLM's block pool.

use checkpoint::ModelConfig;
use device::DeviceError;
use device::cpu::attention::{KvLayer, KvShape};
use device::cuda::{self, GpuArena};
use device::memory::Arena;
use error_kind::{ErrorKind, HasKind};
use placement::KvDtype;
use serde::Serialize;

use crate::devices::{DeviceId, GpuSlot, OnDevice};

/// Index of a block in the pool.
pub type BlockId = u32;

/// Tokens whose keys and values one block holds.
pub const BLOCK_TOKENS: usize = placement::KV_BLOCK_TOKENS;

/// The shape and dtype of a model's keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct KvLayout {
    pub layers: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    /// With latent attention the elements of a latent: the first of a key, which are its value.
    /// Only keys are stored.
    pub latent_dim: Option<usize>,
    pub dtype: KvDtype,
}

impl KvLayout {
    /// The layout of a model's cache in `dtype`.
    pub fn new(config: &ModelConfig, dtype: KvDtype) -> Self {
        let layers = config.layers;
        match config.mla {
            None => KvLayout {
                layers,
                kv_heads: config.kv_heads,
                head_dim: config.head_dim,
                latent_dim: None,
                dtype,
            },
            Some(mla) => KvLayout {
                layers,
                kv_heads: 1,
                head_dim: mla.kv_lora_rank + mla.qk_rope_head_dim,
                latent_dim: Some(mla.kv_lora_rank),
                dtype,
            },
        }
    }

    /// Bytes of one block in all layers: keys, values and padding.
    pub fn block_bytes(&self) -> u64 {
        self.layers as u64 * self.shape().block_bytes() as u64
    }

    fn shape(&self) -> KvShape {
        KvShape {
            kv_heads: self.kv_heads,
            key_dim: self.head_dim,
            value_dim: self.latent_dim.unwrap_or(self.head_dim),
            block_tokens: BLOCK_TOKENS,
            dtype: self.dtype,
            values_in_keys: self.latent_dim.is_some(),
        }
    }
}

/// An error of the KV pool.
#[derive(Debug, thiserror::Error)]
pub enum KvError {
    #[error(
        "no memory for a KV cache of {blocks} blocks: {cause}; lower --context or --concurrency"
    )]
    Memory { blocks: usize, cause: DeviceError },
    #[error("KV block {block} cannot be copied to: {cause}")]
    Copy { block: BlockId, cause: DeviceError },
    #[error(
        "{requested} KV blocks requested, {free} of {blocks} are free; raise --context or --concurrency, or wait"
    )]
    Full {
        requested: usize,
        free: usize,
        /// Blocks in the pool.
        blocks: usize,
    },
    /// A reference count contradicts the free list: a bug.
    #[error("KV block {block}: {references} references, and it is on the free list {listed} times")]
    Integrity {
        block: BlockId,
        references: u32,
        /// Number of times that the block is on the free list.
        listed: u32,
    },
}

impl HasKind for KvError {
    fn kind(&self) -> ErrorKind {
        match self {
            KvError::Memory { .. } | KvError::Full { .. } => ErrorKind::OutOfMemory,
            KvError::Integrity { .. } | KvError::Copy { .. } => ErrorKind::Bug,
        }
    }
}

/// Keys and values of one layer, on the device that computes it.
pub(crate) type LayerKv = OnDevice<KvLayer, cuda::GpuKvLayer>;

/// Bytes that one layer's keys and values take in a GPU's arena, including padding.
fn gpu_layer_bytes(shape: &KvShape, blocks: usize) -> usize {
    cuda::GpuKvLayer::bytes(shape, blocks).next_multiple_of(GpuArena::ALIGNMENT_BYTES)
}

/// Blocks of keys and values, `[layer][block][kv_head]`, with a reference count for each block.
///
/// The holder of a reference may read a block; the holder of the only reference may write to it.
/// Blocks are not cleared when they are reused: a forward pass reads only positions that were
/// written since the block was allocated.
pub struct KvPool {
    layout: KvLayout,
    layers: Vec<LayerKv>,
    references: Vec<u32>,
    /// Ids of the free blocks, used as a stack: recently freed blocks are reused first, so that few
    /// memory pages become resident.
    free: Vec<BlockId>,
}

impl KvPool {
    /// Allocates `blocks` blocks in host memory. Memory pages become resident when they are first
    /// written.
    ///
    /// # Errors
    /// [`KvError::Memory`].
    pub fn new(layout: KvLayout, blocks: usize) -> Result<Self, KvError> {
        Self::on_devices(layout, blocks, &vec![DeviceId::Cpu; layout.layers], &[])
    }

    /// Allocates `blocks` blocks, with the keys and values of layer `i` on device `layers[i]`.
    pub(crate) fn on_devices(
        layout: KvLayout,
        blocks: usize,
        layers: &[DeviceId],
        gpus: &[GpuSlot],
    ) -> Result<Self, KvError> {
        let failed = |cause| KvError::Memory { blocks, cause };
        let shape = layout.shape();
        let layers_on = |device| layers.iter().filter(|on| **on == device).count();
        let host = Arena::new(KvLayer::bytes(&shape, blocks) * layers_on(DeviceId::Cpu))
            .map_err(failed)?;
        let gpu_arena = |(gpu, slot): (usize, &GpuSlot)| {
            let layer_bytes = gpu_layer_bytes(&shape, blocks);
            GpuArena::new(&slot.gpu, layer_bytes * layers_on(DeviceId::Gpu(gpu)))
        };
        let arenas: Vec<GpuArena> = gpus
            .iter()
            .enumerate()
            .map(gpu_arena)
            .collect::<Result<_, _>>()
            .map_err(|cause| failed(cause.into()))?;
        let layer = |device: &DeviceId| match *device {
            DeviceId::Cpu => KvLayer::new(&host, shape, blocks).map(OnDevice::Cpu),
            DeviceId::Gpu(gpu) => {
                cuda::GpuKvLayer::new(&arenas[gpu], shape, blocks).map(|kv| OnDevice::Gpu(gpu, kv))
            }
        };
        let layers = layers.iter().map(layer).collect::<Result<_, _>>().map_err(failed)?;
        let free = (0..blocks as BlockId).rev().collect();
        Ok(KvPool { layout, layers, references: vec![0; blocks], free })
    }

    pub fn layout(&self) -> &KvLayout {
        &self.layout
    }

    /// Blocks in the pool.
    pub fn blocks(&self) -> usize {
        self.references.len()
    }

    /// Blocks without a reference.
    pub fn free_blocks(&self) -> usize {
        self.free.len()
    }

    /// Bytes allocated on all devices.
    pub fn bytes(&self) -> u64 {
        self.layers.iter().map(|layer| self.layer_bytes(layer)).sum()
    }

    /// Bytes allocated on one device.
    pub(crate) fn bytes_on(&self, device: DeviceId) -> u64 {
        self.layers
            .iter()
            .filter(|layer| layer.device() == device)
            .map(|layer| self.layer_bytes(layer))
            .sum()
    }

    fn layer_bytes(&self, layer: &LayerKv) -> u64 {
        let (shape, blocks) = (self.layout.shape(), self.blocks());
        let bytes = match layer {
            OnDevice::Cpu(_) => KvLayer::bytes(&shape, blocks),
            OnDevice::Gpu(..) => gpu_layer_bytes(&shape, blocks),
        };
        bytes as u64
    }

    /// Allocates a block with one reference; `None` if no block is free.
    pub fn alloc(&mut self) -> Option<BlockId> {
        let block = self.free.pop()?;
        self.references[block as usize] = 1;
        Some(block)
    }

    /// Allocates `requested` blocks; fails without allocating any if fewer are free.
    pub fn alloc_many(&mut self, requested: usize) -> Result<Vec<BlockId>, KvError> {
        if requested > self.free.len() {
            return Err(KvError::Full { requested, free: self.free.len(), blocks: self.blocks() });
        }
        Ok((0..requested).filter_map(|_| self.alloc()).collect())
    }

    /// Adds a reference to a block that already has at least one.
    ///
    /// # Panics
    /// If the block is free: the caller would otherwise read another sequence's keys and values.
    pub fn retain(&mut self, block: BlockId) {
        let count = &mut self.references[block as usize];
        assert!(*count > 0, "block {block} retained while free");
        *count += 1;
    }

    /// Drops a reference to a block. Returns true if it was the last one, so that the block is now
    /// free.
    ///
    /// # Panics
    /// If the block is free.
    pub fn release(&mut self, block: BlockId) -> bool {
        let count = &mut self.references[block as usize];
        assert!(*count > 0, "block {block} released while free");
        *count -= 1;
        if *count == 0 {
            self.free.push(block);
        }
        self.references[block as usize] == 0
    }

    /// Copies the keys and values of block `from` to block `to` in all layers (copy on write).
    ///
    /// # Errors
    /// [`KvError::Copy`] if a block is not in the pool, or if the device cannot copy.
    pub fn copy_block(&mut self, from: BlockId, to: BlockId) -> Result<(), KvError> {
        let copy = |layer: &mut LayerKv| match layer {
            OnDevice::Cpu(kv) => kv.copy_block(from, to),
            OnDevice::Gpu(_, kv) => kv.copy_block(from, to),
        };
        self.layers
            .iter_mut()
            .try_for_each(copy)
            .map_err(|cause| KvError::Copy { block: to, cause })
    }

    /// The reference count of a block; 0 for a block that is not in the pool.
    pub fn references(&self, block: BlockId) -> u32 {
        self.references.get(block as usize).copied().unwrap_or(0)
    }

    /// Checks that every block either has references or is on the free list exactly once. Takes
    /// time proportional to the size of the pool.
    pub fn check(&self) -> Result<(), KvError> {
        let mut listed = vec![0u32; self.blocks()];
        for &block in &self.free {
            listed[block as usize] += 1;
        }
        let bad = |&block: &usize| {
            (self.references[block] == 0) != (listed[block] == 1) || listed[block] > 1
        };
        match (0..self.blocks()).find(bad) {
            None => Ok(()),
            Some(block) => Err(KvError::Integrity {
                block: block as BlockId,
                references: self.references[block],
                listed: listed[block],
            }),
        }
    }

    /// The keys and values of each layer, in the order of the layers.
    pub(crate) fn layers_mut(&mut self) -> &mut [LayerKv] {
        &mut self.layers
    }
}

impl std::fmt::Debug for KvPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KvPool({:?}, {} of {} blocks free)", self.layout, self.free.len(), self.blocks())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pool(blocks: usize) -> KvPool {
        KvPool::new(
            KvLayout { layers: 1, kv_heads: 1, head_dim: 4, latent_dim: None, dtype: KvDtype::F32 },
            blocks,
        )
        .expect("allocate a small pool")
    }

    proptest! {
        /// Applies random operations to a pool and compares it with plain reference counts after
        /// each.
        #[test]
        fn reference_counts_and_free_list_agree(steps in proptest::collection::vec((0u8..3, 0usize..8), 0..200)) {
            let mut pool = pool(8);
            let mut counts = [0u32; 8];
            for (step, pick) in steps {
                match step {
                    0 => {
                        let block = pool.alloc();
                        prop_assert_eq!(block.is_some(), counts.contains(&0));
                        if let Some(block) = block {
                            prop_assert_eq!(counts[block as usize], 0);
                            counts[block as usize] = 1;
                        }
                    }
                    1 if counts[pick] > 0 => {
                        pool.retain(pick as BlockId);
                        counts[pick] += 1;
                    }
                    2 if counts[pick] > 0 => {
                        counts[pick] -= 1;
                        prop_assert_eq!(pool.release(pick as BlockId), counts[pick] == 0);
                    }
                    _ => {}
                }
                prop_assert!(pool.check().is_ok());
                prop_assert_eq!(pool.free_blocks(), counts.iter().filter(|&&count| count == 0).count());
                prop_assert!(counts.iter().enumerate().all(|(block, &count)| pool.references(block as BlockId) == count));
            }
        }
    }

    #[test]
    fn alloc_many_allocates_all_blocks_or_none() {
        let mut pool = pool(4);
        let held = pool.alloc_many(3).expect("allocate 3 of 4 blocks");
        let full = pool.alloc_many(2).expect_err("only 1 block is free");
        assert!(matches!(full, KvError::Full { requested: 2, free: 1, blocks: 4 }));
        assert_eq!(full.kind(), ErrorKind::OutOfMemory);
        assert_eq!(pool.free_blocks(), 1);
        held.into_iter().for_each(|block| assert!(pool.release(block)));
        assert!(pool.check().is_ok());
    }

    #[test]
    #[should_panic(expected = "released while free")]
    fn a_block_cannot_be_released_twice() {
        let mut pool = pool(2);
        let block = pool.alloc().expect("allocate a block");
        pool.release(block);
        pool.release(block);
    }
}

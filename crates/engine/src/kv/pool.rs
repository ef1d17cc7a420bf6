//! The pool: planned bytes, allocated once, handed out block by block with reference counts.

use checkpoint::ModelConfig;
use device::DeviceError;
use device::cpu::attention::{KvLayer, KvShape};
use device::cuda::{self, GpuArena};
use device::memory::Arena;
use error_kind::{ErrorKind, HasKind};
use placement::KvDtype;
use serde::Serialize;

use crate::compute::{GpuSlot, Placed, Site};

/// Index of a block in the pool.
pub type BlockId = u32;

/// Tokens whose keys and values one block holds.
pub const BLOCK_TOKENS: usize = placement::KV_BLOCK_TOKENS;

/// The shape of what a model keeps per token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct KvLayout {
    /// Transformer blocks.
    pub layers: usize,
    /// Key/value heads in each.
    pub kv_heads: usize,
    /// Elements of a head.
    pub head_dim: usize,
    /// What numbers are kept in.
    pub dtype: KvDtype,
}

impl KvLayout {
    /// The layout of a model whose cache is kept in `dtype`.
    pub fn new(config: &ModelConfig, dtype: KvDtype) -> Self {
        KvLayout {
            layers: config.layers,
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
            dtype,
        }
    }

    /// Bytes of one block over all layers, keys, values and padding.
    pub fn block_bytes(&self) -> u64 {
        self.layers as u64 * self.shape().block_bytes() as u64
    }

    fn shape(&self) -> KvShape {
        KvShape {
            kv_heads: self.kv_heads,
            key_dim: self.head_dim,
            value_dim: self.head_dim,
            block_tokens: BLOCK_TOKENS,
            dtype: self.dtype,
        }
    }
}

/// A pool that cannot do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum KvError {
    /// The system gave no memory.
    #[error(
        "no memory for a KV cache of {blocks} blocks: {cause}; lower --context or --concurrency"
    )]
    Memory {
        /// Blocks asked for.
        blocks: usize,
        /// What the device said.
        cause: DeviceError,
    },
    /// A block that is not in the pool, or not held.
    #[error("KV block {block} cannot be copied to: {cause}")]
    Copy {
        /// The block.
        block: BlockId,
        /// What the device said.
        cause: DeviceError,
    },
    /// All blocks are in use.
    #[error(
        "{wanted} KV blocks wanted, {free} of {blocks} are free; raise --context or --concurrency, or wait"
    )]
    Full {
        /// Blocks asked for.
        wanted: usize,
        /// Blocks free.
        free: usize,
        /// Blocks in the pool.
        blocks: usize,
    },
    /// A reference count and the free list do not agree: a defect of ours.
    #[error("KV block {block}: {references} references, and it is on the free list {listed} times")]
    Integrity {
        /// The block.
        block: BlockId,
        /// Its count.
        references: u32,
        /// Times it is listed as free.
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

/// One layer's keys and values, on the device that computes the layer.
pub(crate) type LayerKv = Placed<KvLayer, cuda::GpuKvLayer>;

/// What a layer takes of a GPU's arena.
fn gpu_layer_bytes(shape: &KvShape, blocks: usize) -> usize {
    cuda::GpuKvLayer::bytes(shape, blocks).next_multiple_of(GpuArena::ALIGNMENT_BYTES)
}

/// Blocks of keys and values, `[layer][block][kv_head]`, with a reference count for each block.
///
/// Who holds a block may read it; who holds the only reference may write to it. Blocks are not
/// cleared between uses: a pass reads only positions that it or an earlier pass of the same
/// sequence wrote.
pub struct KvPool {
    layout: KvLayout,
    layers: Vec<LayerKv>,
    references: Vec<u32>,
    /// Free ids; the last is handed out next, so that few pages are ever touched.
    free: Vec<BlockId>,
}

impl KvPool {
    /// Takes the memory of `blocks` blocks on the host. Pages are touched when first written.
    ///
    /// # Errors
    /// [`KvError::Memory`].
    pub fn new(layout: KvLayout, blocks: usize) -> Result<Self, KvError> {
        Self::placed(layout, blocks, &vec![Site::Host; layout.layers], &[])
    }

    /// Takes the memory of `blocks` blocks, each layer's where `sites` says; `gpus` are those of
    /// the model.
    pub(crate) fn placed(
        layout: KvLayout,
        blocks: usize,
        sites: &[Site],
        gpus: &[GpuSlot],
    ) -> Result<Self, KvError> {
        let memory = |cause| KvError::Memory { blocks, cause };
        let shape = layout.shape();
        let on = |site| sites.iter().filter(|at| **at == site).count();
        let host = Arena::new(KvLayer::bytes(&shape, blocks) * on(Site::Host)).map_err(memory)?;
        let gpu_arena = |(place, site): (usize, &GpuSlot)| {
            let layer = gpu_layer_bytes(&shape, blocks);
            GpuArena::new(&site.gpu, layer * on(Site::Gpu(place)))
        };
        let arenas: Vec<GpuArena> = gpus
            .iter()
            .enumerate()
            .map(gpu_arena)
            .collect::<Result<_, _>>()
            .map_err(|cause| memory(cause.into()))?;
        let layer = |site: &Site| match *site {
            Site::Host => KvLayer::new(&host, shape, blocks).map(Placed::Host),
            Site::Gpu(gpu) => {
                cuda::GpuKvLayer::new(&arenas[gpu], shape, blocks).map(|kv| Placed::Gpu(gpu, kv))
            }
        };
        let layers = sites.iter().map(layer).collect::<Result<_, _>>().map_err(memory)?;
        let free = (0..blocks as BlockId).rev().collect();
        Ok(KvPool { layout, layers, references: vec![0; blocks], free })
    }

    /// The shape of its blocks.
    pub fn layout(&self) -> &KvLayout {
        &self.layout
    }

    /// Blocks in the pool.
    pub fn blocks(&self) -> usize {
        self.references.len()
    }

    /// Blocks that nobody holds.
    pub fn free_blocks(&self) -> usize {
        self.free.len()
    }

    /// Bytes taken, on all devices.
    pub fn bytes(&self) -> u64 {
        self.layers.iter().map(|layer| self.layer_bytes(layer)).sum()
    }

    /// Bytes taken on one device.
    pub(crate) fn bytes_on(&self, site: Site) -> u64 {
        self.layers
            .iter()
            .filter(|layer| layer.site() == site)
            .map(|layer| self.layer_bytes(layer))
            .sum()
    }

    fn layer_bytes(&self, layer: &LayerKv) -> u64 {
        let (shape, blocks) = (self.layout.shape(), self.blocks());
        let bytes = match layer {
            Placed::Host(_) => KvLayer::bytes(&shape, blocks),
            Placed::Gpu(..) => gpu_layer_bytes(&shape, blocks),
        };
        bytes as u64
    }

    /// Takes a free block with one reference; `None` when all are held.
    pub fn alloc(&mut self) -> Option<BlockId> {
        let block = self.free.pop()?;
        self.references[block as usize] = 1;
        Some(block)
    }

    /// Takes `wanted` blocks or none.
    pub fn alloc_many(&mut self, wanted: usize) -> Result<Vec<BlockId>, KvError> {
        if wanted > self.free.len() {
            return Err(KvError::Full { wanted, free: self.free.len(), blocks: self.blocks() });
        }
        Ok((0..wanted).filter_map(|_| self.alloc()).collect())
    }

    /// Adds a reference to a held block.
    ///
    /// # Panics
    /// If nobody holds it: a caller that counts wrongly would otherwise read another sequence's
    /// tokens.
    pub fn retain(&mut self, block: BlockId) {
        let count = &mut self.references[block as usize];
        assert!(*count > 0, "block {block} retained while free");
        *count += 1;
    }

    /// Drops a reference; true when it was the last and the block is free again.
    ///
    /// # Panics
    /// If nobody holds it.
    pub fn release(&mut self, block: BlockId) -> bool {
        let count = &mut self.references[block as usize];
        assert!(*count > 0, "block {block} released while free");
        *count -= 1;
        if *count == 0 {
            self.free.push(block);
        }
        self.references[block as usize] == 0
    }

    /// Copies a block's keys and values over another's, in all layers: for a shared block that is
    /// about to be written to.
    ///
    /// # Errors
    /// [`KvError::Copy`] for a block that is not in the pool.
    pub fn copy_block(&mut self, from: BlockId, to: BlockId) -> Result<(), KvError> {
        let copy = |layer: &mut LayerKv| match layer {
            Placed::Host(kv) => kv.copy_block(from, to),
            Placed::Gpu(_, kv) => kv.copy_block(from, to),
        };
        self.layers
            .iter_mut()
            .try_for_each(copy)
            .map_err(|cause| KvError::Copy { block: to, cause })
    }

    /// How many hold the block.
    pub fn references(&self, block: BlockId) -> u32 {
        self.references.get(block as usize).copied().unwrap_or(0)
    }

    /// Checks that every block is either held or listed as free exactly once. For quiet moments and
    /// tests.
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

    /// The layers' keys and values.
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
        KvPool::new(KvLayout { layers: 1, kv_heads: 1, head_dim: 4, dtype: KvDtype::F32 }, blocks)
            .expect("a small pool")
    }

    proptest! {
        /// Any sequence of takes, shares and releases keeps the books straight: a model of counts beside the pool.
        #[test]
        fn counts_and_free_list_agree(steps in proptest::collection::vec((0u8..3, 0usize..8), 0..200)) {
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
    fn all_blocks_or_none() {
        let mut pool = pool(4);
        let held = pool.alloc_many(3).expect("3 of 4");
        let full = pool.alloc_many(2).expect_err("1 is left");
        assert!(matches!(full, KvError::Full { wanted: 2, free: 1, blocks: 4 }));
        assert_eq!(full.kind(), ErrorKind::OutOfMemory);
        assert_eq!(pool.free_blocks(), 1);
        held.into_iter().for_each(|block| assert!(pool.release(block)));
        assert!(pool.check().is_ok());
    }

    #[test]
    #[should_panic(expected = "released while free")]
    fn a_block_cannot_be_released_twice() {
        let mut pool = pool(2);
        let block = pool.alloc().expect("a block");
        pool.release(block);
        pool.release(block);
    }
}

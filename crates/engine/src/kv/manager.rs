//! Allocates KV blocks to sequences, as vLLM's `KVCacheManager` does.
//!
//! Sequences with equal prefixes share full blocks through the [`PrefixCache`]. Blocks that only
//! the cache holds are evicted when the pool runs out. Unlike in vLLM, a block that becomes full is
//! replaced at once if the cache already has a block with the same prefix: both hold bit-identical
//! keys and values.

use super::prefix_cache::{BlockTokens, NodeId, PrefixCache};
use super::{BLOCK_TOKENS, BlockId, KvPool};

/// A sequence's KV blocks in order of position. The first `cached` blocks are in the prefix cache;
/// `node` is the cache node of the last of these.
#[derive(Debug, Default)]
pub(crate) struct BlockTable {
    pub blocks: Vec<BlockId>,
    cached: usize,
    node: Option<NodeId>,
}

/// Identifies the block that a sequence computes next by the block's tokens and the cache node of
/// the preceding block. Sequences with equal keys would compute identical blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PrefixKey {
    parent: Option<NodeId>,
    tokens: BlockTokens,
}

/// The block pool and the prefix cache over it.
pub(crate) struct KvCacheManager {
    pub pool: KvPool,
    cache: PrefixCache,
    prefix_caching: bool,
    /// Number of cached blocks evicted since the manager was created.
    pub evictions: u64,
}

/// Numbers of blocks in the pool by use. Blocks that are neither `free` nor `cached` are held by
/// sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockUsage {
    pub blocks: usize,
    pub free: usize,
    /// Blocks that only the prefix cache holds a reference to.
    pub cached: usize,
}

impl KvCacheManager {
    pub fn new(pool: KvPool, prefix_caching: bool) -> Self {
        KvCacheManager { pool, cache: PrefixCache::default(), prefix_caching, evictions: 0 }
    }

    /// Appends the cached blocks that continue a sequence whose first `computed` tokens are
    /// computed. Returns the number of computed tokens after that. The last token always remains to
    /// be computed, because its logits are needed.
    pub fn match_prefix(
        &mut self,
        table: &mut BlockTable,
        tokens: &[u32],
        computed: usize,
    ) -> usize {
        while let Some(key) = self.prefix_key(table, tokens, table.blocks.len() * BLOCK_TOKENS) {
            let Some((node, block)) = self.cache.find(key.parent, &key.tokens) else { break };
            self.pool.retain(block);
            self.cache.touch(node);
            table.blocks.push(block);
            (table.cached, table.node) = (table.blocks.len(), Some(node));
        }
        computed.max(table.cached * BLOCK_TOKENS)
    }

    /// The key of the block that follows the first `computed` tokens of a sequence. `None` if
    /// prefix caching is off, if the table has blocks that are not cached, or if no full block
    /// remains before the last token.
    pub fn prefix_key(
        &self,
        table: &BlockTable,
        tokens: &[u32],
        computed: usize,
    ) -> Option<PrefixKey> {
        let at_end = computed == table.cached * BLOCK_TOKENS && table.blocks.len() == table.cached;
        if !self.prefix_caching || !at_end || computed + BLOCK_TOKENS >= tokens.len() {
            return None;
        }
        Some(PrefixKey { parent: table.node, tokens: block_tokens(tokens, table.cached)? })
    }

    /// Appends blocks until the table covers all positions below `end`, evicting cached blocks as
    /// needed. Returns false and leaves the table unchanged if too few blocks are available.
    pub fn allocate(&mut self, table: &mut BlockTable, end: usize) -> bool {
        let before = table.blocks.len();
        while table.blocks.len() < end.div_ceil(BLOCK_TOKENS) {
            match self.allocate_block() {
                Some(block) => table.blocks.push(block),
                None => {
                    for block in table.blocks.drain(before..) {
                        self.pool.release(block);
                    }
                    return false;
                }
            }
        }
        true
    }

    /// Releases the blocks after those that cover the positions below `end`, except cached blocks.
    pub fn trim(&mut self, table: &mut BlockTable, end: usize) {
        let needed = end.div_ceil(BLOCK_TOKENS).max(table.cached).min(table.blocks.len());
        for block in table.blocks.drain(needed..) {
            self.pool.release(block);
        }
    }

    fn allocate_block(&mut self) -> Option<BlockId> {
        loop {
            if let Some(block) = self.pool.alloc() {
                return Some(block);
            }
            if !self.cache.evict(&mut self.pool) {
                return None;
            }
            self.evictions += 1;
        }
    }

    /// Whether at least `blocks` blocks are free or can be evicted from the cache.
    pub fn can_allocate(&self, blocks: usize) -> bool {
        let free = self.pool.free_blocks();
        free >= blocks || free + self.cache.evictable_blocks(&self.pool) >= blocks
    }

    /// Adds the full blocks of the first `computed` tokens to the prefix cache. If another sequence
    /// has cached an identical block in the meantime, that block replaces this sequence's own
    /// block, which is released.
    pub fn cache_blocks(&mut self, table: &mut BlockTable, tokens: &[u32], computed: usize) {
        while self.prefix_caching && table.cached < computed / BLOCK_TOKENS {
            let Some(tokens) = block_tokens(tokens, table.cached) else { return };
            let own = table.blocks[table.cached];
            let node = match self.cache.find(table.node, &tokens) {
                Some((node, block)) => {
                    self.pool.retain(block);
                    self.pool.release(own);
                    table.blocks[table.cached] = block;
                    self.cache.touch(node);
                    node
                }
                None => self.cache.insert(table.node, tokens, own, &mut self.pool),
            };
            (table.cached, table.node) = (table.cached + 1, Some(node));
        }
    }

    /// Releases all blocks of a sequence. Cached blocks stay in the cache until they are evicted.
    pub fn free(&mut self, table: &mut BlockTable) {
        if let Some(node) = table.node {
            self.cache.touch(node);
        }
        for block in std::mem::take(table).blocks {
            self.pool.release(block);
        }
    }

    pub fn usage(&self) -> BlockUsage {
        let (blocks, free) = (self.pool.blocks(), self.pool.free_blocks());
        BlockUsage { blocks, free, cached: self.cache.evictable_blocks(&self.pool) }
    }

    /// Checks that the pool's reference counts, the prefix cache and `tables`, the block tables of
    /// all sequences, agree.
    #[cfg(test)]
    pub fn check<'a>(&self, tables: impl Iterator<Item = &'a BlockTable>) -> Result<(), String> {
        self.pool.check().map_err(|error| error.to_string())?;
        self.cache.check(&self.pool)?;
        let mut expected = vec![0u32; self.pool.blocks()];
        for table in tables {
            table.blocks.iter().for_each(|&block| expected[block as usize] += 1);
            let mut node = table.node;
            for index in (0..table.cached).rev() {
                let (parent, block) =
                    self.cache.parent_and_block(node).ok_or("a cached block has no node")?;
                if block != table.blocks[index] {
                    let found = table.blocks[index];
                    return Err(format!("a table has block {found}, its node has {block}"));
                }
                node = parent;
            }
        }
        self.cache.blocks().for_each(|block| expected[block as usize] += 1);
        let wrong = (0..expected.len())
            .find(|&block| self.pool.references(block as BlockId) != expected[block]);
        match wrong {
            None => Ok(()),
            Some(block) => {
                let found = self.pool.references(block as BlockId);
                Err(format!("block {block}: {found} references, {} holders", expected[block]))
            }
        }
    }
}

fn block_tokens(tokens: &[u32], index: usize) -> Option<BlockTokens> {
    tokens.get(index * BLOCK_TOKENS..(index + 1) * BLOCK_TOKENS)?.try_into().ok()
}

//! Blocks for sequences: shared where prefixes are equal, evicted from the cache when needed, never
//! more than the pool has.

use super::prefix::{NodeId, PrefixCache};
use crate::kv::{BLOCK_TOKENS, BlockId, KvPool};

/// A sequence's blocks. The first `shared` of them are nodes of the prefix cache, the last of these
/// is `node`.
#[derive(Debug, Default)]
pub(super) struct BlockTable {
    pub blocks: Vec<BlockId>,
    shared: usize,
    node: Option<NodeId>,
}

/// What a sequence would compute next where it is at the end of its shared blocks: two that agree
/// in this would compute the same block.
pub(super) type PrefixKey = (Option<NodeId>, [u32; BLOCK_TOKENS]);

/// The pool and what is known of its blocks.
pub(super) struct KvCacheManager {
    pub pool: KvPool,
    cache: PrefixCache,
    sharing: bool,
    /// Blocks given up by the cache, ever.
    pub evictions: u64,
}

/// How the pool's blocks are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Usage {
    pub blocks: usize,
    pub free: usize,
    /// Held by the cache alone.
    pub cached: usize,
}

impl KvCacheManager {
    pub fn new(pool: KvPool, sharing: bool) -> Self {
        KvCacheManager { pool, cache: PrefixCache::default(), sharing, evictions: 0 }
    }

    /// Takes the cached blocks that continue a sequence, which is computed up to `computed`; gives
    /// how far it is then. The last token is never taken: somebody wants its logits.
    pub fn adopt(&mut self, table: &mut BlockTable, tokens: &[u32], computed: usize) -> usize {
        while let Some((node, tokens)) =
            self.claim(table, tokens, table.blocks.len() * BLOCK_TOKENS)
        {
            let Some((node, block)) = self.cache.find(node, &tokens) else { break };
            self.pool.retain(block);
            self.cache.touch(node);
            table.blocks.push(block);
            (table.shared, table.node) = (table.blocks.len(), Some(node));
        }
        computed.max(table.shared * BLOCK_TOKENS)
    }

    /// What a sequence that is computed up to `computed` would put into the cache next; `None`
    /// where it cannot share.
    pub fn claim(&self, table: &BlockTable, tokens: &[u32], computed: usize) -> Option<PrefixKey> {
        let at_end = computed == table.shared * BLOCK_TOKENS && table.blocks.len() == table.shared;
        if !self.sharing || !at_end || computed + BLOCK_TOKENS >= tokens.len() {
            return None;
        }
        Some((table.node, block_of(tokens, table.shared)?))
    }

    /// Makes room for positions below `end`; takes nothing and says false if there is none.
    pub fn reserve(&mut self, table: &mut BlockTable, end: usize) -> bool {
        let before = table.blocks.len();
        while table.blocks.len() < end.div_ceil(BLOCK_TOKENS) {
            match self.take() {
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

    /// Gives back what is not needed for positions below `end`.
    pub fn trim(&mut self, table: &mut BlockTable, end: usize) {
        let needed = end.div_ceil(BLOCK_TOKENS).max(table.shared).min(table.blocks.len());
        for block in table.blocks.drain(needed..) {
            self.pool.release(block);
        }
    }

    fn take(&mut self) -> Option<BlockId> {
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

    /// Whether that many blocks could be had, the cache's included.
    pub fn has(&self, blocks: usize) -> bool {
        let free = self.pool.free_blocks();
        free >= blocks || free + self.cache.lonely(&self.pool) >= blocks
    }

    /// Puts the blocks that are full now into the cache. Where another sequence was quicker, its
    /// block is used from here on: the bits in it are the same.
    pub fn commit(&mut self, table: &mut BlockTable, tokens: &[u32], computed: usize) {
        while self.sharing && table.shared < computed / BLOCK_TOKENS {
            let Some(tokens) = block_of(tokens, table.shared) else { return };
            let own = table.blocks[table.shared];
            let node = match self.cache.find(table.node, &tokens) {
                Some((node, block)) => {
                    self.pool.retain(block);
                    self.pool.release(own);
                    table.blocks[table.shared] = block;
                    self.cache.touch(node);
                    node
                }
                None => self.cache.insert(table.node, tokens, own, &mut self.pool),
            };
            (table.shared, table.node) = (table.shared + 1, Some(node));
        }
    }

    /// Gives a sequence's blocks back; those in the cache stay there until they are needed.
    pub fn release(&mut self, table: &mut BlockTable) {
        if let Some(node) = table.node {
            self.cache.touch(node);
        }
        for block in std::mem::take(table).blocks {
            self.pool.release(block);
        }
    }

    pub fn usage(&self) -> Usage {
        let (blocks, free) = (self.pool.blocks(), self.pool.free_blocks());
        Usage { blocks, free, cached: self.cache.lonely(&self.pool) }
    }

    /// Checks all invariants, given the tables of all sequences. For tests.
    #[cfg(test)]
    pub fn check<'a>(&self, tables: impl Iterator<Item = &'a BlockTable>) -> Result<(), String> {
        self.pool.check().map_err(|error| error.to_string())?;
        self.cache.check(&self.pool)?;
        let mut expected = vec![0u32; self.pool.blocks()];
        for table in tables {
            let mut node = table.node;
            for &block in &table.blocks {
                expected[block as usize] += 1;
            }
            for index in (0..table.shared).rev() {
                let (above, block) =
                    self.cache.above(node).ok_or("a shared block without a node")?;
                if block != table.blocks[index] {
                    return Err(format!(
                        "block {} of a table, {block} of its node",
                        table.blocks[index]
                    ));
                }
                node = above;
            }
        }
        for block in self.cache.blocks() {
            expected[block as usize] += 1;
        }
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

fn block_of(tokens: &[u32], index: usize) -> Option<[u32; BLOCK_TOKENS]> {
    tokens.get(index * BLOCK_TOKENS..(index + 1) * BLOCK_TOKENS)?.try_into().ok()
}

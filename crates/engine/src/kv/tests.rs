//! Property test of the KV cache manager against a plain record of the tokens in each block.

use placement::KvDtype;
use proptest::prelude::*;

use super::manager::{BlockTable, KvCacheManager};
use super::{BLOCK_TOKENS, KvLayout, KvPool};

const BLOCKS: usize = 12;

#[derive(Default)]
struct TableOwner {
    table: BlockTable,
    tokens: Vec<u32>,
    computed: usize,
}

/// `[block][position in the block]`: the token whose keys and values a block holds at a position.
type BlockContents = Vec<[u32; BLOCK_TOKENS]>;

impl TableOwner {
    /// Records the tokens up to `end` as computed, then checks that the table's blocks contain the
    /// sequence's tokens.
    fn compute(&mut self, kv: &mut KvCacheManager, end: usize, contents: &mut BlockContents) {
        if !kv.allocate(&mut self.table, end) {
            return;
        }
        for position in self.computed..end {
            let block = self.table.blocks[position / BLOCK_TOKENS];
            assert_eq!(kv.pool.references(block), 1, "a shared block is written to");
            contents[block as usize][position % BLOCK_TOKENS] = self.tokens[position];
        }
        self.computed = end;
        kv.cache_blocks(&mut self.table, &self.tokens, end);
        for position in 0..end {
            let block = self.table.blocks[position / BLOCK_TOKENS];
            let found = contents[block as usize][position % BLOCK_TOKENS];
            assert_eq!(found, self.tokens[position], "position {position}");
        }
    }
}

fn pool() -> KvPool {
    let layout =
        KvLayout { layers: 1, kv_heads: 1, head_dim: 4, latent_dim: None, dtype: KvDtype::F32 };
    KvPool::new(layout, BLOCKS).expect("a small pool")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    /// Starts, extends and ends sequences with shared prefixes in a random order.
    #[test]
    fn no_block_is_leaked_or_used_twice(
        steps in proptest::collection::vec((0u8..4, 0usize..5, 1usize..150, 0u32..3), 1..120),
    ) {
        let mut kv = KvCacheManager::new(pool(), true);
        let mut contents: BlockContents = vec![[u32::MAX; BLOCK_TOKENS]; BLOCKS];
        let mut owners: Vec<TableOwner> = (0..5).map(|_| TableOwner::default()).collect();
        for (step, index, amount, prefix) in steps {
            let owner = &mut owners[index];
            match step {
                // Starts a sequence whose first 64 tokens are one of three prefixes.
                0 if owner.tokens.is_empty() => {
                    let own = prefix + index as u32 * 1000;
                    owner.tokens = (0..200).map(|i| if i < 64 { prefix } else { own + i }).collect();
                    owner.computed = kv.match_prefix(&mut owner.table, &owner.tokens, 0);
                }
                1 | 2 if !owner.tokens.is_empty() => {
                    owner.computed = kv.match_prefix(&mut owner.table, &owner.tokens, owner.computed);
                    let end = (owner.computed + amount).min(owner.tokens.len());
                    owner.compute(&mut kv, end, &mut contents);
                }
                3 => {
                    kv.free(&mut owner.table);
                    *owner = TableOwner::default();
                }
                _ => {}
            }
            kv.check(owners.iter().map(|owner| &owner.table)).map_err(TestCaseError::fail)?;
        }
        owners.iter_mut().for_each(|owner| kv.free(&mut owner.table));
        let usage = kv.usage();
        prop_assert_eq!(usage.free + usage.cached, BLOCKS, "all blocks come back");
    }
}

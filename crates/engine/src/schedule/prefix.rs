use crate::kv::{BLOCK_TOKENS, BlockId, KvPool};
use std::collections::{BTreeMap, HashMap};

/// Full blocks of keys and values that may be used again, found by the exact tokens that led to them.
///
/// An entry is named by its parent entry and its own tokens: equal names mean equal prefixes, without any hash to trust.
#[derive(Debug, Default)]
pub(super) struct PrefixCache {
    entries: HashMap<(u64, Vec<u32>), Entry>,
    /// Last use -> name, oldest first.
    by_use: BTreeMap<u64, (u64, Vec<u32>)>,
    clock: u64,
    next_id: u64,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    id: u64,
    block: BlockId,
    used: u64,
}

impl PrefixCache {
    /// Blocks that hold a prefix of `tokens`, with a reference taken on each. At least one token is left to compute.
    pub fn find(&mut self, tokens: &[u32], kv: &mut KvPool) -> Vec<BlockId> {
        let (mut parent, mut blocks) = (0, Vec::new());
        for chunk in tokens[..tokens.len() - 1].chunks_exact(BLOCK_TOKENS) {
            let Some(entry) = self.touch(parent, chunk) else { break };
            kv.retain(entry.block);
            blocks.push(entry.block);
            parent = entry.id;
        }
        blocks
    }

    fn touch(&mut self, parent: u64, chunk: &[u32]) -> Option<Entry> {
        self.clock += 1;
        let name = (parent, chunk.to_vec());
        let entry = self.entries.get_mut(&name)?;
        self.by_use.remove(&entry.used);
        entry.used = self.clock;
        self.by_use.insert(self.clock, name);
        Some(*entry)
    }

    /// Keeps the full blocks of a sequence; the cache takes a reference on each that it did not have.
    pub fn keep(&mut self, tokens: &[u32], table: &[BlockId], kv: &mut KvPool) {
        let mut parent = 0;
        for (chunk, block) in tokens.chunks_exact(BLOCK_TOKENS).zip(table) {
            if let Some(entry) = self.touch(parent, chunk) {
                parent = entry.id;
                continue;
            }
            kv.retain(*block);
            self.next_id += 1;
            let entry = Entry { id: self.next_id, block: *block, used: self.clock };
            self.entries.insert((parent, chunk.to_vec()), entry);
            self.by_use.insert(self.clock, (parent, chunk.to_vec()));
            parent = entry.id;
        }
    }

    /// Gives the least recently used blocks back until `wanted` are free, or nothing is left to give.
    pub fn make_room(&mut self, wanted: usize, kv: &mut KvPool) {
        while kv.free_blocks() < wanted {
            let Some((_, name)) = self.by_use.pop_first() else { return };
            if let Some(entry) = self.entries.remove(&name) {
                kv.release(entry.block);
            }
        }
    }
}

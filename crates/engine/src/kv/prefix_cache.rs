//! Prefix cache: full KV blocks, looked up by the sequence's tokens up to the block's end.
//!
//! A radix tree as in SGLang's RadixAttention, with one KV block per node. The blocks on the path
//! from the root to a node contain all tokens of a prefix, so two prefixes are equal exactly if
//! they end at the same node. Tokens are compared directly; vLLM compares hashes of blocks.
//!
//! The cache holds one reference to each of its blocks. A sequence that uses a node's block also
//! uses the blocks of all ancestors. If no sequence uses a block, none uses the blocks of its
//! descendants either. Evicting leaves, least recently used first, can therefore free every block
//! that no sequence uses.

use std::collections::{BTreeMap, BTreeSet};

use super::{BLOCK_TOKENS, BlockId, KvPool};

/// Index of a node in [`PrefixCache::nodes`].
pub(super) type NodeId = usize;

/// The tokens of one full block.
pub(super) type BlockTokens = [u32; BLOCK_TOKENS];

struct PrefixNode {
    parent: Option<NodeId>,
    tokens: BlockTokens,
    block: BlockId,
    children: BTreeMap<BlockTokens, NodeId>,
    /// Value of [`PrefixCache::clock`] when the node was last used.
    last_used: u64,
}

/// The tree of cached blocks, with LRU eviction.
#[derive(Default)]
pub(super) struct PrefixCache {
    nodes: Vec<Option<PrefixNode>>,
    vacant: Vec<NodeId>,
    roots: BTreeMap<BlockTokens, NodeId>,
    /// `(last_used, node)` of the nodes without children, in the order of eviction.
    leaves: BTreeSet<(u64, NodeId)>,
    /// Logical clock, incremented at every use. Unlike the time, it makes eviction deterministic.
    clock: u64,
}

impl PrefixCache {
    /// The child of `parent` whose block has the tokens `tokens`, and that block. The parent `None`
    /// is the root.
    pub fn find(&self, parent: Option<NodeId>, tokens: &BlockTokens) -> Option<(NodeId, BlockId)> {
        let node = *self.children(parent)?.get(tokens)?;
        Some((node, self.node(node)?.block))
    }

    /// Marks a node as the most recently used one.
    pub fn touch(&mut self, id: NodeId) {
        self.clock += 1;
        let clock = self.clock;
        let Some(node) = self.nodes.get_mut(id).and_then(Option::as_mut) else { return };
        if node.children.is_empty() {
            self.leaves.remove(&(node.last_used, id));
            self.leaves.insert((clock, id));
        }
        node.last_used = clock;
    }

    /// Adds a full block as a child of `parent`, with a reference to the block. `parent` must not
    /// have a child with these tokens yet.
    pub fn insert(
        &mut self,
        parent: Option<NodeId>,
        tokens: BlockTokens,
        block: BlockId,
        pool: &mut KvPool,
    ) -> NodeId {
        debug_assert!(self.find(parent, &tokens).is_none(), "the prefix is cached already");
        self.clock += 1;
        pool.retain(block);
        let children = BTreeMap::new();
        let node = PrefixNode { parent, tokens, block, children, last_used: self.clock };
        let id = match self.vacant.pop() {
            Some(id) => {
                self.nodes[id] = Some(node);
                id
            }
            None => {
                self.nodes.push(Some(node));
                self.nodes.len() - 1
            }
        };
        self.leaves.insert((self.clock, id));
        match parent.and_then(|parent| self.nodes[parent].as_mut().map(|node| (parent, node))) {
            Some((parent, node)) => {
                self.leaves.remove(&(node.last_used, parent));
                node.children.insert(tokens, id);
            }
            None => {
                self.roots.insert(tokens, id);
            }
        }
        id
    }

    /// Removes the least recently used leaf whose block only the cache holds, and releases the
    /// block. Returns false if there is no such leaf.
    pub fn evict(&mut self, pool: &mut KvPool) -> bool {
        let evictable = |&&(_, id): &&(u64, NodeId)| {
            self.node(id).is_some_and(|node| pool.references(node.block) == 1)
        };
        let Some(&(last_used, id)) = self.leaves.iter().find(evictable) else { return false };
        self.leaves.remove(&(last_used, id));
        let Some(node) = self.nodes[id].take() else { return false };
        self.vacant.push(id);
        pool.release(node.block);
        match node.parent.and_then(|parent| self.nodes[parent].as_mut().map(|node| (parent, node)))
        {
            Some((id, parent)) => {
                parent.children.remove(&node.tokens);
                if parent.children.is_empty() {
                    self.leaves.insert((parent.last_used, id));
                }
            }
            None => {
                self.roots.remove(&node.tokens);
            }
        }
        true
    }

    /// The number of blocks that only the cache holds.
    pub fn evictable_blocks(&self, pool: &KvPool) -> usize {
        self.nodes.iter().flatten().filter(|node| pool.references(node.block) == 1).count()
    }

    fn node(&self, id: NodeId) -> Option<&PrefixNode> {
        self.nodes.get(id).and_then(Option::as_ref)
    }

    fn children(&self, parent: Option<NodeId>) -> Option<&BTreeMap<BlockTokens, NodeId>> {
        match parent {
            None => Some(&self.roots),
            Some(parent) => Some(&self.node(parent)?.children),
        }
    }

    /// A node's parent and block.
    #[cfg(test)]
    pub fn parent_and_block(&self, node: Option<NodeId>) -> Option<(Option<NodeId>, BlockId)> {
        let node = self.node(node?)?;
        Some((node.parent, node.block))
    }

    #[cfg(test)]
    pub fn blocks(&self) -> impl Iterator<Item = BlockId> + '_ {
        self.nodes.iter().flatten().map(|node| node.block)
    }

    /// Checks the invariants of the tree and of its references to the pool.
    #[cfg(test)]
    pub fn check(&self, pool: &KvPool) -> Result<(), String> {
        let mut blocks = BTreeSet::new();
        let nodes = self.nodes.iter().enumerate();
        for (id, node) in nodes.filter_map(|(id, node)| Some((id, node.as_ref()?))) {
            if pool.references(node.block) == 0 || !blocks.insert(node.block) {
                return Err(format!("block {} of node {id} is free or has two nodes", node.block));
            }
            let siblings = self.children(node.parent);
            if siblings.and_then(|siblings| siblings.get(&node.tokens)) != Some(&id) {
                return Err(format!("node {id} is not a child of its parent"));
            }
            let children = node.children.len();
            if self.leaves.contains(&(node.last_used, id)) != (children == 0) {
                return Err(format!("node {id} has {children} children but is listed otherwise"));
            }
            let parent = node.parent.and_then(|parent| self.node(parent));
            if parent.is_some_and(|parent| pool.references(parent.block) == 1)
                && pool.references(node.block) > 1
            {
                return Err(format!("a sequence uses node {id} but not its parent"));
            }
        }
        Ok(())
    }
}

//! The prefix cache: full blocks by the tokens that lead to them.
//!
//! A tree. A node is a block; the way from the root to it spells all tokens up to its end, so two
//! nodes are equal exactly when their prefixes are: tokens are compared, not hashes. The cache
//! holds one reference to each of its blocks. Who uses a node's block uses those of all its
//! ancestors too (see [`super::memory`]), so a block that only the cache holds has only such blocks
//! below it, and leaves can go one after the other until it goes itself.

use std::collections::{BTreeMap, BTreeSet};

use crate::kv::{BLOCK_TOKENS, BlockId, KvPool};

/// Index of a node.
pub(super) type NodeId = usize;

/// The tokens of one block.
type Tokens = [u32; BLOCK_TOKENS];

struct Node {
    parent: Option<NodeId>,
    tokens: Tokens,
    block: BlockId,
    children: BTreeMap<Tokens, NodeId>,
    /// When it was last used; see [`PrefixCache::clock`].
    used: u64,
}

/// Blocks that can be found by what is in them.
#[derive(Default)]
pub(super) struct PrefixCache {
    nodes: Vec<Option<Node>>,
    vacant: Vec<NodeId>,
    roots: BTreeMap<Tokens, NodeId>,
    /// Nodes without children, the longest unused first.
    leaves: BTreeSet<(u64, NodeId)>,
    /// Counts uses: the cache knows no time.
    clock: u64,
}

impl PrefixCache {
    /// The block after `parent` that holds `tokens`, if there is one.
    pub fn find(&self, parent: Option<NodeId>, tokens: &Tokens) -> Option<(NodeId, BlockId)> {
        let node = *self.children(parent)?.get(tokens)?;
        Some((node, self.node(node)?.block))
    }

    /// Says that a node is used now.
    pub fn touch(&mut self, id: NodeId) {
        self.clock += 1;
        let clock = self.clock;
        let Some(node) = self.nodes.get_mut(id).and_then(Option::as_mut) else { return };
        if node.children.is_empty() {
            self.leaves.remove(&(node.used, id));
            self.leaves.insert((clock, id));
        }
        node.used = clock;
    }

    /// Adds a full block after `parent`, with a reference of the cache's own. The same tokens must
    /// not be there yet.
    pub fn insert(
        &mut self,
        parent: Option<NodeId>,
        tokens: Tokens,
        block: BlockId,
        pool: &mut KvPool,
    ) -> NodeId {
        debug_assert!(self.find(parent, &tokens).is_none(), "a prefix that is there already");
        self.clock += 1;
        pool.retain(block);
        let node = Node { parent, tokens, block, children: BTreeMap::new(), used: self.clock };
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
                self.leaves.remove(&(node.used, parent));
                node.children.insert(tokens, id);
            }
            None => {
                self.roots.insert(tokens, id);
            }
        }
        id
    }

    /// Gives up the longest unused block that nobody else holds; false if there is none.
    pub fn evict(&mut self, pool: &mut KvPool) -> bool {
        let lonely = |&&(_, id): &&(u64, NodeId)| {
            self.node(id).is_some_and(|node| pool.references(node.block) == 1)
        };
        let Some(&(used, id)) = self.leaves.iter().find(lonely) else { return false };
        self.leaves.remove(&(used, id));
        let Some(node) = self.nodes[id].take() else { return false };
        self.vacant.push(id);
        pool.release(node.block);
        match node.parent.and_then(|parent| self.nodes[parent].as_mut().map(|node| (parent, node)))
        {
            Some((parent, above)) => {
                above.children.remove(&node.tokens);
                if above.children.is_empty() {
                    self.leaves.insert((above.used, parent));
                }
            }
            None => {
                self.roots.remove(&node.tokens);
            }
        }
        true
    }

    /// Blocks that only the cache holds: those that can be had by evicting.
    pub fn lonely(&self, pool: &KvPool) -> usize {
        self.nodes.iter().flatten().filter(|node| pool.references(node.block) == 1).count()
    }

    fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(id).and_then(Option::as_ref)
    }

    fn children(&self, parent: Option<NodeId>) -> Option<&BTreeMap<Tokens, NodeId>> {
        match parent {
            None => Some(&self.roots),
            Some(parent) => Some(&self.node(parent)?.children),
        }
    }

    /// A node's parent and block. For tests.
    #[cfg(test)]
    pub fn above(&self, node: Option<NodeId>) -> Option<(Option<NodeId>, BlockId)> {
        let node = self.node(node?)?;
        Some((node.parent, node.block))
    }

    /// All its blocks. For tests.
    #[cfg(test)]
    pub fn blocks(&self) -> impl Iterator<Item = BlockId> + '_ {
        self.nodes.iter().flatten().map(|node| node.block)
    }

    /// Checks the tree against itself and the pool: says what is wrong. For tests.
    #[cfg(test)]
    pub fn check(&self, pool: &KvPool) -> Result<(), String> {
        let mut blocks = BTreeSet::new();
        for (id, node) in
            self.nodes.iter().enumerate().filter_map(|(id, node)| Some((id, node.as_ref()?)))
        {
            if pool.references(node.block) == 0 || !blocks.insert(node.block) {
                return Err(format!("block {} of node {id} is free or there twice", node.block));
            }
            if self.children(node.parent).and_then(|children| children.get(&node.tokens))
                != Some(&id)
            {
                return Err(format!("node {id} is not below its parent"));
            }
            if self.leaves.contains(&(node.used, id)) != node.children.is_empty() {
                return Err(format!(
                    "node {id} with {} children among the leaves or not",
                    node.children.len()
                ));
            }
            let above = node.parent.and_then(|parent| self.node(parent));
            if above.is_some_and(|above| pool.references(above.block) == 1)
                && pool.references(node.block) > 1
            {
                return Err(format!("node {id} is in use, its parent is not"));
            }
        }
        Ok(())
    }
}

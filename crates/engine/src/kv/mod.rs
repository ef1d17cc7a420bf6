//! The paged KV cache: a pool of blocks, their allocation to sequences, and the prefix cache.

mod manager;
mod pool;
mod prefix_cache;

#[cfg(test)]
mod tests;

pub(crate) use manager::{BlockTable, BlockUsage, KvCacheManager, PrefixKey};
pub(crate) use pool::LayerKv;
pub use pool::{BLOCK_TOKENS, BlockId, KvError, KvLayout, KvPool};

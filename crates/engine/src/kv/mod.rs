//! The paged KV cache: keys and values of past tokens, in fixed-size blocks that sequences share.

mod pool;

pub(crate) use pool::LayerKv;
pub use pool::{BLOCK_TOKENS, BlockId, KvError, KvLayout, KvPool};

//! Pinned host memory, which GPUs copy from and to asynchronously.

mod host;
mod ring;

pub use ring::{PinnedBuffer, PinnedBytes, PinnedRing};

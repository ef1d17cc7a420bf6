//! Pinned host memory: what a GPU copies from and to on its own, while threads do something else.

mod host;
mod ring;

pub use ring::{PinnedBuffer, PinnedBytes, PinnedRing};

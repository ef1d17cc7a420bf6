//! Helpers that several crates share which must not import one another.

mod lock;
mod splitmix64;

pub use lock::unpoisoned;
pub use splitmix64::{GOLDEN_GAMMA, SplitMix64, mix64};

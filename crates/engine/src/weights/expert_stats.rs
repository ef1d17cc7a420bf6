//! [`ExpertCacheStats`]: how the cache of routed experts on the disk tier is used.

use std::sync::{Arc, Mutex};

use base::unpoisoned;
use serde::{Deserialize, Serialize};

/// Memory and use of the cache of routed experts. Counters never decrease.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ExpertCacheStats {
    /// Bytes that the cache may take.
    pub capacity_bytes: u64,
    /// Bytes that it takes.
    pub used_bytes: u64,
    /// Tokens of all forward passes.
    pub tokens: u64,
    /// Bytes of the experts that forward passes used, those of each pass counted once.
    pub requested_bytes: u64,
    /// Bytes of these that were read from disk.
    pub read_bytes: u64,
}

impl ExpertCacheStats {
    /// The share of the requested bytes that were in memory; `None` before the first pass.
    pub fn hit_rate(&self) -> Option<f64> {
        let hit_bytes = self.requested_bytes.saturating_sub(self.read_bytes);
        (self.requested_bytes > 0).then(|| hit_bytes as f64 / self.requested_bytes as f64)
    }

    /// Bytes read from disk for a token, on average; `None` before the first pass.
    pub fn read_bytes_per_token(&self) -> Option<f64> {
        (self.tokens > 0).then(|| self.read_bytes as f64 / self.tokens as f64)
    }

    /// The memory and the rates; `None` before the first pass.
    pub fn report(&self) -> Option<ExpertCacheReport> {
        Some(ExpertCacheReport {
            planned_bytes: self.capacity_bytes,
            used_bytes: self.used_bytes,
            tokens: self.tokens,
            hit_rate: self.hit_rate()?,
            read_bytes_per_token: self.read_bytes_per_token()?,
        })
    }

    /// The counts since `earlier`, with the present memory.
    #[must_use]
    pub fn since(&self, earlier: &ExpertCacheStats) -> ExpertCacheStats {
        ExpertCacheStats {
            tokens: self.tokens - earlier.tokens,
            requested_bytes: self.requested_bytes - earlier.requested_bytes,
            read_bytes: self.read_bytes - earlier.read_bytes,
            ..*self
        }
    }
}

/// The use of the cache of routed experts by some forward passes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExpertCacheReport {
    /// Bytes that the cache may take.
    pub planned_bytes: u64,
    /// Bytes that it takes.
    pub used_bytes: u64,
    pub tokens: u64,
    /// The share of the bytes of the experts that passes used that were in memory.
    pub hit_rate: f64,
    /// Bytes of experts that were read from disk, divided by the tokens.
    pub read_bytes_per_token: f64,
}

/// The statistics of a cache, shared by the cache and its readers.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedExpertStats(Arc<Mutex<ExpertCacheStats>>);

impl SharedExpertStats {
    pub fn get(&self) -> ExpertCacheStats {
        *unpoisoned(self.0.lock())
    }

    pub fn update(&self, change: impl FnOnce(&mut ExpertCacheStats)) {
        let mut stats = unpoisoned(self.0.lock());
        change(&mut stats);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_those_of_the_bytes() {
        let none = ExpertCacheStats::default();
        assert_eq!((none.hit_rate(), none.read_bytes_per_token()), (None, None));
        let first = ExpertCacheStats { tokens: 4, requested_bytes: 100, read_bytes: 100, ..none };
        assert_eq!((first.hit_rate(), first.read_bytes_per_token()), (Some(0.0), Some(25.0)));
        let later = ExpertCacheStats { tokens: 6, requested_bytes: 180, read_bytes: 120, ..first };
        let since = later.since(&first);
        assert_eq!((since.hit_rate(), since.read_bytes_per_token()), (Some(0.75), Some(10.0)));
    }
}

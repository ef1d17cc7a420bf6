//! Named, counter-based random streams: a draw depends only on the run's seed, the stream's name
//! and the draw's coordinates. Additional draws from one stream do not change those of another.

use base::{GOLDEN_GAMMA, mix64};

/// One named stream of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RandomStream(u64);

impl RandomStream {
    /// The stream of this name. Every seed is valid, including 0.
    pub fn new(seed: u64, name: &str) -> RandomStream {
        RandomStream(name.bytes().fold(mix64(seed.wrapping_add(GOLDEN_GAMMA)), |h, b| {
            mix64(h ^ u64::from(b)).wrapping_add(GOLDEN_GAMMA)
        }))
    }

    /// 64 random bits at the given coordinates (a day, an item, ...).
    pub fn bits(self, at: &[u64]) -> u64 {
        at.iter().fold(self.0, |h, x| mix64(h.wrapping_add(GOLDEN_GAMMA) ^ mix64(*x)))
    }

    /// A uniformly distributed number in [0, 1).
    pub fn unit(self, at: &[u64]) -> f64 {
        (self.bits(at) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A uniformly distributed integer in `low..=high`.
    pub fn within(self, at: &[u64], low: i64, high: i64) -> i64 {
        let span = (high - low + 1).max(1) as u64;
        low + ((u128::from(self.bits(at)) * u128::from(span)) >> 64) as i64
    }
}

//! Named random streams, counter-based: a draw depends only on the run's seed, the stream's name and
//! the draw's coordinates. Changing one factor leaves the draws of all others alone.

/// One named stream of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RandomStream(u64);

/// SplitMix64's finalizer (Steele, Lea, Flood 2014): every bit of the input changes half of the
/// output's.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

impl RandomStream {
    /// The stream of this name. Seed 0 is as good as any other.
    pub fn new(seed: u64, name: &str) -> RandomStream {
        let golden = 0x9E37_79B9_7F4A_7C15u64;
        RandomStream(name.bytes().fold(mix(seed.wrapping_add(golden)), |h, b| {
            mix(h ^ u64::from(b)).wrapping_add(golden)
        }))
    }

    /// 64 bits at coordinates (a day, an item, ...).
    pub fn bits(self, at: &[u64]) -> u64 {
        at.iter().fold(self.0, |h, x| mix(h.wrapping_add(0x9E37_79B9_7F4A_7C15) ^ mix(*x)))
    }

    /// A number in [0, 1).
    pub fn unit(self, at: &[u64]) -> f64 {
        (self.bits(at) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A whole number in `low..=high`.
    pub fn within(self, at: &[u64], low: i64, high: i64) -> i64 {
        let span = (high - low + 1).max(1) as u64;
        low + ((u128::from(self.bits(at)) * u128::from(span)) >> 64) as i64
    }
}

//! Random choices from SplitMix64.

use base::SplitMix64;

/// A number in 0..n, n above 0. The bias of the multiplication is below n / 2^64.
pub(super) fn below(random: &mut SplitMix64, n: usize) -> usize {
    ((u128::from(random.next_u64()) * n as u128) >> 64) as usize
}

/// Fisher-Yates shuffle.
pub(super) fn shuffle<T>(random: &mut SplitMix64, items: &mut [T]) {
    for last in (1..items.len()).rev() {
        items.swap(last, below(random, last + 1));
    }
}

/// Standard error of a p-value from `draws` random draws.
pub(super) fn p_error(p: f64, draws: u64) -> f64 {
    (p * (1.0 - p) / (draws as f64 + 1.0)).sqrt()
}

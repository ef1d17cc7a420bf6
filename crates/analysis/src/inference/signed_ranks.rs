//! Signed ranks: their exact distribution, and order statistics of Walsh averages.

use crate::numeric::distribution::normal_critical;
use serde::Serialize;

/// Up to this number of ranks the distribution is exact.
pub(super) const EXACT_RANKS_MAX: usize = 2000;

/// What to do with differences of 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Zeros {
    /// Leave them out before ranking (Wilcoxon 1945).
    Drop,
    /// Rank them, then leave out their ranks (Pratt 1959).
    Pratt,
}

/// Ranks of the sizes of differences other than 0, with their signs.
pub(super) struct SignedRanks {
    /// Twice the rank, which is whole for mean ranks too, with the sign of the difference.
    pub doubled: Vec<i64>,
    /// Differences other than 0 whose size another one has too.
    pub tied: usize,
}

impl SignedRanks {
    pub fn new(differences: &[f64], zeros: Zeros) -> SignedRanks {
        let keep = |difference: &&f64| zeros == Zeros::Pratt || **difference != 0.0;
        let mut kept: Vec<f64> = differences.iter().filter(keep).copied().collect();
        kept.sort_by(|a, b| a.abs().total_cmp(&b.abs()));
        let (mut doubled, mut tied) = (Vec::with_capacity(kept.len()), 0);
        let mut first = 0;
        for group in kept.chunk_by(|a, b| a.abs() == b.abs()) {
            // The mean of the ranks first + 1 ..= first + length, doubled.
            let rank = (2 * first + group.len() + 1) as i64;
            first += group.len();
            if group[0] == 0.0 {
                continue;
            }
            tied += if group.len() > 1 { group.len() } else { 0 };
            doubled.extend(group.iter().map(|value| if *value > 0.0 { rank } else { -rank }));
        }
        SignedRanks { doubled, tied }
    }

    /// Doubled sums of the ranks of positive and of negative differences.
    pub fn sums(&self) -> [u64; 2] {
        let mut sums = [0; 2];
        for rank in &self.doubled {
            sums[usize::from(*rank < 0)] += rank.unsigned_abs();
        }
        sums
    }

    pub fn magnitudes(&self) -> Vec<u64> {
        self.doubled.iter().map(|rank| rank.unsigned_abs()).collect()
    }
}

/// P(sum of the ranks with positive sign <= `sum`) if signs are fair coins. `ranks` rise.
pub(super) fn lower_tail(ranks: &[u64], sum: u64) -> f64 {
    probabilities(ranks, sum).iter().sum()
}

/// Probabilities of sums from 0 to `limit`, in units of the ranks' common divisor: each rank is in
/// the sum or not. A table over sums is filled rank by rank, in place from above.
fn probabilities(ranks: &[u64], limit: u64) -> Vec<f64> {
    let unit = ranks.iter().fold(0, |divisor, rank| common_divisor(divisor, *rank)).max(1);
    let limit = (limit / unit) as usize;
    let mut table = vec![0.0f64; limit + 1];
    table[0] = 1.0;
    let mut reached = 0;
    for rank in ranks {
        let rank = (rank / unit) as usize;
        reached = (reached + rank).min(limit);
        // Pieces no longer than the rank, from above: what a piece reads is not yet changed, and
        // compilers vectorize the loop over it.
        let mut end = reached + 1;
        while end > rank {
            let start = end.saturating_sub(rank).max(rank);
            let (below, piece) = table[..end].split_at_mut(start);
            let without = &below[start - rank..end - rank];
            for (sum, without) in piece.iter_mut().zip(without) {
                *sum = 0.5 * (*sum + without);
            }
            end = start;
        }
        for probability in &mut table[..rank.min(reached + 1)] {
            *probability *= 0.5;
        }
    }
    table
}

fn common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { common_divisor(b, a % b) }
}

/// The rank k of the Walsh averages that bound the interval, the k-th from below and from above,
/// and the interval's coverage; k = 0 if no interval reaches the level.
pub(super) fn interval_rank(n: usize, level: f64) -> (u64, f64) {
    let tail = (1.0 - level) / 2.0;
    let size = n as f64;
    if n > EXACT_RANKS_MAX {
        let sd = (size * (size + 1.0) * (2.0 * size + 1.0) / 24.0).sqrt();
        let rank = size * (size + 1.0) / 4.0 - normal_critical(level) * sd;
        return (rank.floor() as u64, level);
    }
    let ranks: Vec<u64> = (1..=n as u64).collect();
    // The largest k with P(sum <= k - 1) <= tail.
    let (mut rank, mut below) = (0, 0.0);
    for probability in probabilities(&ranks, n as u64 * (n as u64 + 1) / 4) {
        if below + probability > tail {
            break;
        }
        below += probability;
        rank += 1;
    }
    (rank, if rank > 0 { 1.0 - 2.0 * below } else { 0.0 })
}

/// The k-th smallest mean of two values (a value with itself too), k from 1; `sorted` rises. The
/// sum is found by bisection on the bits of f64, so no list of all means is needed.
pub(super) fn walsh_average(sorted: &[f64], k: u64) -> f64 {
    let last = sorted[sorted.len() - 1];
    let (mut low, mut high) = (ordered_bits(2.0 * sorted[0]), ordered_bits(2.0 * last));
    while low < high {
        let middle = ((i128::from(low) + i128::from(high)) >> 1) as i64;
        if pairs_up_to(sorted, from_ordered_bits(middle)) >= k {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    0.5 * from_ordered_bits(low)
}

/// Pairs (i <= j) with a sum of at most `sum`.
fn pairs_up_to(sorted: &[f64], sum: f64) -> u64 {
    let mut pairs = 0;
    let mut end = sorted.len();
    for (i, value) in sorted.iter().enumerate() {
        while end > i && value + sorted[end - 1] > sum {
            end -= 1;
        }
        pairs += end.saturating_sub(i) as u64;
    }
    pairs
}

/// A whole number with the order of the f64 values.
fn ordered_bits(value: f64) -> i64 {
    let bits = (value + 0.0).to_bits() as i64;
    if bits < 0 { i64::MIN.wrapping_sub(bits) } else { bits }
}

fn from_ordered_bits(ordered: i64) -> f64 {
    let bits = if ordered < 0 { i64::MIN.wrapping_sub(ordered) } else { ordered };
    f64::from_bits(bits as u64)
}

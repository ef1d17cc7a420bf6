//! Top-k, top-p and min-p over weights whose largest is 1.

use std::cmp::Ordering;

use super::SamplingParams;

/// A token and its weight, e^((logit - max) / temperature).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Candidate {
    pub token: u32,
    pub weight: f32,
}

impl Candidate {
    /// The likelier first; of equals the lower id.
    fn order(&self, other: &Candidate) -> Ordering {
        other.weight.total_cmp(&self.weight).then(self.token.cmp(&other.token))
    }
}

/// Leaves the candidates that the settings allow. In order of id if there is nothing to filter by,
/// else the likeliest first: a fixed order either way.
pub(super) fn filter(sampling: &SamplingParams, candidates: &mut Vec<Candidate>) {
    let mut sorted = false;
    if let Some(k) = sampling.top_k.filter(|&k| k > 0 && k < candidates.len()) {
        candidates.select_nth_unstable_by(k - 1, Candidate::order);
        candidates.truncate(k);
        candidates.sort_unstable_by(Candidate::order);
        sorted = true;
    }
    if sampling.top_p < 1.0 {
        top_p(f64::from(sampling.top_p), sorted, candidates);
    }
    if sampling.min_p > 0.0 {
        candidates.retain(|candidate| candidate.weight >= sampling.min_p);
    }
}

/// The fewest likeliest candidates whose weights reach `p` of the total.
fn top_p(p: f64, sorted: bool, candidates: &mut Vec<Candidate>) {
    let wanted = p * total(candidates);
    if !sorted {
        keep_heavy(wanted, candidates);
        candidates.sort_unstable_by(Candidate::order);
    }
    let mut reached = 0.0;
    let kept = candidates.iter().position(|candidate| {
        reached += f64::from(candidate.weight);
        reached >= wanted
    });
    if let Some(last) = kept {
        candidates.truncate(last + 1);
    }
}

/// Drops light candidates that cannot be among those that reach `wanted`, so that few are left to
/// sort.
fn keep_heavy(wanted: f64, candidates: &mut Vec<Candidate>) {
    // Sums by power of two; weights are at most 1, whose exponent is 127.
    let mut sums = [0.0f64; 128];
    for candidate in candidates.iter() {
        sums[exponent(candidate.weight)] += f64::from(candidate.weight);
    }
    let mut reached = 0.0;
    let lightest = (0..sums.len()).rev().find(|&exponent| {
        reached += sums[exponent];
        reached >= wanted
    });
    if let Some(lightest) = lightest {
        candidates.retain(|candidate| exponent(candidate.weight) >= lightest);
    }
}

/// The exponent's bits of a number from 0 to 1.
fn exponent(weight: f32) -> usize {
    (weight.to_bits() >> 23 & 127) as usize
}

/// The sum of the weights, in order.
pub(super) fn total(candidates: &[Candidate]) -> f64 {
    candidates.iter().map(|candidate| f64::from(candidate.weight)).sum()
}

//! Top-k, top-p and min-p over unnormalized probabilities whose largest is 1.

use std::cmp::Ordering;

use super::SamplingParams;

/// A token and its unnormalized probability, e^((logit - max) / temperature).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct TokenCandidate {
    pub token: u32,
    pub weight: f32,
}

impl TokenCandidate {
    /// Orders candidates by descending weight; equal weights by ascending token id.
    fn order(&self, other: &TokenCandidate) -> Ordering {
        other.weight.total_cmp(&self.weight).then(self.token.cmp(&other.token))
    }
}

/// Removes the candidates that top-k, top-p and min-p exclude. If top-k or top-p applies, the
/// remaining candidates are sorted by [`TokenCandidate::order`]; otherwise they stay in ascending
/// order of token ids. Sampling depends on this order.
pub(super) fn filter(sampling: &SamplingParams, candidates: &mut Vec<TokenCandidate>) {
    let mut sorted = false;
    if let Some(k) = sampling.top_k.filter(|&k| k > 0 && k < candidates.len()) {
        candidates.select_nth_unstable_by(k - 1, TokenCandidate::order);
        candidates.truncate(k);
        candidates.sort_unstable_by(TokenCandidate::order);
        sorted = true;
    }
    if sampling.top_p < 1.0 {
        top_p(f64::from(sampling.top_p), sorted, candidates);
    }
    if sampling.min_p > 0.0 {
        candidates.retain(|candidate| candidate.weight >= sampling.min_p);
    }
}

/// Keeps the smallest set of most likely candidates whose weights sum to at least `p` times the
/// total weight.
fn top_p(p: f64, sorted: bool, candidates: &mut Vec<TokenCandidate>) {
    let target = p * total(candidates);
    if !sorted {
        keep_heavy(target, candidates);
        candidates.sort_unstable_by(TokenCandidate::order);
    }
    let mut sum = 0.0;
    let kept = candidates.iter().position(|candidate| {
        sum += f64::from(candidate.weight);
        sum >= target
    });
    if let Some(last) = kept {
        candidates.truncate(last + 1);
    }
}

/// Removes candidates whose weight is too small to be in the top-p set, whose weights sum to
/// `target`, so that fewer candidates have to be sorted.
fn keep_heavy(target: f64, candidates: &mut Vec<TokenCandidate>) {
    // Sum of the weights with each biased exponent. Weights are at most 1, whose biased exponent is
    // 127.
    let mut sums = [0.0f64; 128];
    for candidate in candidates.iter() {
        sums[exponent(candidate.weight)] += f64::from(candidate.weight);
    }
    let mut sum = 0.0;
    let lightest = (0..sums.len()).rev().find(|&exponent| {
        sum += sums[exponent];
        sum >= target
    });
    if let Some(lightest) = lightest {
        candidates.retain(|candidate| exponent(candidate.weight) >= lightest);
    }
}

/// The biased exponent of an f32 from 0 to 1.
fn exponent(weight: f32) -> usize {
    (weight.to_bits() >> 23 & 127) as usize
}

/// The sum of the weights, added in the order of the candidates.
pub(super) fn total(candidates: &[TokenCandidate]) -> f64 {
    candidates.iter().map(|candidate| f64::from(candidate.weight)).sum()
}

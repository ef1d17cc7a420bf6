//! Samples one token: repetition penalty, grammar mask, filters, then inversion of the cumulative
//! distribution.

use super::exponent::{exp, log_sum_exp};
use super::filter::{TokenCandidate, filter, total};
use super::{AllowedTokens, SampleError, SamplingParams, SeenTokens, uniform};

/// Inputs of [`sample`] besides the logits.
#[derive(Clone, Copy, Debug)]
pub struct SampleInput<'a> {
    pub sampling: &'a SamplingParams,
    /// The tokens that the grammar allows; `None`: all.
    pub allowed: Option<AllowedTokens<'a>>,
    /// The distinct tokens of the sequence so far; required for a repetition penalty.
    pub seen: Option<&'a SeenTokens>,
    /// Position of the token to sample, counted from the start of the prompt. It is the counter of
    /// the random number generator.
    pub position: usize,
    /// Whether the token's log-probability is returned.
    pub logprob: bool,
}

/// A sampled token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SampledToken {
    pub token: u32,
    /// Log-probability of the token under the model, before penalty, mask, temperature and filters.
    /// `None` if it was not requested.
    pub logprob: Option<f32>,
}

/// Reusable buffers for sampling one token at a time.
#[derive(Debug, Default)]
pub struct SampleBuffers {
    candidates: Vec<TokenCandidate>,
    /// `[vocab]`
    weights: Vec<f32>,
}

/// Samples a token from `logits`, `[vocab]`; the repetition penalty changes them in place.
///
/// # Errors
/// [`SampleError::NotFinite`] if a logit is NaN or infinite, [`SampleError::NothingAllowed`] if the
/// mask allows no token.
pub fn sample(
    logits: &mut [f32],
    input: &SampleInput,
    buffers: &mut SampleBuffers,
) -> Result<SampledToken, SampleError> {
    check_finite(logits, input.position)?;
    let logprob_of = input.logprob.then(|| {
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        (logits.to_vec(), log_sum_exp(logits, max))
    });
    penalize(logits, input);
    let none_allowed = SampleError::NothingAllowed { position: input.position };
    let best = most_likely(logits, input.allowed).ok_or(none_allowed)?;
    let token = if input.sampling.is_greedy() { best } else { draw(logits, best, input, buffers) };
    let logprob =
        logprob_of.map(|(raw, log_sum)| (f64::from(raw[token as usize]) - log_sum) as f32);
    Ok(SampledToken { token, logprob })
}

fn check_finite(logits: &[f32], position: usize) -> Result<(), SampleError> {
    // Zero times a finite number is zero; zero times NaN or infinity is NaN. This sum vectorizes; a
    // search with an early exit would not.
    if logits.iter().map(|logit| logit * 0.0).sum::<f32>() == 0.0 {
        return Ok(());
    }
    let found = logits.iter().enumerate().find(|(_, logit)| !logit.is_finite());
    found.map_or(Ok(()), |(token, &value)| {
        Err(SampleError::NotFinite { token: token as u32, position, value })
    })
}

fn penalize(logits: &mut [f32], input: &SampleInput) {
    let penalty = input.sampling.repetition_penalty;
    let Some(seen) = input.seen.filter(|_| penalty != 1.0) else { return };
    for &token in seen.ids() {
        if let Some(logit) = logits.get_mut(token as usize) {
            *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
        }
    }
}

/// The allowed token with the highest logit, or the lowest id among equal logits. `None` if no
/// token is allowed.
fn most_likely(logits: &[f32], allowed: Option<AllowedTokens>) -> Option<u32> {
    let higher = |best: Option<(u32, f32)>, (token, logit): (u32, f32)| match best {
        Some((_, highest)) if highest >= logit => best,
        _ => Some((token, logit)),
    };
    let best = match allowed {
        None => logits
            .iter()
            .enumerate()
            .map(|(token, &logit)| (token as u32, logit))
            .fold(None, higher),
        Some(mask) => mask
            .tokens(logits.len())
            .map(|token| (token, logits[token as usize]))
            .fold(None, higher),
    };
    best.map(|(token, _)| token)
}

/// Draws a token by inversion of the cumulative sum of weights, in the candidates' fixed order.
fn draw(logits: &[f32], best: u32, input: &SampleInput, buffers: &mut SampleBuffers) -> u32 {
    let SampleBuffers { candidates, weights } = buffers;
    let (max, temperature) = (logits[best as usize], input.sampling.temperature);
    // Weights are computed for all tokens, including those that are not allowed, because a loop
    // without a branch vectorizes.
    weights.clear();
    weights.extend(logits.iter().map(|&logit| {
        // `max` is the highest logit of the allowed tokens, so other logits may exceed it. It is
        // subtracted before the division: a difference of zero stays zero at any temperature, even
        // a subnormal one.
        exp((logit - max).min(0.0) / temperature)
    }));
    candidates.clear();
    let candidate_of = |token: u32| TokenCandidate { token, weight: weights[token as usize] };
    match input.allowed {
        None => candidates.extend((0..logits.len() as u32).map(candidate_of)),
        Some(mask) => {
            candidates.reserve(logits.len());
            mask.tokens(logits.len()).for_each(|token| candidates.push(candidate_of(token)));
        }
    }
    filter(input.sampling, candidates);
    let mut left = uniform(input.sampling.seed, input.position as u64) * total(candidates);
    for candidate in candidates.iter() {
        left -= f64::from(candidate.weight);
        if left < 0.0 {
            return candidate.token;
        }
    }
    best
}

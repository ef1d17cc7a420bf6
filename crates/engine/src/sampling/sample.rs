//! The choice itself.

use super::exponent::{exp, log_sum_exp};
use super::filter::{Candidate, filter, total};
use super::{AllowedTokens, SampleError, SamplingParams, SeenTokens, uniform};

/// What a choice is made from, besides the logits.
#[derive(Clone, Copy, Debug)]
pub struct SampleInput<'a> {
    /// The settings.
    pub sampling: &'a SamplingParams,
    /// The tokens that a constraint allows; `None`: all.
    pub allowed: Option<AllowedTokens<'a>>,
    /// The tokens so far; needed where the repetition penalty is not 1.
    pub seen: Option<&'a SeenTokens>,
    /// Position of the token to sample in its sequence, prompt included: the counter of the random
    /// numbers.
    pub position: usize,
    /// Whether its log-probability is wanted.
    pub logprob: bool,
}

/// A chosen token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SampledToken {
    /// Its id.
    pub token: u32,
    /// Its log-probability under the model itself: before mask, penalty, temperature and filters.
    pub logprob: Option<f32>,
}

/// KvCacheManager that all choices of a thread share.
#[derive(Debug, Default)]
pub struct SampleBuffers {
    candidates: Vec<Candidate>,
    /// `[vocab]`
    weights: Vec<f32>,
}

/// Chooses a token from `logits`, `[vocab]`, which it may change.
///
/// # Errors
/// A logit that is no finite number, or a mask that allows nothing.
pub fn sample(
    logits: &mut [f32],
    draw: &SampleInput,
    buffers: &mut SampleBuffers,
) -> Result<SampledToken, SampleError> {
    check_finite(logits, draw.position)?;
    let normalizer = draw.logprob.then(|| {
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        (logits.to_vec(), log_sum_exp(logits, max))
    });
    penalize(logits, draw);
    let nothing = SampleError::NothingAllowed { position: draw.position };
    let best = likeliest(logits, draw.allowed).ok_or(nothing)?;
    let token = if draw.sampling.is_greedy() { best } else { random(logits, best, draw, buffers) };
    let logprob =
        normalizer.map(|(raw, log_sum)| (f64::from(raw[token as usize]) - log_sum) as f32);
    Ok(SampledToken { token, logprob })
}

fn check_finite(logits: &[f32], position: usize) -> Result<(), SampleError> {
    // Zero times a finite number is zero; the sum vectorizes, the search does not.
    if logits.iter().map(|logit| logit * 0.0).sum::<f32>() == 0.0 {
        return Ok(());
    }
    let found = logits.iter().enumerate().find(|(_, logit)| !logit.is_finite());
    found.map_or(Ok(()), |(token, &value)| {
        Err(SampleError::NotFinite { token: token as u32, position, value })
    })
}

fn penalize(logits: &mut [f32], draw: &SampleInput) {
    let penalty = draw.sampling.repetition_penalty;
    let Some(seen) = draw.seen.filter(|_| penalty != 1.0) else { return };
    for &token in seen.ids() {
        if let Some(logit) = logits.get_mut(token as usize) {
            *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
        }
    }
}

/// The allowed token with the highest logit; the lowest id of equals.
fn likeliest(logits: &[f32], allowed: Option<AllowedTokens>) -> Option<u32> {
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

/// A token drawn by its weight: the inverse of the cumulative sum, in the candidates' fixed order.
fn random(logits: &[f32], best: u32, draw: &SampleInput, buffers: &mut SampleBuffers) -> u32 {
    let SampleBuffers { candidates, weights } = buffers;
    let (max, temperature) = (logits[best as usize], draw.sampling.temperature);
    // All of them, also those that are not allowed: a loop without a question in it takes eight at
    // a time.
    weights.clear();
    weights.extend(logits.iter().map(|&logit| {
        // A difference of zero stays zero at any temperature, also at one that is too small to
        // divide by. What is not allowed may lie above.
        exp((logit - max).min(0.0) / temperature)
    }));
    candidates.clear();
    let weighed = |token: u32| Candidate { token, weight: weights[token as usize] };
    match draw.allowed {
        None => candidates.extend((0..logits.len() as u32).map(weighed)),
        Some(mask) => {
            candidates.reserve(logits.len());
            mask.tokens(logits.len()).for_each(|token| candidates.push(weighed(token)));
        }
    }
    filter(draw.sampling, candidates);
    let mut left = uniform(draw.sampling.seed, draw.position as u64) * total(candidates);
    for candidate in candidates.iter() {
        left -= f64::from(candidate.weight);
        if left < 0.0 {
            return candidate.token;
        }
    }
    best
}

//! Compares sampling with expected distributions and with a plain implementation of the filters.

use proptest::prelude::*;

use super::*;

fn input(sampling: &SamplingParams, position: usize) -> SampleInput<'_> {
    SampleInput { sampling, allowed: None, seen: None, position, logprob: false }
}

fn token(logits: &[f32], input: &SampleInput) -> u32 {
    sample(&mut logits.to_vec(), input, &mut SampleBuffers::default()).expect("a token").token
}

/// Relative frequency of each token in `draws` samples, each at another position.
fn histogram(logits: &[f32], sampling: &SamplingParams, draws: usize) -> Vec<f64> {
    let mut counts = vec![0.0; logits.len()];
    (0..draws).for_each(|position| {
        counts[token(logits, &input(sampling, position)) as usize] += 1.0 / draws as f64
    });
    counts
}

fn softmax(logits: &[f32], temperature: f32) -> Vec<f64> {
    let weights: Vec<f64> = logits.iter().map(|x| f64::from(x / temperature).exp()).collect();
    let sum: f64 = weights.iter().sum();
    weights.iter().map(|weight| weight / sum).collect()
}

#[test]
fn greedy_sampling_takes_the_lowest_id_of_equals() {
    let logits = [0.0, 3.0, -1.0, 3.0];
    assert_eq!(token(&logits, &input(&SamplingParams::greedy(), 0)), 1);
    let allowed = [0b1101];
    let greedy = SamplingParams::greedy();
    let masked = SampleInput { allowed: Some(AllowedTokens::new(&allowed)), ..input(&greedy, 0) };
    assert_eq!(token(&logits, &masked), 3);
}

#[test]
fn tokens_follow_the_softmax_at_a_temperature() {
    let logits = [1.0, 0.0, -1.0, 2.0, 0.5];
    for temperature in [0.5, 1.0, 2.0] {
        let found = histogram(&logits, &SamplingParams::at(temperature, 7), 40_000);
        let expected = softmax(&logits, temperature);
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found - expected).abs() < 0.012, "{found} {expected}");
        }
    }
}

#[test]
fn filters_keep_the_tokens_of_their_definitions() {
    let logits = [2.0, 1.0, 0.0, -1.0, -2.0];
    let kept = |sampling: SamplingParams| -> Vec<usize> {
        let counts = histogram(&logits, &sampling, 4000);
        (0..logits.len()).filter(|&token| counts[token] > 0.0).collect()
    };
    let base = SamplingParams::at(1.0, 3);
    assert_eq!(kept(SamplingParams { top_k: Some(2), ..base }), [0, 1]);
    assert_eq!(kept(SamplingParams { top_k: Some(0), ..base }), [0, 1, 2, 3, 4]);
    // Probabilities of the tokens: .636 .234 .086 .032 .012
    assert_eq!(kept(SamplingParams { top_p: 0.63, ..base }), [0]);
    assert_eq!(kept(SamplingParams { top_p: 0.64, ..base }), [0, 1]);
    assert_eq!(kept(SamplingParams { top_p: 0.9, ..base }), [0, 1, 2]);
    assert_eq!(kept(SamplingParams { min_p: 0.3, ..base }), [0, 1]);
    assert_eq!(kept(SamplingParams { min_p: 0.1, ..base }), [0, 1, 2]);
    // top-p uses the renormalized probabilities of the top-k tokens: .731 .269
    assert_eq!(kept(SamplingParams { top_k: Some(2), top_p: 0.7, ..base }), [0]);
    assert_eq!(kept(SamplingParams { temperature: 1e-40, ..base }), [0]);
}

#[test]
fn repetition_penalty_lowers_the_logits_of_seen_tokens() {
    let mut seen = SeenTokens::default();
    seen.extend(&[1, 3, 1, 900]);
    assert_eq!(seen.ids(), [1, 3, 900]);
    let sampling = SamplingParams { repetition_penalty: 2.0, ..SamplingParams::greedy() };
    let with = SampleInput { seen: Some(&seen), ..input(&sampling, 0) };
    let mut logits = [-9.0, 3.0, 2.0, -3.0];
    assert_eq!(
        sample(&mut logits, &with, &mut SampleBuffers::default()).expect("a token").token,
        2
    );
    assert_eq!(logits, [-9.0, 1.5, 2.0, -6.0]);
}

#[test]
fn logprobs_are_those_of_the_unfiltered_model() {
    let logits = [1.0f32, 0.0, -1.0, 2.0];
    let sampling =
        SamplingParams { top_k: Some(2), repetition_penalty: 3.0, ..SamplingParams::at(0.3, 1) };
    let mut seen = SeenTokens::default();
    seen.extend(&[3]);
    let input = SampleInput { logprob: true, seen: Some(&seen), ..input(&sampling, 5) };
    let sampled =
        sample(&mut logits.to_vec(), &input, &mut SampleBuffers::default()).expect("a token");
    let expected = softmax(&logits, 1.0)[sampled.token as usize].ln();
    assert!((f64::from(sampled.logprob.expect("asked for")) - expected).abs() < 1e-5);
}

#[test]
fn non_finite_logits_and_empty_masks_are_errors() {
    let sampling = SamplingParams::at(1.0, 0);
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let error =
            sample(&mut [0.0, bad, 0.0], &input(&sampling, 4), &mut SampleBuffers::default())
                .expect_err("no number");
        assert!(matches!(error, SampleError::NotFinite { token: 1, position: 4, .. }), "{error}");
    }
    let none = SampleInput { allowed: Some(AllowedTokens::new(&[0, 2])), ..input(&sampling, 4) };
    let error = sample(&mut [0.0; 33], &none, &mut SampleBuffers::default()).expect_err("nothing");
    assert_eq!(error, SampleError::NothingAllowed { position: 4 });
}

#[test]
fn parameters_out_of_range_are_named() {
    let base = SamplingParams::default();
    for (sampling, name) in [
        (SamplingParams { temperature: -1.0, ..base }, "temperature"),
        (SamplingParams { temperature: f32::NAN, ..base }, "temperature"),
        (SamplingParams { top_p: 0.0, ..base }, "top_p"),
        (SamplingParams { min_p: 1.5, ..base }, "min_p"),
        (SamplingParams { repetition_penalty: 0.0, ..base }, "repetition_penalty"),
    ] {
        let error = sampling.check().expect_err("out of range").to_string();
        assert!(error.starts_with(name), "{error}");
    }
    assert!(base.check().is_ok());
}

/// Top-k, top-p and min-p by a full sort; returns the tokens that are kept.
fn plain_filter(logits: &[f32], sampling: &SamplingParams) -> Vec<u32> {
    let probabilities = softmax(logits, sampling.temperature);
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| probabilities[b].total_cmp(&probabilities[a]).then(a.cmp(&b)));
    order.truncate(sampling.top_k.filter(|&k| k > 0).unwrap_or(usize::MAX));
    let sum: f64 = order.iter().map(|&token| probabilities[token]).sum();
    let mut reached = 0.0;
    let mut kept = Vec::new();
    for token in order.clone() {
        kept.push(token as u32);
        reached += probabilities[token];
        if reached >= f64::from(sampling.top_p) * sum && sampling.top_p < 1.0 {
            break;
        }
    }
    kept.retain(|&token| {
        probabilities[token as usize] >= f64::from(sampling.min_p) * probabilities[order[0]]
    });
    kept
}

proptest! {
    /// Sampled tokens are among those that [`plain_filter`] keeps, and sampling again at the same
    /// position gives the same token.
    #[test]
    fn sampled_tokens_pass_the_filters(
        // Logits are multiples of 0.25, so that differences exceed rounding errors.
        steps in proptest::collection::vec(0u8..40, 2..80),
        top_k in 0usize..20, top_p in 1u8..=10, min_p in 0u8..5, seed: u64, position in 0usize..10_000,
    ) {
        let logits: Vec<f32> = steps.iter().map(|&step| f32::from(step) * 0.25).collect();
        let sampling = SamplingParams {
            top_k: Some(top_k), top_p: f32::from(top_p) / 10.0 - 0.0123, min_p: f32::from(min_p) / 10.0, ..SamplingParams::at(0.8, seed)
        };
        let kept = plain_filter(&logits, &sampling);
        let first = token(&logits, &input(&sampling, position));
        prop_assert!(kept.contains(&first), "{} of {:?}", first, kept);
        prop_assert_eq!(first, token(&logits, &input(&sampling, position)));
    }

    /// The tokens of a mask are its set bits below the vocabulary size, in order.
    #[test]
    fn masks_list_their_set_bits(words in proptest::collection::vec(any::<u32>(), 0..5), vocab in 0usize..200) {
        let mask = AllowedTokens::new(&words);
        let expected: Vec<u32> = (0..vocab as u32).filter(|&token| mask.has(token)).collect();
        prop_assert_eq!(mask.tokens(vocab).collect::<Vec<_>>(), expected);
    }
}

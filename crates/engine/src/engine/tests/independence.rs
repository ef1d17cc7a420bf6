//! Tests that a response depends only on its request.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use proptest::prelude::*;

use super::toy_model::{
    MARKOV, Toy, VOCAB, WAIT, check, engine, expected, options, pool, sums, workload,
};
use crate::engine::{
    EmbedRequest, Engine, EngineOptions, EngineStats, FinishReason, Request, ResponseEvent,
};
use crate::kv::BLOCK_TOKENS;
use crate::sampling::SamplingParams;

/// Runs all requests concurrently and checks their responses; returns the engine's statistics at
/// the end.
fn run(engine: Engine, requests: &[Request]) -> EngineStats {
    let handles: Vec<_> =
        requests.iter().map(|request| engine.submit(request.clone()).expect("accepted")).collect();
    for (request, handle) in requests.iter().zip(&handles) {
        check(request, &handle.wait(WAIT).expect("a reply"));
    }
    while engine.stats().running > 0 || engine.stats().queued > 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(Duration::from_millis(250));
    let stats = engine.stats();
    engine.shutdown(WAIT).expect("an orderly end");
    stats
}

/// Number of KV blocks that the longest request of a workload needs.
fn fewest_blocks(requests: &[Request]) -> usize {
    let tokens = |request: &Request| request.prompt.len() + request.max_new_tokens + 1;
    requests.iter().map(tokens).max().unwrap_or(1).div_ceil(BLOCK_TOKENS)
}

#[test]
fn tokens_are_the_same_alone_and_in_any_batch() {
    let requests = workload(1, 60);
    for running_max in [1, 2, 7, 32] {
        for step_tokens in [1, 13, 32, 100, 512] {
            let stats = run(
                engine(400, EngineOptions { running_max, step_tokens, ..options() }),
                &requests,
            );
            assert_eq!(stats.finished.values().sum::<u64>(), 60);
            assert_eq!(
                (stats.kv_blocks_used, stats.preemptions),
                (0, 0),
                "there were blocks for all"
            );
        }
    }
}

#[test]
fn evictions_and_preemptions_change_nothing() {
    let requests = workload(2, 60);
    let fewest = fewest_blocks(&requests);
    let (mut evictions, mut preemptions) = (0, 0);
    for blocks in [fewest, fewest + 1, fewest + 5, 3 * fewest] {
        for (running_max, step_tokens) in [(2, 17), (7, 64), (32, 200)] {
            let stats = run(
                engine(blocks, EngineOptions { running_max, step_tokens, ..options() }),
                &requests,
            );
            assert_eq!(stats.kv_blocks_free + stats.kv_blocks_cached, blocks);
            (evictions, preemptions) =
                (evictions + stats.evictions, preemptions + stats.preemptions);
        }
    }
    assert!(
        evictions > 100 && preemptions > 20,
        "{evictions} evictions, {preemptions} preemptions: too easy a test"
    );
}

#[test]
fn tokens_are_the_same_without_a_prefix_cache() {
    let requests = workload(3, 40);
    let stats = run(
        engine(30, EngineOptions { prefix_cache: false, running_max: 7, ..options() }),
        &requests,
    );
    assert_eq!((stats.prefix_hit_tokens, stats.kv_blocks_free), (0, 30));
}

#[test]
fn more_sequences_than_rows_of_logits_change_nothing() {
    let requests = workload(4, 100);
    let mut toy = Toy::new(800);
    toy.limits.logits_rows_max = 3;
    run(Engine::start(toy, pool(800), options()).expect("an engine"), &requests);
}

#[test]
fn drafts_save_forward_passes_and_change_no_token() {
    let requests = workload(5, 60);
    let passes = |prompt_lookup, running_max| {
        let stats =
            run(engine(400, EngineOptions { prompt_lookup, running_max, ..options() }), &requests);
        assert_eq!(stats.draft_tokens > 0, prompt_lookup);
        assert!(stats.reply_tok_s > 0.0 && stats.prefill_tok_s > 0.0, "{stats:?}");
        assert!(stats.accepted_draft_tokens <= stats.draft_tokens.min(stats.reply_tokens));
        (stats.steps, stats.accepted_draft_tokens)
    };
    for running_max in [1, 7] {
        let ((without, _), (with, accepted)) =
            (passes(false, running_max), passes(true, running_max));
        assert!(accepted > 100, "the Markov chains are easy to predict: {accepted}");
        assert!(with < without, "{with} passes with drafts, {without} without");
    }
}

#[test]
fn a_repeating_response_gets_many_tokens_per_pass() {
    let mut request = Request::new(vec![MARKOV, 1, 2, 3], 150);
    request.ignore_eos = true;
    let engine = engine(100, options());
    let completion = engine.submit(request.clone()).expect("accepted").wait(WAIT).expect("a reply");
    check(&request, &completion);
    // The chain has a cycle of at most 58 tokens. After one cycle every draft is right, and drafts
    // grow to 16 tokens.
    assert!(
        completion.drafts.accepted > 60 && completion.drafts.accepted < 150,
        "{:?}",
        completion.drafts
    );
    assert!(engine.stats().steps < 90, "{} passes", engine.stats().steps);
}

#[test]
fn a_shared_prompt_is_computed_once() {
    let shared: Vec<u32> = (0..320).map(|i| 1 + i * 7 % 50).collect();
    let requests: Vec<Request> = (0..16)
        .map(|run| Request::new(shared.iter().copied().chain([1 + run, 2]).collect(), 4))
        .collect();
    let stats = run(engine(400, options()), &requests);
    // The 320 shared tokens are computed once, the other 2 tokens for each request.
    assert_eq!(stats.prefill_tokens, 320 + 16 * 2);
    assert_eq!(stats.prefix_hit_tokens, 15 * 320);
}

#[test]
fn the_blocks_of_a_conversation_stay_cached_for_its_next_turn() {
    let engine = engine(100, options());
    let mut history: Vec<u32> = (1..40).collect();
    let (mut computed, mut before) = (0, 0);
    for step in 0..8 {
        let mut request = Request::new(history.clone(), 30);
        request.ignore_eos = true;
        request.sampling = SamplingParams::at(1.0, step);
        let completion =
            engine.submit(request.clone()).expect("accepted").wait(WAIT).expect("a reply");
        check(&request, &completion);
        computed = completion.prompt_tokens - completion.cached_prompt_tokens;
        // The last token of the previous response was not computed, and of the other tokens only
        // full blocks are cached.
        assert!(
            computed <= history.len() - before + BLOCK_TOKENS + 1,
            "step {step} computed {computed} of {}",
            history.len()
        );
        before = history.len() + 30;
        history.extend(&completion.reply.tokens);
        history.extend([3, 1, 4, 1, 5]);
    }
    assert!(
        computed < 5 + 1 + BLOCK_TOKENS,
        "a turn computes its new tokens, not its history: {computed}"
    );
}

#[test]
fn requests_are_served_in_order_of_submission() {
    let engine = engine(40, EngineOptions { running_max: 1, ..options() });
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let handles: Vec<_> = (0..20)
        .map(|number| {
            let mut request = Request::new(vec![5, 1 + number], 3);
            let (order, news) = (Arc::clone(&order), AtomicUsize::new(0));
            request.notify = Some(Arc::new(move || {
                if news.fetch_add(1, Ordering::SeqCst) == 0 {
                    order.lock().expect("a list").push(number);
                }
            }));
            engine.submit(request).expect("accepted")
        })
        .collect();
    handles.iter().for_each(|handle| drop(handle.wait(WAIT).expect("a reply")));
    assert_eq!(*order.lock().expect("a list"), (0..20).collect::<Vec<_>>());
}

#[test]
fn a_long_prompt_does_not_delay_other_requests() {
    let mut toy = Toy::new(100);
    (toy.limits.context, toy.pass) = (3000, Duration::from_millis(1));
    let engine = Engine::start(toy, pool(100), EngineOptions { step_tokens: 16, ..options() })
        .expect("an engine");
    let mut short = Request::new(vec![1, 2, 3], 40);
    short.ignore_eos = true;
    let decoding = engine.submit(short).expect("accepted");
    let prefilling =
        engine.submit(Request::new((0..1500).map(|i| 1 + i % 50).collect(), 1)).expect("accepted");
    let decoded = decoding.wait(WAIT).expect("a reply");
    assert_eq!(decoded.reply.tokens.len(), 40);
    assert!(
        prefilling.try_next().expect("no fatal error").is_none(),
        "a hundred chunks take more steps than 40 tokens"
    );
    prefilling.wait(WAIT).expect("a reply");
}

#[test]
fn deltas_add_up_to_the_completion() {
    let engine = engine(40, options());
    let mut request = Request::new(vec![9, 8, 7], 25);
    (request.ignore_eos, request.logprobs) = (true, true);
    let handle = engine.submit(request.clone()).expect("accepted");
    let (mut tokens, mut logprobs) = (Vec::new(), Vec::new());
    let completion = loop {
        match handle.next(WAIT).expect("an event") {
            ResponseEvent::Delta(delta) => {
                tokens.extend(delta.tokens);
                logprobs.extend(delta.logprobs);
            }
            ResponseEvent::Completion(completion) => break completion,
        }
    };
    check(&request, &completion);
    assert_eq!((&tokens, &logprobs), (&completion.reply.tokens, &completion.reply.logprobs));
    assert!(logprobs.iter().all(|logprob| logprob.is_some_and(|x| x <= 0.0)));
    assert!(completion.first_token_s.expect("a first token") <= completion.seconds);
    assert!(handle.next(WAIT).is_err(), "no event follows the completion");
}

#[test]
fn embeddings_are_means_for_any_chunking() {
    let tokens: Vec<u32> = (0..150).map(|i| 1 + i * 11 % 50).collect();
    let sums = sums(&tokens);
    let mean = |part: &dyn Fn(u64) -> u64| {
        (sums.iter().map(|&sum| part(sum) as f64).sum::<f64>() / 150.0) as f32
    };
    let expected = vec![mean(&|sum| sum % 1000), mean(&|sum| sum / 1000 % 1000)];
    for step_tokens in [1, 7, 64, 512] {
        let engine = engine(12, EngineOptions { step_tokens, ..options() });
        let others: Vec<_> =
            workload(5, 10).into_iter().map(|request| engine.submit(request)).collect();
        let request = EmbedRequest { tokens: tokens.clone(), deadline: None, notify: None };
        let handles: Vec<_> =
            (0..3).map(|_| engine.submit_embedding(request.clone()).expect("accepted")).collect();
        for handle in handles {
            let completion = handle.wait(WAIT).expect("an embedding");
            assert_eq!(completion.reason, FinishReason::Embedded);
            assert_eq!(completion.embedding.as_ref(), Some(&expected));
        }
        others.into_iter().flatten().for_each(|handle| drop(handle.wait(WAIT).expect("a reply")));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    /// For random workloads and limits, each response equals the response without concurrent
    /// requests.
    #[test]
    fn responses_do_not_depend_on_other_requests(
        seed: u64, count in 1usize..25, running_max in 1usize..33, step_tokens in 1usize..513, spare in 0usize..40, sharing: bool,
    ) {
        let requests = workload(seed, count);
        let options = EngineOptions { running_max, step_tokens, prefix_cache: sharing, ..options() };
        let engine = engine(fewest_blocks(&requests) + spare, options);
        let handles: Vec<_> = requests.iter().map(|request| engine.submit(request.clone()).expect("accepted")).collect();
        for (request, handle) in requests.iter().zip(&handles) {
            let completion = handle.wait(WAIT).expect("a reply");
            prop_assert_eq!((completion.reply.tokens, completion.reason), expected(request));
        }
    }
}

#[test]
fn the_toy_models_responses_vary() {
    let requests = workload(6, 50);
    let all: std::collections::BTreeSet<u32> =
        requests.iter().flat_map(|request| expected(request).0).collect();
    assert!(all.len() > VOCAB / 2, "{all:?}");
}

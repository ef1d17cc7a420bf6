//! Tests through the scheduler that a request's tokens and the bits of their log-probabilities do
//! not depend on concurrent requests, on the chunks of its prompt, on the contents of the prefix
//! cache, or on preemptions.

mod common;

use std::path::{Path, PathBuf};
use std::time::Duration;

use common::{TestLoad, tokens};
use engine::Loaded;
use engine::sampling::SamplingParams;
use engine::{Engine, EngineOptions, EngineStats, Request};
use placement::{DtypeChoice, KvDtype};
use watch::Watch;

const WAIT: Duration = Duration::from_secs(120);
/// Context length in tokens: the maximum of the golden checkpoints.
const CONTEXT: usize = 256;
const REQUESTS: usize = 32;
/// Concurrency that the KV cache is planned for: one sequence of `CONTEXT` tokens, or more
/// sequences than the workload has.
const FEW: usize = 1;
const ENOUGH: usize = 40;

const AS_STORED: Kept = (DtypeChoice::Auto, None);

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(name)
}

/// Dtypes of the weights and of the KV cache.
type Kept = (DtypeChoice, Option<KvDtype>);

fn load(name: &str, (dtype, kv_dtype): Kept, threads: usize, concurrency: usize) -> Loaded {
    let test_load =
        TestLoad { dtype, kv_dtype, threads, concurrency, context: CONTEXT, ..TestLoad::default() };
    test_load.load(&golden(name)).expect("it loads")
}

/// Requests with prompts of 1 to 160 tokens, most of which share a prefix, and replies of 10 to 80
/// tokens.
fn workload() -> Vec<Request> {
    let id = |id: u32| id % 128;
    let shared: Vec<u32> = tokens(110, 3).into_iter().map(id).collect();
    let request = |number: usize| {
        let common = if number.is_multiple_of(5) { 0 } else { 20 + number * 23 % 90 };
        let own = tokens(1 + number * 7 % 50, number as u64 + 10).into_iter().map(id);
        let prompt = shared[..common].iter().copied().chain(own).collect();
        let sampling = match number % 3 {
            0 => SamplingParams::greedy(),
            1 => SamplingParams::at(1.0, number as u64),
            _ => SamplingParams {
                top_p: 0.9,
                repetition_penalty: 1.2,
                ..SamplingParams::at(0.7, number as u64)
            },
        };
        Request { sampling, logprobs: true, ..Request::new(prompt, 10 + number * 11 % 71) }
    };
    (0..REQUESTS).map(request).collect()
}

type Reply = (Vec<u32>, Vec<u32>);

/// Submits all requests together; returns the tokens of each reply and the bits of their
/// log-probabilities.
fn replies(engine: &Engine, requests: &[Request]) -> Vec<Reply> {
    let submit = |request: &Request| engine.submit(request.clone()).expect("taken");
    let tickets: Vec<_> = requests.iter().map(submit).collect();
    let reply = |ticket: &engine::ResponseHandle| {
        let finished = ticket.wait(WAIT).expect("an end");
        assert!(finished.is_complete(), "{:?}", finished.reason);
        let bits = finished
            .reply
            .logprobs
            .iter()
            .map(|logprob| logprob.expect("a probability").to_bits())
            .collect();
        (finished.reply.tokens, bits)
    };
    tickets.iter().map(reply).collect()
}

fn start(loaded: Loaded, running_max: usize, step_tokens: usize, prefix_cache: bool) -> Engine {
    let options = EngineOptions {
        running_max,
        step_tokens,
        prefix_cache,
        ..EngineOptions::new(Watch::silent())
    };
    Engine::start_loaded(loaded, options).expect("an engine")
}

/// The expected replies: one request at a time, each prompt in one pass, without the prefix cache
/// and on one thread.
fn alone(name: &str, kept: Kept, requests: &[Request]) -> Vec<Reply> {
    let engine = start(load(name, kept, 1, ENOUGH), 1, 512, false);
    let expected = replies(&engine, requests);
    assert!(
        expected
            .iter()
            .zip(requests)
            .all(|(reply, request)| reply.0.len() == request.max_new_tokens)
    );
    assert_eq!(engine.stats().prefix_hit_tokens, 0);
    expected
}

struct Company {
    threads: usize,
    running_max: usize,
    step_tokens: usize,
    concurrency: usize,
}

impl Company {
    /// Compares the replies with `expected` in two rounds. The second round uses the prefix cache
    /// that the first one has filled.
    fn check(
        &self,
        name: &str,
        kept: Kept,
        requests: &[Request],
        expected: &[Reply],
    ) -> EngineStats {
        let Company { threads, running_max, step_tokens, concurrency } = *self;
        let engine = start(load(name, kept, threads, concurrency), running_max, step_tokens, true);
        for round in ["first", "again"] {
            for (number, (found, expected)) in
                replies(&engine, requests).iter().zip(expected).enumerate()
            {
                assert!(
                    found == expected,
                    "{name} {kept:?}, {running_max} at a time, {step_tokens} rows a pass, {threads} threads, {round}: \
                     request {number} gives other bits than alone"
                );
            }
        }
        let stats = engine.stats();
        assert!(stats.prefix_hit_tokens > 1000, "{stats:?}");
        assert_eq!((stats.running, stats.queued, stats.kv_blocks_used), (0, 0, 0), "{stats:?}");
        assert_eq!(stats.kv_blocks_free + stats.kv_blocks_cached, stats.kv_blocks);
        stats
    }
}

/// Batches of 1, 2, 7 and 32 sequences, with a KV cache for all of them and with one for a single
/// sequence.
const COMPANIES: [Company; 6] = [
    Company { threads: 2, running_max: 1, step_tokens: 17, concurrency: ENOUGH },
    Company { threads: 1, running_max: 2, step_tokens: 512, concurrency: ENOUGH },
    Company { threads: 2, running_max: 7, step_tokens: 61, concurrency: ENOUGH },
    Company { threads: 2, running_max: 32, step_tokens: 512, concurrency: ENOUGH },
    Company { threads: 1, running_max: 32, step_tokens: 33, concurrency: FEW },
    Company { threads: 2, running_max: 7, step_tokens: 5, concurrency: FEW },
];

#[test]
fn company_does_not_change_a_bit() {
    let requests = workload();
    for (name, kept) in [
        ("llama-gqa", AS_STORED),
        ("llama-gqa", (DtypeChoice::F32, None)),
        ("llama-gqa", (DtypeChoice::Int8, None)),
        ("llama-gqa", (DtypeChoice::Auto, Some(KvDtype::Int8))),
        ("mistral-sliding", AS_STORED),
        ("mistral-sliding", (DtypeChoice::Auto, Some(KvDtype::Int8))),
        ("qwen3", AS_STORED),
        ("olmo2", AS_STORED),
        ("phi3", AS_STORED),
        ("phi2", AS_STORED),
    ] {
        let expected = alone(name, kept, &requests);
        for company in COMPANIES {
            let stats = company.check(name, kept, &requests, &expected);
            let scarce = company.concurrency == FEW;
            assert_eq!((stats.preemptions > 0, stats.evictions > 0), (scarce, scarce), "{stats:?}");
        }
    }
}

#[test]
fn a_decoded_token_has_the_bits_of_a_prefilled_one() {
    let requests: Vec<Request> = workload().into_iter().take(6).collect();
    let expected = alone("llama-gqa", AS_STORED, &requests);
    let engine = start(load("llama-gqa", AS_STORED, 2, ENOUGH), 32, 512, false);
    for (request, (tokens, bits)) in requests.iter().zip(&expected) {
        // Computes each token of the reply again, with all earlier tokens as the prompt.
        let after = |count: usize| {
            let prompt = request.prompt.iter().chain(&tokens[..count]).copied().collect();
            Request { prompt, max_new_tokens: 1, ..request.clone() }
        };
        let prefilled = replies(&engine, &(0..tokens.len()).map(after).collect::<Vec<_>>());
        let decoded: Vec<Reply> =
            tokens.iter().zip(bits).map(|(&token, &bits)| (vec![token], vec![bits])).collect();
        assert!(prefilled == decoded, "a decoded token has other bits than a prefilled one");
    }
}

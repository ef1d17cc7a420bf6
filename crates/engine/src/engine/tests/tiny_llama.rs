//! Tests with the real forward pass of a tiny Llama with random weights: a response is
//! bit-identical alone and in any batch.

use checkpoint::Checkpoint;
use placement::{DeviceMapMode, DtypeChoice, Host, Limits, Machine, MaxMemory, plan};
use watch::Watch;

use super::toy_model::{TestRng, WAIT};
use crate::engine::{EmbedRequest, Engine, EngineOptions, Request};
use crate::grammar::tests::tokenizers::{END, VOCAB, bytes, tiny_model};
use crate::load::{LoadRequest, load};
use crate::sampling::SamplingParams;

/// An engine for a checkpoint, with a KV cache for `concurrency` sequences of `context` tokens.
pub fn engine(
    checkpoint: &Checkpoint,
    context: usize,
    concurrency: usize,
    options: EngineOptions,
) -> Engine {
    let machine =
        Machine { host: Host { total_bytes: 8 << 30, ..Host::default() }, ..Machine::default() };
    let (max_memory, mode) = (MaxMemory::default(), DeviceMapMode::Cpu);
    let limits = Limits {
        max_memory,
        mode,
        context,
        concurrency,
        dtype: DtypeChoice::Auto,
        kv_dtype: None,
        disk: false,
    };
    let plan = plan(&checkpoint.config, &checkpoint.inventory, &machine, &limits).expect("a plan");
    let watch = Watch::silent();
    let loaded =
        load(LoadRequest { threads: Some(2), ..LoadRequest::new(checkpoint, &plan, &watch) })
            .expect("a model");
    Engine::start_loaded(loaded, options).expect("an engine")
}

pub fn options() -> EngineOptions {
    EngineOptions {
        tokenizer: Some(bytes()),
        eos: vec![END],
        ..EngineOptions::new(Watch::silent())
    }
}

/// Requests that share prefixes. They return log-probabilities, which reveal a wrong bit in the
/// logits.
fn requests() -> Vec<Request> {
    let mut numbers = TestRng(3);
    let mut token = move || 1 + numbers.below(VOCAB - 1) as u32;
    let shared: Vec<u32> = (0..130).map(|_| token()).collect();
    (0..32usize)
        .map(|number| {
            let own = (0..1 + number * 5 % 60).map(|_| token());
            let mut request = Request::new(
                shared[..number * 37 % 131].iter().copied().chain(own).collect(),
                12 + number * 7 % 90,
            );
            request.sampling = if number % 2 == 0 {
                SamplingParams::greedy()
            } else {
                SamplingParams::at(1.0, number as u64)
            };
            (request.logprobs, request.ignore_eos) = (true, true);
            request
        })
        .collect()
}

type Bits = Vec<(Vec<u32>, Vec<u32>)>;

/// Runs all requests. Returns the tokens of each response and the bits of their log-probabilities.
fn run(engine: &Engine, requests: &[Request]) -> Bits {
    let handles: Vec<_> =
        requests.iter().map(|request| engine.submit(request.clone()).expect("accepted")).collect();
    handles
        .iter()
        .map(|handle| {
            let reply = handle.wait(WAIT).expect("a reply").reply;
            let bits = reply
                .logprobs
                .iter()
                .map(|logprob| logprob.expect("not forced").to_bits())
                .collect();
            (reply.tokens, bits)
        })
        .collect()
}

#[test]
fn every_bit_is_the_same_in_any_batch() {
    let folder = tempfile::tempdir().expect("a folder");
    let checkpoint = tiny_model(folder.path());
    let requests = requests();
    let alone =
        EngineOptions { running_max: 1, prefix_cache: false, prompt_lookup: false, ..options() };
    let expected = run(&engine(&checkpoint, 512, 2, alone), &requests);
    assert!(expected.iter().all(|(tokens, _)| tokens.len() >= 12));
    for (running_max, step_tokens, concurrency) in
        [(1, 512, 32), (2, 50, 32), (7, 33, 1), (32, 512, 32), (32, 19, 1)]
    {
        let engine = engine(
            &checkpoint,
            512,
            concurrency,
            EngineOptions { running_max, step_tokens, ..options() },
        );
        assert_eq!(
            run(&engine, &requests),
            expected,
            "{running_max} at a time, {step_tokens} tokens a step"
        );
        // Runs the requests again, now with all prefixes cached.
        assert_eq!(run(&engine, &requests), expected, "with prefix hits");
        let stats = engine.stats();
        assert!(stats.prefix_hit_tokens > 500 && stats.accepted_draft_tokens > 50, "{stats:?}");
        // With a concurrency of 1, the KV cache has 16 blocks, too few for seven sequences.
        assert_eq!(stats.preemptions > 0, concurrency == 1 && running_max >= 7, "{stats:?}");
    }
}

#[test]
fn embeddings_do_not_depend_on_other_requests() {
    let folder = tempfile::tempdir().expect("a folder");
    let checkpoint = tiny_model(folder.path());
    let tokens: Vec<u32> = (0..200).map(|i| 1 + i * 31 % 300).collect();
    let embed = |engine: &Engine| {
        let request = EmbedRequest { tokens: tokens.clone(), deadline: None, notify: None };
        let handle = engine.submit_embedding(request).expect("accepted");
        handle.wait(WAIT).expect("an embedding").embedding.expect("an embedding")
    };
    let expected = embed(&engine(&checkpoint, 512, 1, options()));
    assert_eq!(expected.len(), 64);
    assert!(expected.iter().any(|&x| x != 0.0) && expected.iter().all(|x| x.is_finite()));
    let busy = engine(&checkpoint, 512, 4, EngineOptions { step_tokens: 23, ..options() });
    let others: Vec<_> =
        requests().into_iter().map(|request| busy.submit(request).expect("accepted")).collect();
    assert_eq!(embed(&busy), expected);
    others.iter().for_each(|handle| drop(handle.wait(WAIT).expect("a reply")));
}

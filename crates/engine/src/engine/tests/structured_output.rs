//! Tests of grammars, stop strings and detokenization, with a tiny Llama with random weights and a
//! small tokenizer.

use error_kind::{ErrorKind, HasKind};
use std::time::Duration;

use serde_json::{Value, json};

use super::lifecycle::resident_bytes;
use super::tiny_llama::{engine, options};
use super::toy_model::WAIT;
use crate::engine::{
    Completion, Engine, EngineOptions, FinishReason, Request, RequestError, ResponseEvent,
    SubmitError,
};
use crate::grammar::tests::tokenizers::{END, bytes, tiny_model};
use crate::grammar::{Constraint, GrammarError, GrammarSettings};
use crate::sampling::SamplingParams;

fn schema() -> Constraint {
    Constraint::JsonSchema(json!({
        "type": "object",
        "properties": {
            "tool": {"enum": ["order", "wait", "quote"]},
            "quantity": {"type": "integer", "minimum": 0, "maximum": 99},
            "note": {"type": "string", "maxLength": 8},
            "sure": {"type": "boolean"}
        },
        "required": ["tool", "quantity", "note", "sure"],
        "additionalProperties": false
    }))
}

fn request(seed: u64) -> Request {
    Request {
        sampling: SamplingParams::at(1.0, seed),
        constraint: Some(schema()),
        ..Request::new(vec![1, 40, 50, 60], 200)
    }
}

fn run(engine: &Engine, requests: &[Request]) -> Vec<Completion> {
    let handles: Vec<_> =
        requests.iter().map(|request| engine.submit(request.clone()).expect("accepted")).collect();
    handles.iter().map(|handle| handle.wait(WAIT).expect("a reply")).collect()
}

fn check(completion: &Completion) {
    assert!(
        matches!(completion.reason, FinishReason::Grammar | FinishReason::Eos),
        "{:?}",
        completion.reason
    );
    let value: Value = serde_json::from_str(&completion.reply.text)
        .unwrap_or_else(|e| panic!("{:?}: {e}", completion.reply.text));
    assert_eq!(value.as_object().map(|object| object.len()), Some(4));
    assert!(["order", "wait", "quote"].contains(&value["tool"].as_str().expect("a tool")));
    assert!((0..=99).contains(&value["quantity"].as_i64().expect("a whole number")));
    assert!(
        value["note"].as_str().expect("a text").chars().count() <= 8 && value["sure"].is_boolean()
    );
}

#[test]
fn every_response_conforms_to_the_schema_in_any_batch() {
    let folder = tempfile::tempdir().expect("a folder");
    let checkpoint = tiny_model(folder.path());
    let requests: Vec<Request> = (0..60).map(request).collect();
    let alone = run(
        &engine(
            &checkpoint,
            256,
            1,
            EngineOptions { running_max: 1, mask_threads: 0, ..options() },
        ),
        &requests,
    );
    alone.iter().for_each(check);
    for (running_max, mask_threads, concurrency) in [(60, 1, 60), (7, 3, 2)] {
        let engine = engine(
            &checkpoint,
            256,
            concurrency,
            EngineOptions { running_max, mask_threads, ..options() },
        );
        for (alone, among) in alone.iter().zip(run(&engine, &requests)) {
            assert_eq!((&alone.reply, &alone.reason), (&among.reply, &among.reason));
        }
        let stats = engine.stats();
        assert!(
            stats.forced_tokens * 3 > stats.reply_tokens,
            "keys and punctuation are forced: {stats:?}"
        );
        assert!(
            stats.steps < stats.reply_tokens,
            "forced tokens take no forward pass of their own"
        );
    }
}

#[test]
fn drafts_under_a_schema_change_no_token() {
    let folder = tempfile::tempdir().expect("a folder");
    let checkpoint = tiny_model(folder.path());
    for canonical_tokens in [true, false] {
        let grammar = GrammarSettings { canonical_tokens, ..GrammarSettings::default() };
        let plain = EngineOptions { prompt_lookup: false, grammar, ..options() };
        let without = engine(&checkpoint, 512, 60, plain.clone());
        // Each prompt contains the response for another seed, so that drafts find matches.
        let requests: Vec<Request> = run(&without, &(0..60).map(request).collect::<Vec<_>>())
            .into_iter()
            .zip(60..)
            .map(|(seen, seed)| Request {
                prompt: [&[1], &seen.reply.tokens[..], &[60]].concat(),
                ..request(seed)
            })
            .map(|request| Request { logprobs: true, ..request })
            .collect();
        let expected = run(&without, &requests);
        expected.iter().for_each(check);
        for (running_max, mask_threads) in [(1, 0), (60, 1), (7, 2)] {
            let with = engine(
                &checkpoint,
                512,
                60,
                EngineOptions { prompt_lookup: true, running_max, mask_threads, ..plain.clone() },
            );
            for (expected, found) in expected.iter().zip(run(&with, &requests)) {
                assert_eq!((&expected.reply, &expected.reason), (&found.reply, &found.reason));
                assert_eq!(expected.forced_tokens, found.forced_tokens);
            }
            let stats = with.stats();
            // With 60 running sequences, only 4 rows of logits are left for drafts.
            assert!(running_max == 60 || stats.accepted_draft_tokens > 100, "{stats:?}");
        }
    }
}

#[test]
fn no_token_is_forced_without_canonical_tokens() {
    let folder = tempfile::tempdir().expect("a folder");
    let checkpoint = tiny_model(folder.path());
    let grammar = GrammarSettings { canonical_tokens: false, ..GrammarSettings::default() };
    let engine = engine(&checkpoint, 256, 8, EngineOptions { grammar, ..options() });
    for completion in run(&engine, &(0..20).map(request).collect::<Vec<_>>()) {
        check(&completion);
        assert_eq!(completion.forced_tokens, 0);
    }
}

#[test]
fn forced_tokens_are_counted_and_have_no_logprob() {
    let folder = tempfile::tempdir().expect("a folder");
    let engine = engine(&tiny_model(folder.path()), 256, 4, options());
    let constant = Constraint::JsonSchema(json!({"const": {"tool": "order"}}));
    let fixed =
        Request { constraint: Some(constant), logprobs: true, ..Request::new(vec![1, 2], 100) };
    let completion = run(&engine, std::slice::from_ref(&fixed)).remove(0);
    assert_eq!(
        (&completion.reason, completion.reply.text.as_str()),
        (&FinishReason::Grammar, r#"{"tool":"order"}"#)
    );
    assert_eq!(completion.forced_tokens, completion.reply.tokens.len());
    assert!(completion.reply.logprobs.iter().all(Option::is_none));
    let short = Request { max_new_tokens: 2, ..fixed };
    let completion = run(&engine, &[short]).remove(0);
    assert_eq!((completion.reason, completion.reply.tokens.len()), (FinishReason::Length, 2));
    let mixed = run(&engine, &[Request { logprobs: true, ..request(5) }]).remove(0);
    let forced = mixed.reply.logprobs.iter().filter(|logprob| logprob.is_none()).count();
    assert_eq!(forced, mixed.forced_tokens);
    assert!(forced > 0 && forced < mixed.reply.tokens.len());
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(engine.stats().queued, 0);
}

#[test]
fn a_schema_that_cannot_be_met_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let engine = engine(&tiny_model(folder.path()), 256, 4, options());
    let constraint =
        Some(Constraint::JsonSchema(json!({"type": "integer", "minimum": 3, "maximum": 1})));
    let refused = engine
        .submit(Request { constraint, ..Request::new(vec![1], 10) })
        .expect_err("no such number");
    let SubmitError::Request(RequestError::Grammar(GrammarError::Schema { cause })) = &refused
    else {
        panic!("{refused}")
    };
    assert!(cause.contains("minimum") || cause.contains("maximum"), "{cause}");
    assert_eq!(refused.kind(), ErrorKind::Usage);
    run(&engine, &[request(1)]).iter().for_each(check);
}

#[test]
fn stop_strings_end_the_text_before_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let engine = engine(&tiny_model(folder.path()), 512, 4, options());
    let free = Request {
        sampling: SamplingParams::at(1.0, 4),
        ignore_eos: true,
        ..Request::new(vec![1, 9], 120)
    };
    let whole = run(&engine, std::slice::from_ref(&free)).remove(0);
    let text: Vec<char> = whole.reply.text.chars().collect();
    assert!(text.len() > 60);
    for (start, length) in [(20, 1), (31, 3), (50, 4)] {
        let stop: String = text[start..start + length].iter().collect();
        let stopping =
            Request { stop_strings: vec!["no such text".to_owned(), stop.clone()], ..free.clone() };
        let handle = engine.submit(stopping).expect("accepted");
        let mut deltas = String::new();
        let completion = loop {
            match handle.next(WAIT).expect("an event") {
                ResponseEvent::Delta(delta) => deltas.push_str(&delta.text),
                ResponseEvent::Completion(completion) => break completion,
            }
        };
        let expected = whole.reply.text.split(&stop).next().expect("a beginning");
        assert_eq!(
            (&completion.reason, completion.reply.text.as_str(), deltas.as_str()),
            (&FinishReason::Stop, expected, expected)
        );
        assert!(whole.reply.tokens.starts_with(&completion.reply.tokens));
    }
}

#[test]
fn the_end_token_ends_an_unconstrained_response_and_is_not_part_of_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let engine = engine(&tiny_model(folder.path()), 1024, 8, options());
    let requests: Vec<Request> = (0..40)
        .map(|seed| Request {
            sampling: SamplingParams::at(2.0, seed),
            ..Request::new(vec![1, 7], 900)
        })
        .collect();
    let completion = run(&engine, &requests);
    let ended: Vec<_> =
        completion.iter().filter(|completion| completion.reason == FinishReason::Eos).collect();
    assert!(ended.len() > 10, "one in a few hundred tokens ends it");
    for completion in ended {
        assert_eq!(completion.stop_token, Some(END));
        assert!(!completion.reply.tokens.contains(&END));
        assert_eq!(
            completion.reply.text,
            bytes().decode(&completion.reply.tokens, true).expect("text")
        );
    }
}

#[test]
fn waiting_constrained_requests_take_little_memory() {
    let folder = tempfile::tempdir().expect("a folder");
    let engine = engine(&tiny_model(folder.path()), 256, 8, options());
    let wave = |count: u64| {
        let short = |seed| Request { max_new_tokens: 20, ..request(seed) };
        let handles: Vec<_> =
            (0..count).map(|seed| engine.submit(short(seed)).expect("accepted")).collect();
        let grown = resident_bytes();
        handles
            .iter()
            .for_each(|handle| assert!(handle.wait(WAIT).expect("a reply").is_complete()));
        grown
    };
    wave(300);
    let before = resident_bytes();
    let grown = wave(4000).saturating_sub(before);
    // Other tests run in this process at the same time, and their memory is measured too.
    assert!(grown < 100 << 20, "{grown} bytes more while 4,000 requests waited");
}

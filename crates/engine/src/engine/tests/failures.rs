//! Tests that invalid requests and failed forward passes do not affect other requests, and that a
//! fatal error is reported to all requests.

use std::time::{Duration, Instant};

use error_kind::{ErrorKind, HasKind};

use super::toy_model::{
    FAILURE, LOST, PANIC, POISON, Toy, WAIT, check, engine, options, pool, workload,
};
use crate::engine::{
    EmbedRequest, Engine, EngineOptions, FinishReason, Request, RequestError, SubmitError,
    WaitError,
};
use crate::grammar::{Constraint, GrammarError};
use crate::sampling::{SampleError, SamplingParams};

fn refusal(engine: &Engine, request: Request) -> RequestError {
    match engine.submit(request) {
        Err(SubmitError::Request(cause)) => cause,
        other => panic!("expected a refusal, found {other:?}"),
    }
}

#[test]
fn invalid_requests_are_refused_with_a_reason() {
    let engine = engine(20, options());
    assert_eq!(engine.context(), 400);
    assert_eq!(refusal(&engine, Request::new(Vec::new(), 5)), RequestError::EmptyPrompt);
    assert_eq!(
        refusal(&engine, Request::new(vec![1; 400], 5)),
        RequestError::PromptTooLong { tokens: 400, capacity: 399 }
    );
    let outside = refusal(&engine, Request::new(vec![1, 2, 61], 5));
    assert_eq!(outside, RequestError::Token { token: 61, position: 2, vocab: 61 });
    assert_eq!(refusal(&engine, Request::new(vec![1], 0)), RequestError::NoTokens);
    let wrong = Request { sampling: SamplingParams::at(f32::NAN, 1), ..Request::new(vec![1], 5) };
    assert!(matches!(
        refusal(&engine, wrong),
        RequestError::Sample(SampleError::Setting { name: "temperature", .. })
    ));
    let stop = Request { stop_strings: vec!["x".to_owned()], ..Request::new(vec![1], 5) };
    assert_eq!(refusal(&engine, stop), RequestError::NoTokenizer);
    let constrained =
        Request { constraint: Some(Constraint::JsonObject), ..Request::new(vec![1], 5) };
    assert_eq!(refusal(&engine, constrained), RequestError::Grammar(GrammarError::NoTokenizer));
    let empty =
        engine.submit_embedding(EmbedRequest { tokens: Vec::new(), deadline: None, notify: None });
    assert_eq!(
        empty.expect_err("nothing to embed"),
        SubmitError::Request(RequestError::EmptyPrompt)
    );
    assert_eq!(engine.stats().queued, 0);
}

#[test]
fn a_response_ends_at_the_end_of_the_context() {
    let engine = engine(3, options());
    assert_eq!(engine.context(), 96, "as many tokens as the KV blocks hold");
    let request = Request { ignore_eos: true, ..Request::new(vec![1; 95], 50) };
    let completion = engine.submit(request).expect("accepted").wait(WAIT).expect("a reply");
    assert_eq!((completion.reason, completion.reply.tokens.len()), (FinishReason::Length, 1));
    let request = Request { ignore_eos: true, ..Request::new(vec![1; 30], 500) };
    let completion = engine.submit(request).expect("accepted").wait(WAIT).expect("a reply");
    assert_eq!((completion.reason, completion.reply.tokens.len()), (FinishReason::Length, 66));
}

#[test]
fn nan_and_failed_forward_passes_end_only_their_own_requests() {
    let engine = engine(200, options());
    let requests = workload(11, 30);
    let submit = |request: &Request| engine.submit(request.clone()).expect("accepted");
    let good: Vec<_> = requests.iter().map(submit).collect();
    let bad: Vec<_> = (0..5).map(|_| submit(&Request::new(vec![3, POISON], 9))).collect();
    let better: Vec<_> = requests.iter().map(submit).collect();
    for handle in bad {
        let completion = handle.wait(WAIT).expect("an end");
        let FinishReason::Error(RequestError::Sample(SampleError::NotFinite {
            position: 2, ..
        })) = completion.reason
        else {
            panic!("{:?}", completion.reason)
        };
    }
    for (request, handle) in requests.iter().zip(good).chain(requests.iter().zip(better)) {
        check(request, &handle.wait(WAIT).expect("a reply"));
    }
    // A failed pass ends the requests in its batch; the engine continues.
    let failed = submit(&Request::new(vec![3, FAILURE], 9)).wait(WAIT).expect("an end");
    assert!(
        matches!(
            failed.reason,
            FinishReason::Error(RequestError::Forward { kind: ErrorKind::Timeout, .. })
        ),
        "{:?}",
        failed.reason
    );
    check(&requests[0], &submit(&requests[0]).wait(WAIT).expect("a reply"));
}

/// An engine that runs two requests at a time, with passes slow enough that other requests can be
/// submitted meanwhile.
fn slow_engine() -> Engine {
    let mut toy = Toy::new(100);
    toy.pass = Duration::from_millis(2);
    Engine::start(toy, pool(100), EngineOptions { running_max: 2, ..options() }).expect("an engine")
}

#[test]
fn an_engine_whose_gpu_hangs_ends_with_the_gpus_name() {
    let engine = slow_engine();
    let submit = |prompt| {
        engine.submit(Request { ignore_eos: true, ..Request::new(prompt, 60) }).expect("accepted")
    };
    let (lost, waiting) = (submit(vec![1, LOST]), submit(vec![4]));
    let completion = lost.wait(WAIT).expect("an end");
    let FinishReason::Error(cause) = completion.reason else { panic!("{:?}", completion.reason) };
    assert!(
        cause.kind() == ErrorKind::Timeout && cause.to_string().contains("CUDA device 3"),
        "{cause}"
    );
    // Other requests fail too: either because they are in the same pass, or because the engine
    // ends.
    match waiting.wait(WAIT) {
        Ok(completion) => {
            assert!(matches!(completion.reason, FinishReason::Error(RequestError::Forward { .. })))
        }
        Err(died) => {
            assert!(
                died.kind() == ErrorKind::Timeout && died.to_string().contains("CUDA device 3"),
                "{died}"
            )
        }
    }
    let until = Instant::now() + WAIT;
    while engine.fatal_error().is_none() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(1));
    }
    let refused = engine.submit(Request::new(vec![1], 1)).expect_err("dead");
    assert!(
        refused.kind() == ErrorKind::Timeout && refused.to_string().contains("CUDA device 3"),
        "{refused}"
    );
    let ended = engine.shutdown(WAIT).expect_err("it died");
    assert!(ended.kind() == ErrorKind::Timeout && !ended.to_string().contains("bug"), "{ended}");
}

#[test]
fn a_panic_is_reported_to_all_requests() {
    let engine = slow_engine();
    let submit = |prompt| {
        engine.submit(Request { ignore_eos: true, ..Request::new(prompt, 60) }).expect("accepted")
    };
    let handles = [submit(vec![1, 2]), submit(vec![1, PANIC]), submit(vec![4]), submit(vec![5])];
    for handle in &handles {
        let died = loop {
            match handle.next(WAIT) {
                Ok(_) => {}
                Err(other) => break other,
            }
        };
        let WaitError::Died(error) = died else { panic!("{died:?}") };
        assert!(error.cause.contains("the toy panics"), "{error}");
    }
    let refused = engine.submit(Request::new(vec![1], 1)).expect_err("dead");
    assert!(
        matches!(&refused, SubmitError::Died(error) if error.cause.contains("the toy panics")),
        "{refused}"
    );
    assert_eq!((refused.kind(), engine.fatal_error().is_some()), (ErrorKind::Bug, true));
    assert!(engine.shutdown(WAIT).is_err());
}

//! Bad input, cancellations, deadlines, failures: one request's trouble is nobody else's.

use error_kind::{ErrorKind, HasKind};
use std::time::{Duration, Instant};

use super::toy::{
    FAILURE, LOST, Numbers, PANIC, POISON, Toy, WAIT, check, engine, options, pool, workload,
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
fn wrong_requests_are_refused_with_a_reason() {
    let engine = engine(20, options());
    assert_eq!(engine.context(), 400);
    assert_eq!(refusal(&engine, Request::new(Vec::new(), 5)), RequestError::EmptyPrompt);
    assert_eq!(
        refusal(&engine, Request::new(vec![1; 400], 5)),
        RequestError::PromptTooLong { tokens: 400, room: 399 }
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
    let form = Request { constraint: Some(Constraint::JsonObject), ..Request::new(vec![1], 5) };
    assert_eq!(refusal(&engine, form), RequestError::Grammar(GrammarError::NoTokenizer));
    let empty =
        engine.submit_embedding(EmbedRequest { tokens: Vec::new(), deadline: None, notify: None });
    assert_eq!(
        empty.expect_err("nothing to embed"),
        SubmitError::Request(RequestError::EmptyPrompt)
    );
    assert_eq!(engine.stats().queued, 0);
}

#[test]
fn a_reply_ends_where_the_context_does() {
    let engine = engine(3, options());
    assert_eq!(engine.context(), 96, "as many tokens as there are blocks for");
    let request = Request { ignore_eos: true, ..Request::new(vec![1; 95], 50) };
    let finished = engine.submit(request).expect("taken").wait(WAIT).expect("a reply");
    assert_eq!((finished.reason, finished.reply.tokens.len()), (FinishReason::Length, 1));
    let request = Request { ignore_eos: true, ..Request::new(vec![1; 30], 500) };
    let finished = engine.submit(request).expect("taken").wait(WAIT).expect("a reply");
    assert_eq!((finished.reason, finished.reply.tokens.len()), (FinishReason::Length, 66));
}

#[test]
fn a_nan_and_a_failed_pass_end_their_own_requests() {
    let engine = engine(200, options());
    let requests = workload(11, 30);
    let submit = |request: &Request| engine.submit(request.clone()).expect("taken");
    let good: Vec<_> = requests.iter().map(submit).collect();
    let bad: Vec<_> = (0..5).map(|_| submit(&Request::new(vec![3, POISON], 9))).collect();
    let better: Vec<_> = requests.iter().map(submit).collect();
    for ticket in bad {
        let finished = ticket.wait(WAIT).expect("an end");
        let FinishReason::Error(RequestError::Sample(SampleError::NotFinite {
            position: 2, ..
        })) = finished.reason
        else {
            panic!("{:?}", finished.reason)
        };
    }
    for (request, ticket) in requests.iter().zip(good).chain(requests.iter().zip(better)) {
        check(request, &ticket.wait(WAIT).expect("a reply"));
    }
    // A pass that fails takes those with it that were in it; the engine goes on.
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

/// An engine that runs two requests at a time, and no faster than others can be submitted.
fn two_at_a_time() -> Engine {
    let mut toy = Toy::new(100);
    toy.pass = Duration::from_millis(2);
    Engine::start(toy, pool(100), EngineOptions { running_max: 2, ..options() }).expect("an engine")
}

#[test]
fn an_engine_whose_gpu_is_gone_ends_by_its_name() {
    let engine = two_at_a_time();
    let submit = |prompt| {
        engine.submit(Request { ignore_eos: true, ..Request::new(prompt, 60) }).expect("taken")
    };
    let (lost, waiting) = (submit(vec![1, LOST]), submit(vec![4]));
    let finished = lost.wait(WAIT).expect("an end");
    let FinishReason::Error(cause) = finished.reason else { panic!("{:?}", finished.reason) };
    assert!(
        cause.kind() == ErrorKind::Timeout && cause.to_string().contains("CUDA device 3"),
        "{cause}"
    );
    // Whatever else was asked of it hears of it too: in the same pass, or afterwards.
    match waiting.wait(WAIT) {
        Ok(finished) => {
            assert!(matches!(finished.reason, FinishReason::Error(RequestError::Forward { .. })))
        }
        Err(died) => {
            assert!(
                died.kind() == ErrorKind::Timeout && died.to_string().contains("CUDA device 3"),
                "{died}"
            )
        }
    }
    let until = std::time::Instant::now() + WAIT;
    while engine.fatal_error().is_none() && std::time::Instant::now() < until {
        std::thread::sleep(Duration::from_millis(1));
    }
    let refused = engine.submit(Request::new(vec![1], 1)).expect_err("dead");
    assert!(
        refused.kind() == ErrorKind::Timeout && refused.to_string().contains("CUDA device 3"),
        "{refused}"
    );
    let ended = engine.shutdown(WAIT).expect_err("it died");
    assert!(ended.kind() == ErrorKind::Timeout && !ended.to_string().contains("defect"), "{ended}");
}

#[test]
fn a_dead_engine_says_so_to_everyone() {
    let engine = two_at_a_time();
    let submit = |prompt| {
        engine.submit(Request { ignore_eos: true, ..Request::new(prompt, 60) }).expect("taken")
    };
    let tickets = [submit(vec![1, 2]), submit(vec![1, PANIC]), submit(vec![4]), submit(vec![5])];
    for ticket in &tickets {
        let died = loop {
            match ticket.next(WAIT) {
                Ok(_) => {}
                Err(other) => break other,
            }
        };
        let WaitError::Died(death) = died else { panic!("{died:?}") };
        assert!(death.cause.contains("the toy broke"), "{death}");
    }
    let refused = engine.submit(Request::new(vec![1], 1)).expect_err("dead");
    assert!(
        matches!(&refused, SubmitError::Died(death) if death.cause.contains("the toy broke")),
        "{refused}"
    );
    assert_eq!((refused.kind(), engine.fatal_error().is_some()), (ErrorKind::Bug, true));
    assert!(engine.shutdown(WAIT).is_err());
}

#[test]
fn deadlines_end_the_running_and_the_waiting() {
    let mut toy = Toy::new(100);
    toy.pass = Duration::from_millis(5);
    let engine = Engine::start(toy, pool(100), EngineOptions { running_max: 1, ..options() })
        .expect("an engine");
    let deadline = Some(Instant::now() + Duration::from_millis(150));
    let request = |deadline| Request { deadline, ignore_eos: true, ..Request::new(vec![1], 300) };
    let running = engine.submit(request(deadline)).expect("taken");
    let waiting = engine.submit(request(deadline)).expect("taken");
    let patient = engine.submit(Request { max_new_tokens: 3, ..request(None) }).expect("taken");
    let ran = running.wait(WAIT).expect("an end");
    assert_eq!(ran.reason, FinishReason::Deadline);
    assert!(!ran.reply.tokens.is_empty(), "what was made by then is there");
    let waited = waiting.wait(WAIT).expect("an end");
    assert_eq!((waited.reason, waited.reply.tokens.len()), (FinishReason::Deadline, 0));
    assert_eq!(patient.wait(WAIT).expect("a reply").reply.tokens.len(), 3);
}

#[test]
fn waits_end() {
    let mut toy = Toy::new(10);
    toy.pass = Duration::from_millis(300);
    let engine = Engine::start(toy, pool(10), options()).expect("an engine");
    let ticket = engine.submit(Request::new(vec![1], 1)).expect("taken");
    let timeout = ticket.wait(Duration::from_millis(20)).expect_err("too early");
    assert_eq!(
        (timeout.clone(), timeout.kind()),
        (WaitError::Timeout { limit_s: 0.02 }, ErrorKind::Timeout)
    );
    assert!(ticket.wait(WAIT).is_ok());
    assert_eq!(ticket.wait(WAIT).expect_err("taken"), WaitError::Over);
}

#[test]
fn a_full_queue_refuses() {
    let mut toy = Toy::new(10);
    toy.pass = Duration::from_millis(20);
    let options = EngineOptions { queue_limit: 5, running_max: 1, ..options() };
    let engine = Engine::start(toy, pool(10), options).expect("an engine");
    let outcomes: Vec<_> = (0..40).map(|_| engine.submit(Request::new(vec![1, 2], 2))).collect();
    let (taken, refused): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert!((5..10).contains(&taken.len()), "{}", taken.len());
    assert!(
        refused
            .into_iter()
            .flat_map(Result::err)
            .all(|cause| cause == SubmitError::QueueFull { limit: 5 })
    );
    taken
        .into_iter()
        .flatten()
        .for_each(|ticket| assert!(ticket.wait(WAIT).expect("a reply").is_complete()));
    assert!(engine.submit(Request::new(vec![1, 2], 2)).is_ok(), "there is room again");
}

#[test]
fn shutdown_finishes_what_it_can() {
    let requests = workload(12, 20);
    let first = engine(200, options());
    let tickets: Vec<_> =
        requests.iter().map(|request| first.submit(request.clone()).expect("taken")).collect();
    first.shutdown(WAIT).expect("an orderly end");
    for (request, ticket) in requests.iter().zip(tickets) {
        check(request, &ticket.wait(Duration::ZERO).expect("a reply that is there already"));
    }
    let mut toy = Toy::new(100);
    toy.pass = Duration::from_millis(5);
    let second = Engine::start(toy, pool(100), options()).expect("an engine");
    let ticket =
        second.submit(Request { ignore_eos: true, ..Request::new(vec![1], 300) }).expect("taken");
    second.shutdown(Duration::from_millis(50)).expect("an end all the same");
    assert_eq!(ticket.wait(Duration::ZERO).expect("an end").reason, FinishReason::Canceled);
}

#[test]
fn a_watch_can_stop_it() {
    let options = options();
    let watch = options.watch.clone();
    let engine = engine(20, options);
    let ticket =
        engine.submit(Request { ignore_eos: true, ..Request::new(vec![1], 390) }).expect("taken");
    watch.cancel();
    let finished = ticket.wait(WAIT).expect("an end");
    assert!(matches!(finished.reason, FinishReason::Canceled | FinishReason::Length));
}

#[test]
fn a_storm_of_cancellations_leaks_nothing() {
    let engine = engine(30, EngineOptions { running_max: 9, step_tokens: 40, ..options() });
    let mut numbers = Numbers(99);
    let mut kept = Vec::new();
    for request in workload(13, 600) {
        let ticket = engine.submit(request.clone()).expect("taken");
        match numbers.below(4) {
            0 => kept.push((request, ticket)),
            1 => drop(ticket),
            2 => {
                let _first = ticket.next(Duration::from_millis(1));
            }
            _ => {
                ticket.cancel();
                let reason = ticket.wait(WAIT).expect("an end").reason;
                assert!(!matches!(reason, FinishReason::Error(_)), "{reason:?}");
            }
        }
    }
    for (request, ticket) in kept {
        check(&request, &ticket.wait(WAIT).expect("a reply"));
    }
    std::thread::sleep(Duration::from_millis(300));
    let stats = engine.stats();
    assert_eq!((stats.running, stats.queued, stats.kv_blocks_used), (0, 0, 0));
    assert_eq!(stats.finished.values().sum::<u64>(), 600);
    assert!(stats.finished["canceled"] > 100, "{:?}", stats.finished);
}

/// Bytes of this process in memory.
pub fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    4096 * statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).expect("pages")
}

#[test]
fn ten_thousand_requests_at_once_and_flat_memory() {
    let engine = engine(64, EngineOptions { queue_limit: 10_000, ..options() });
    let wave = |count: usize| {
        let tickets: Vec<_> = (0..count)
            .map(|number| {
                engine
                    .submit(Request::new(
                        vec![1 + number as u32 % 50, 1 + number as u32 / 50 % 50, 7],
                        6,
                    ))
                    .expect("taken")
            })
            .collect();
        tickets
            .iter()
            .for_each(|ticket| assert!(ticket.wait(WAIT).expect("a reply").is_complete()));
    };
    wave(10_000);
    let before = resident_bytes();
    (0..5).for_each(|_| wave(2_000));
    let grown = resident_bytes().saturating_sub(before);
    // Other tests run in this process at the same time: their memory is in the figure.
    assert!(grown < 64 << 20, "{grown} bytes more after 10,000 requests more");
    let stats = engine.stats();
    assert_eq!(stats.finished.values().sum::<u64>(), 20_000);
    assert_eq!((stats.running, stats.queued, stats.kv_blocks_used), (0, 0, 0), "{stats:?}");
    assert_eq!(stats.kv_blocks_free + stats.kv_blocks_cached, stats.kv_blocks);
}

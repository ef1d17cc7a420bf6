//! Tests of deadlines, cancellations, a full queue and shutdown: every request ends, and neither
//! memory nor KV blocks leak.

use std::time::{Duration, Instant};

use error_kind::{ErrorKind, HasKind};

use super::toy_model::{TestRng, Toy, WAIT, check, engine, options, pool, workload};
use crate::engine::{Engine, EngineOptions, FinishReason, Request, SubmitError, WaitError};

#[test]
fn deadlines_end_running_and_waiting_requests() {
    let mut toy = Toy::new(100);
    toy.pass = Duration::from_millis(5);
    let engine = Engine::start(toy, pool(100), EngineOptions { running_max: 1, ..options() })
        .expect("an engine");
    let deadline = Some(Instant::now() + Duration::from_millis(150));
    let request = |deadline| Request { deadline, ignore_eos: true, ..Request::new(vec![1], 300) };
    let running = engine.submit(request(deadline)).expect("accepted");
    let waiting = engine.submit(request(deadline)).expect("accepted");
    let patient = engine.submit(Request { max_new_tokens: 3, ..request(None) }).expect("accepted");
    let ran = running.wait(WAIT).expect("an end");
    assert_eq!(ran.reason, FinishReason::Deadline);
    assert!(!ran.reply.tokens.is_empty(), "the tokens up to the deadline are returned");
    let waited = waiting.wait(WAIT).expect("an end");
    assert_eq!((waited.reason, waited.reply.tokens.len()), (FinishReason::Deadline, 0));
    assert_eq!(patient.wait(WAIT).expect("a reply").reply.tokens.len(), 3);
}

#[test]
fn waits_time_out_and_end_after_the_completion() {
    let mut toy = Toy::new(10);
    toy.pass = Duration::from_millis(300);
    let engine = Engine::start(toy, pool(10), options()).expect("an engine");
    let handle = engine.submit(Request::new(vec![1], 1)).expect("accepted");
    let timeout = handle.wait(Duration::from_millis(20)).expect_err("too early");
    assert_eq!(
        (timeout.clone(), timeout.kind()),
        (WaitError::Timeout { limit_s: 0.02 }, ErrorKind::Timeout)
    );
    assert!(handle.wait(WAIT).is_ok());
    assert_eq!(handle.wait(WAIT).expect_err("accepted"), WaitError::Over);
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
        .for_each(|handle| assert!(handle.wait(WAIT).expect("a reply").is_complete()));
    assert!(engine.submit(Request::new(vec![1, 2], 2)).is_ok(), "the queue has places again");
}

#[test]
fn shutdown_finishes_accepted_requests_and_cancels_at_its_limit() {
    let requests = workload(12, 20);
    let first = engine(200, options());
    let handles: Vec<_> =
        requests.iter().map(|request| first.submit(request.clone()).expect("accepted")).collect();
    first.shutdown(WAIT).expect("an orderly end");
    for (request, handle) in requests.iter().zip(handles) {
        check(request, &handle.wait(Duration::ZERO).expect("a reply that is there already"));
    }
    let mut toy = Toy::new(100);
    toy.pass = Duration::from_millis(5);
    let second = Engine::start(toy, pool(100), options()).expect("an engine");
    let handle = second
        .submit(Request { ignore_eos: true, ..Request::new(vec![1], 300) })
        .expect("accepted");
    second.shutdown(Duration::from_millis(50)).expect("an end all the same");
    assert_eq!(handle.wait(Duration::ZERO).expect("an end").reason, FinishReason::Canceled);
}

#[test]
fn a_canceled_watch_ends_all_requests() {
    let options = options();
    let watch = options.watch.clone();
    let engine = engine(20, options);
    let handle = engine
        .submit(Request { ignore_eos: true, ..Request::new(vec![1], 390) })
        .expect("accepted");
    watch.cancel();
    let completion = handle.wait(WAIT).expect("an end");
    assert!(matches!(completion.reason, FinishReason::Canceled | FinishReason::Length));
}

#[test]
fn many_cancellations_leak_nothing() {
    let engine = engine(30, EngineOptions { running_max: 9, step_tokens: 40, ..options() });
    let mut numbers = TestRng(99);
    let mut kept = Vec::new();
    for request in workload(13, 600) {
        let handle = engine.submit(request.clone()).expect("accepted");
        match numbers.below(4) {
            0 => kept.push((request, handle)),
            1 => drop(handle),
            2 => {
                let _first = handle.next(Duration::from_millis(1));
            }
            _ => {
                handle.cancel();
                let reason = handle.wait(WAIT).expect("an end").reason;
                assert!(!matches!(reason, FinishReason::Error(_)), "{reason:?}");
            }
        }
    }
    for (request, handle) in kept {
        check(&request, &handle.wait(WAIT).expect("a reply"));
    }
    std::thread::sleep(Duration::from_millis(300));
    let stats = engine.stats();
    assert_eq!((stats.running, stats.queued, stats.kv_blocks_used), (0, 0, 0));
    assert_eq!(stats.finished.values().sum::<u64>(), 600);
    assert!(stats.finished["canceled"] > 100, "{:?}", stats.finished);
}

/// Resident set size of this process in bytes.
pub fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    4096 * statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).expect("pages")
}

#[test]
fn memory_stays_flat_over_ten_thousand_requests_at_once() {
    let engine = engine(64, EngineOptions { queue_limit: 10_000, ..options() });
    let wave = |count: usize| {
        let handles: Vec<_> = (0..count)
            .map(|number| {
                engine
                    .submit(Request::new(
                        vec![1 + number as u32 % 50, 1 + number as u32 / 50 % 50, 7],
                        6,
                    ))
                    .expect("accepted")
            })
            .collect();
        handles
            .iter()
            .for_each(|handle| assert!(handle.wait(WAIT).expect("a reply").is_complete()));
    };
    wave(10_000);
    let before = resident_bytes();
    (0..5).for_each(|_| wave(2_000));
    let grown = resident_bytes().saturating_sub(before);
    // Other tests run in this process at the same time, and their memory is measured too.
    assert!(grown < 64 << 20, "{grown} bytes more after 10,000 requests more");
    let stats = engine.stats();
    assert_eq!(stats.finished.values().sum::<u64>(), 20_000);
    assert_eq!((stats.running, stats.queued, stats.kv_blocks_used), (0, 0, 0), "{stats:?}");
    assert_eq!(stats.kv_blocks_free + stats.kv_blocks_cached, stats.kv_blocks);
}

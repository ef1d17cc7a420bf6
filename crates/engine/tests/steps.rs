//! Tests that a step of a long run computes only its new tokens: its history is in the prefix
//! cache.

mod common;

use common::{TINY_LLAMA, TestLoad, TinyModel};
use engine::BLOCK_TOKENS;
use engine::bench::{BenchError, StepsOptions, bench_steps};
use watch::Watch;

const RUN: StepsOptions = StepsOptions { steps: 120, prompt_tokens: 20, reply_tokens: 8 };

#[test]
fn steps_reuse_the_cached_history() {
    let tiny = TinyModel::new(TINY_LLAMA, 1);
    let test_load = TestLoad { context: 4096, concurrency: 1, ..TestLoad::default() };
    let report =
        bench_steps(test_load.load(&tiny.path()).expect("load the model"), &RUN, &Watch::silent())
            .expect("measure the steps");
    let (steps, each) = (RUN.steps as u64, (RUN.prompt_tokens + RUN.reply_tokens) as u64);
    let submitted: u64 = (0..steps).map(|step| step * each + RUN.prompt_tokens as u64).sum();
    assert_eq!(report.submitted_tokens, submitted);
    // Each step computes its own tokens and at most one block of history: the last one, which was
    // not full and so not cached.
    let computed_max = steps * (RUN.prompt_tokens + RUN.reply_tokens + BLOCK_TOKENS) as u64;
    assert!(report.computed_tokens >= steps * RUN.prompt_tokens as u64, "{report:?}");
    assert!(report.computed_tokens <= computed_max, "{report:?}");
    assert_eq!(report.curve.len(), 20);
    assert_eq!(report.curve[10].history_tokens, 60 * each as usize);
    assert!(report.curve.iter().all(|point| point.step_s > 0.0));
}

#[test]
fn a_run_longer_than_the_context_is_an_error() {
    let tiny = TinyModel::new(TINY_LLAMA, 1);
    let test_load = TestLoad { context: 256, concurrency: 1, ..TestLoad::default() };
    let refused =
        bench_steps(test_load.load(&tiny.path()).expect("load the model"), &RUN, &Watch::silent());
    assert!(
        matches!(refused, Err(BenchError::Context { tokens: 3360, capacity: 256, .. })),
        "{refused:?}"
    );
}

//! A step of a long run computes its new tokens, not its history again.

mod common;

use common::{TINY_LLAMA, Tiny, Wish};
use engine::BLOCK_TOKENS;
use engine::bench::{BenchError, StepsOptions, bench_steps};
use watch::Watch;

const RUN: StepsOptions = StepsOptions { steps: 120, prompt_tokens: 20, reply_tokens: 8 };

#[test]
fn the_history_is_not_computed_again() {
    let tiny = Tiny::new(TINY_LLAMA, 1);
    let wish = Wish { context: 4096, concurrency: 1, ..Wish::default() };
    let report = bench_steps(wish.load(&tiny.path()).expect("it loads"), &RUN, &Watch::silent())
        .expect("a run");
    let (steps, each) = (RUN.steps as u64, (RUN.prompt_tokens + RUN.reply_tokens) as u64);
    let submitted: u64 = (0..steps).map(|step| step * each + RUN.prompt_tokens as u64).sum();
    assert_eq!(report.submitted_tokens, submitted);
    // A step's own tokens, and at most what is left of the last block that was not full.
    let most = steps * (RUN.prompt_tokens + RUN.reply_tokens + BLOCK_TOKENS) as u64;
    assert!(report.computed_tokens >= steps * RUN.prompt_tokens as u64, "{report:?}");
    assert!(report.computed_tokens <= most, "{report:?}");
    assert_eq!(report.curve.len(), 20);
    assert_eq!(report.curve[10].history_tokens, 60 * each as usize);
    assert!(report.curve.iter().all(|point| point.step_s > 0.0));
}

#[test]
fn a_run_longer_than_the_context_is_refused() {
    let tiny = Tiny::new(TINY_LLAMA, 1);
    let wish = Wish { context: 256, concurrency: 1, ..Wish::default() };
    let refused = bench_steps(wish.load(&tiny.path()).expect("it loads"), &RUN, &Watch::silent());
    assert!(
        matches!(refused, Err(BenchError::Context { tokens: 3360, room: 256, .. })),
        "{refused:?}"
    );
}

//! Measures how the duration of a step grows with the history of a long run.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use watch::{Stage, Watch};

use super::{BenchError, median};
use crate::engine::{Engine, EngineOptions, EngineStats, Request};
use crate::load::Loaded;

/// The run to measure: each step's prompt is the whole history plus some new tokens.
#[derive(Debug, Clone, Copy)]
pub struct StepsOptions {
    pub steps: usize,
    /// New prompt tokens of each step.
    pub prompt_tokens: usize,
    pub reply_tokens: usize,
}

/// Step times by length of the history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepsReport {
    pub steps: usize,
    /// New prompt tokens of each step.
    pub prompt_tokens: usize,
    pub reply_tokens: usize,
    /// Sum of the lengths of all prompts, each of which includes the whole history.
    pub submitted_tokens: u64,
    /// Prompt tokens that were computed because the prefix cache did not have them.
    pub computed_tokens: u64,
    /// Median step time of the first tenth of the steps.
    pub first_step_s: f64,
    /// Median step time of the last tenth of the steps.
    pub last_step_s: f64,
    /// Median step time of each twentieth of the run.
    pub curve: Vec<StepPoint>,
}

/// One point of the curve.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepPoint {
    /// The first step of the interval.
    pub step: usize,
    /// Length of the history before that step, in tokens.
    pub history_tokens: usize,
    /// Median step time of the interval.
    pub step_s: f64,
}

/// Longest wait for one step.
const STEP_LIMIT: Duration = Duration::from_secs(600);

/// Number of points of the curve.
const POINTS: usize = 20;

/// Computes the steps one after the other on an [`Engine`], as a run of an experiment does.
///
/// # Errors
/// [`BenchError::Context`] if the loaded context holds fewer tokens than all steps have;
/// [`BenchError::Step`] if a step fails; [`BenchError::Canceled`].
pub fn bench_steps(
    loaded: Loaded,
    options: &StepsOptions,
    watch: &Watch,
) -> Result<StepsReport, BenchError> {
    let progress = watch.thread("bench");
    progress.at(Stage::Bench, "steps of a long run", 0);
    let tokens_per_step = options.prompt_tokens + options.reply_tokens;
    let (tokens, capacity) = (options.steps * tokens_per_step, loaded.model.context());
    if tokens > capacity {
        return Err(BenchError::Context { steps: options.steps, tokens, capacity });
    }
    let vocab = loaded.model.config().vocab_size as u32;
    let failed = |step: usize, cause: String| BenchError::Step { step, cause };
    // Drafts are off, so that each token takes one pass: the tokens are random, so a draft's
    // acceptance rate would mean nothing.
    let engine_options = EngineOptions {
        mask_threads: 0,
        prompt_lookup: false,
        ..EngineOptions::new(watch.clone())
    };
    let engine = Engine::start_loaded(loaded, engine_options)
        .map_err(|error| failed(0, error.to_string()))?;
    let (mut history, mut seconds) =
        (Vec::with_capacity(tokens), Vec::with_capacity(options.steps));
    let before = engine.stats();
    let mut submitted_tokens = 0;
    for step in 0..options.steps {
        if watch.canceled() {
            return Err(BenchError::Canceled);
        }
        let from = history.len() as u32;
        history.extend(
            (from..from + options.prompt_tokens as u32).map(|i| i.wrapping_mul(7919) % vocab),
        );
        submitted_tokens += history.len() as u64;
        let request =
            Request { ignore_eos: true, ..Request::new(history.clone(), options.reply_tokens) };
        let started = Instant::now();
        let ticket = engine.submit(request).map_err(|error| failed(step, error.to_string()))?;
        let finished = ticket.wait(STEP_LIMIT).map_err(|error| failed(step, error.to_string()))?;
        seconds.push(started.elapsed().as_secs_f64());
        if finished.reply.tokens.len() != options.reply_tokens {
            return Err(failed(step, format!("its reply ended by {}", finished.reason.name())));
        }
        history.extend(&finished.reply.tokens);
        watch.beat();
    }
    Ok(report(options, &seconds, submitted_tokens, &before, &engine.stats()))
}

fn report(
    options: &StepsOptions,
    seconds: &[f64],
    submitted_tokens: u64,
    before: &EngineStats,
    after: &EngineStats,
) -> StepsReport {
    let tenth = seconds.len().div_ceil(10);
    let width = seconds.len().div_ceil(POINTS).max(1);
    let each = options.prompt_tokens + options.reply_tokens;
    let point = |(index, times): (usize, &[f64])| {
        let step = index * width;
        StepPoint { step, history_tokens: step * each, step_s: median(times) }
    };
    StepsReport {
        steps: options.steps,
        prompt_tokens: options.prompt_tokens,
        reply_tokens: options.reply_tokens,
        submitted_tokens,
        computed_tokens: after.prefill_tokens - before.prefill_tokens,
        first_step_s: median(&seconds[..tenth]),
        last_step_s: median(&seconds[seconds.len() - tenth..]),
        curve: seconds.chunks(width).enumerate().map(point).collect(),
    }
}

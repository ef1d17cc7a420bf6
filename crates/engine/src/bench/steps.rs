//! What a step of a long run costs as its history grows.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use watch::{Stage, Watch};

use super::{BenchError, median};
use crate::engine::{Engine, EngineOptions, EngineStats, Request};
use crate::load::Loaded;

/// A run to measure: each step's prompt is all that came before and some new tokens.
#[derive(Debug, Clone, Copy)]
pub struct StepsOptions {
    /// Steps of the run.
    pub steps: usize,
    /// Tokens that each step adds before its reply.
    pub prompt_tokens: usize,
    /// Tokens of each reply.
    pub reply_tokens: usize,
}

/// How steps' times go with the length of their history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepsReport {
    /// Steps of the run.
    pub steps: usize,
    /// Tokens that each step adds before its reply.
    pub prompt_tokens: usize,
    /// Tokens of each reply.
    pub reply_tokens: usize,
    /// Tokens of all prompts together, each with its whole history.
    pub submitted_tokens: u64,
    /// Those of them that were computed, because no block held them.
    pub computed_tokens: u64,
    /// Median time of a step in the first tenth, in seconds.
    pub first_step_s: f64,
    /// Median time of a step in the last tenth, in seconds.
    pub last_step_s: f64,
    /// The curve: medians over twentieths of the run.
    pub curve: Vec<StepPoint>,
}

/// One point of the curve.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepPoint {
    /// The first step that it stands for.
    pub step: usize,
    /// Tokens before that step's new ones.
    pub history_tokens: usize,
    /// The median time of a step, in seconds.
    pub step_s: f64,
}

/// How long a step may take at all.
const STEP_LIMIT: Duration = Duration::from_secs(600);

/// Points of the curve.
const POINTS: usize = 20;

/// Runs the steps one after the other on the scheduler, as a run of an experiment does.
///
/// # Errors
/// [`BenchError::Blocks`] where the load was planned for fewer tokens; [`BenchError::Step`] for a
/// step that failed.
pub fn bench_steps(
    loaded: Loaded,
    options: &StepsOptions,
    watch: &Watch,
) -> Result<StepsReport, BenchError> {
    let progress = watch.thread("bench");
    progress.at(Stage::Bench, "steps of a long run", 0);
    let each = options.prompt_tokens + options.reply_tokens;
    let (tokens, room) = (options.steps * each, loaded.model.context());
    if tokens > room {
        return Err(BenchError::Context { steps: options.steps, tokens, room });
    }
    let vocab = loaded.model.config().vocab_size as u32;
    let failed = |step: usize, cause: String| BenchError::Step { step, cause };
    // Each token takes a pass here: what is measured does not depend on how well random tokens can
    // be guessed.
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
        let began = Instant::now();
        let ticket = engine.submit(request).map_err(|error| failed(step, error.to_string()))?;
        let finished = ticket.wait(STEP_LIMIT).map_err(|error| failed(step, error.to_string()))?;
        seconds.push(began.elapsed().as_secs_f64());
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

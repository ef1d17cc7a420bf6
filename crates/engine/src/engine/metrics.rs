//! Engine statistics for dashboards and `/metrics`.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::FinishReason;
use crate::kv::{BlockUsage, KvPool};
use crate::scheduler::SchedulerStats;
use crate::weights::ExpertCacheStats;

/// How often the statistics are published.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(50);

/// Gauges and counters of an engine. Counters never decrease.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct EngineStats {
    /// Running requests, which hold KV blocks.
    pub running: usize,
    /// Accepted requests that have not started.
    pub queued: usize,
    /// All blocks of the KV cache.
    pub kv_blocks: usize,
    /// Blocks held by running requests.
    pub kv_blocks_used: usize,
    /// Blocks held by neither a request nor the prefix cache.
    pub kv_blocks_free: usize,
    /// Blocks held by the prefix cache alone; they are evicted when needed.
    pub kv_blocks_cached: usize,
    pub kv_bytes: u64,
    /// Forward passes.
    pub steps: u64,
    /// Ended requests by [`FinishReason::name`].
    pub finished: BTreeMap<&'static str, u64>,
    /// Tokens computed in prefill: prompts, and whole sequences again after a preemption.
    pub prefill_tokens: u64,
    /// Tokens that were not computed because the prefix cache had their blocks.
    pub prefix_hit_tokens: u64,
    /// Output tokens.
    pub reply_tokens: u64,
    /// Output tokens that a grammar forced.
    pub forced_tokens: u64,
    /// Draft tokens that were computed.
    pub draft_tokens: u64,
    /// Draft tokens that became output.
    pub accepted_draft_tokens: u64,
    /// Number of times that a request lost its KV blocks to an older request.
    pub preemptions: u64,
    /// Number of blocks evicted from the prefix cache.
    pub evictions: u64,
    /// Use of the cache of routed experts; `None` if none are on disk.
    pub expert_cache: Option<ExpertCacheStats>,
    /// Output tokens per second, over the last five seconds.
    pub reply_tok_s: f64,
    /// Prefilled tokens per second, over the last five seconds.
    pub prefill_tok_s: f64,
    /// Seconds spent in steps: the next three fields, embeddings and the scheduler's work.
    pub step_s: f64,
    /// Seconds spent in forward passes, except those of embeddings.
    pub forward_s: f64,
    /// Seconds spent waiting for grammar masks after forward passes.
    pub mask_wait_s: f64,
    /// Seconds spent sampling tokens.
    pub sample_s: f64,
}

impl EngineStats {
    pub(super) fn set_scheduler(&mut self, scheduler: &SchedulerStats) {
        self.steps = scheduler.steps;
        self.prefill_tokens = scheduler.prefill_tokens;
        self.prefix_hit_tokens = scheduler.prefix_hit_tokens;
        self.reply_tokens = scheduler.reply_tokens;
        self.forced_tokens = scheduler.forced_tokens;
        self.draft_tokens = scheduler.draft_tokens;
        self.accepted_draft_tokens = scheduler.accepted_draft_tokens;
        self.preemptions = scheduler.preemptions;
    }

    pub(super) fn set_kv_cache(&mut self, usage: &BlockUsage, evictions: u64) {
        self.kv_blocks_free = usage.free;
        self.kv_blocks_cached = usage.cached;
        self.kv_blocks_used = usage.blocks - usage.free - usage.cached;
        self.evictions = evictions;
    }
}

/// Collects the statistics on the engine's thread.
pub(super) struct MetricsRecorder {
    stats: EngineStats,
    rates: TokenRates,
    published: Option<Instant>,
}

impl MetricsRecorder {
    pub fn new(pool: &KvPool) -> Self {
        let stats = EngineStats {
            kv_blocks: pool.blocks(),
            kv_bytes: pool.bytes(),
            ..EngineStats::default()
        };
        MetricsRecorder { stats, rates: TokenRates::default(), published: None }
    }

    pub fn add_step(&mut self, elapsed: Duration) {
        self.stats.step_s += elapsed.as_secs_f64();
    }

    /// Adds the duration of a forward pass that began at `began`; returns the current time.
    pub fn add_forward(&mut self, began: Instant) -> Instant {
        add_elapsed(&mut self.stats.forward_s, began)
    }

    /// Adds the duration of a wait for masks that began at `began`; returns the current time.
    pub fn add_mask_wait(&mut self, began: Instant) -> Instant {
        add_elapsed(&mut self.stats.mask_wait_s, began)
    }

    pub fn add_sampling(&mut self, began: Instant) {
        add_elapsed(&mut self.stats.sample_s, began);
    }

    /// Adds the tokens of a step, given the counters before and after it.
    pub fn add_tokens(&mut self, before: &SchedulerStats, after: &SchedulerStats) {
        self.rates.add(StepTokens {
            at: Instant::now(),
            prefill: after.prefill_tokens - before.prefill_tokens,
            reply: after.reply_tokens - before.reply_tokens,
        });
    }

    pub fn add_finished(&mut self, reason: &FinishReason) {
        *self.stats.finished.entry(reason.name()).or_default() += 1;
    }

    /// The statistics, for the caller to complete and publish; `None` if the interval has not
    /// passed and `now` is false.
    pub fn due(&mut self, now: bool) -> Option<&mut EngineStats> {
        let time = Instant::now();
        let is_due = |last: Instant| time.duration_since(last) >= PUBLISH_INTERVAL;
        if !now && !self.published.is_none_or(is_due) {
            return None;
        }
        self.published = Some(time);
        (self.stats.prefill_tok_s, self.stats.reply_tok_s) = self.rates.per_second(time);
        Some(&mut self.stats)
    }
}

fn add_elapsed(seconds: &mut f64, began: Instant) -> Instant {
    let now = Instant::now();
    *seconds += now.duration_since(began).as_secs_f64();
    now
}

/// Tokens per second over a sliding window.
#[derive(Default)]
struct TokenRates {
    steps: VecDeque<StepTokens>,
}

struct StepTokens {
    at: Instant,
    prefill: u64,
    reply: u64,
}

impl TokenRates {
    const WINDOW: Duration = Duration::from_secs(5);

    fn add(&mut self, step: StepTokens) {
        let now = step.at;
        self.steps.push_back(step);
        self.drop_old(now);
    }

    /// Prefilled tokens and output tokens per second.
    fn per_second(&mut self, now: Instant) -> (f64, f64) {
        self.drop_old(now);
        let Some(first) = self.steps.front() else { return (0.0, 0.0) };
        let seconds = now.duration_since(first.at).as_secs_f64().max(0.1);
        let prefill: u64 = self.steps.iter().map(|step| step.prefill).sum();
        let reply: u64 = self.steps.iter().map(|step| step.reply).sum();
        (prefill as f64 / seconds, reply as f64 / seconds)
    }

    fn drop_old(&mut self, now: Instant) {
        while self.steps.front().is_some_and(|step| now.duration_since(step.at) > Self::WINDOW) {
            self.steps.pop_front();
        }
    }
}

//! Figures for dashboards and `/metrics`.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde::Serialize;

/// What an engine does and did. Counters only grow.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct EngineStats {
    /// Requests that have blocks.
    pub running: usize,
    /// Requests that wait.
    pub queued: usize,
    /// Blocks of the KV cache.
    pub kv_blocks: usize,
    /// Blocks that running requests hold.
    pub kv_blocks_used: usize,
    /// Blocks that nobody holds.
    pub kv_blocks_free: usize,
    /// Blocks kept for equal prefixes to come; they are given up when needed.
    pub kv_blocks_cached: usize,
    /// Bytes of the KV cache, all blocks.
    pub kv_bytes: u64,
    /// Passes.
    pub steps: u64,
    /// Requests that ended, by reason.
    pub finished: BTreeMap<&'static str, u64>,
    /// Tokens of prompts and of preempted replies that were computed.
    pub prefill_tokens: u64,
    /// Tokens that were not computed, because their blocks were there.
    pub prefix_hit_tokens: u64,
    /// Tokens of replies.
    pub reply_tokens: u64,
    /// Those of them that a form forced.
    pub forced_tokens: u64,
    /// Tokens that were computed as drafts.
    pub draft_tokens: u64,
    /// Those of them that became the reply.
    pub accepted_draft_tokens: u64,
    /// Requests whose blocks were taken from them for an older one.
    pub preemptions: u64,
    /// Cached blocks that were given up.
    pub evictions: u64,
    /// Tokens of replies a second, over the last seconds.
    pub reply_tok_s: f64,
    /// Tokens of prompts a second, over the last seconds.
    pub prefill_tok_s: f64,
    /// Seconds at work: all of the following and what lies between.
    pub step_s: f64,
    /// Seconds in forward passes.
    pub forward_s: f64,
    /// Seconds in which a computed row waited for its mask.
    pub mask_wait_s: f64,
    /// Seconds in which tokens were chosen from logits.
    pub sample_s: f64,
}

/// Rates over the last seconds.
#[derive(Default)]
pub(super) struct Rates {
    steps: VecDeque<(Instant, u64, u64)>,
}

impl Rates {
    const WINDOW: Duration = Duration::from_secs(5);

    /// Adds a step's tokens.
    pub fn add(&mut self, now: Instant, prefill: u64, reply: u64) {
        self.steps.push_back((now, prefill, reply));
        self.forget(now);
    }

    /// Prefill and reply tokens a second.
    pub fn rates(&mut self, now: Instant) -> (f64, f64) {
        self.forget(now);
        let Some(&(since, ..)) = self.steps.front() else { return (0.0, 0.0) };
        let seconds = now.duration_since(since).as_secs_f64().max(0.1);
        let sum = |sums: (u64, u64), step: &(Instant, u64, u64)| (sums.0 + step.1, sums.1 + step.2);
        let (prefill, reply) = self.steps.iter().fold((0, 0), sum);
        (prefill as f64 / seconds, reply as f64 / seconds)
    }

    fn forget(&mut self, now: Instant) {
        while self.steps.front().is_some_and(|step| now.duration_since(step.0) > Self::WINDOW) {
            self.steps.pop_front();
        }
    }
}

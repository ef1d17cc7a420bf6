//! Counters of the scheduler; they only grow.

use serde::Serialize;

/// What the scheduler has done so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SchedulerStats {
    /// Forward passes.
    pub steps: u64,
    pub prefill_tokens: u64,
    pub prefix_hit_tokens: u64,
    pub reply_tokens: u64,
    pub forced_tokens: u64,
    pub draft_tokens: u64,
    pub accepted_draft_tokens: u64,
    pub preemptions: u64,
}

/// Draft tokens of a response. They change how long it takes, not what it says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DraftStats {
    /// Draft tokens that were computed.
    pub tokens: usize,
    /// Draft tokens that became part of the response.
    pub accepted: usize,
}

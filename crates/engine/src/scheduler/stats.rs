//! Counters of the scheduler; they never decrease.

use serde::Serialize;

/// Counters since the scheduler was created.
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

/// Draft tokens of a response. They affect its duration, not its content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DraftStats {
    /// Draft tokens that were computed.
    pub tokens: usize,
    /// Draft tokens that became part of the response.
    pub accepted: usize,
}

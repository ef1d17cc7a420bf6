//! Token budget of one step.

use std::collections::BTreeSet;

use crate::kv::{KvCacheManager, PrefixKey};
use crate::scheduler::{ScheduledSequence, SchedulerConfig, Sequence};

/// The budget that is left in a step, and the sequences scheduled so far.
pub(super) struct StepBudget {
    /// Number of tokens left.
    pub rows: usize,
    /// Number of rows with logits left. Each sequence whose last token is computed needs one.
    logits: usize,
    scheduled: Vec<ScheduledSequence>,
    /// Keys of the KV blocks that this step computes; other sequences with the same next block
    /// wait.
    prefix_keys: BTreeSet<PrefixKey>,
}

impl StepBudget {
    pub fn new(config: &SchedulerConfig) -> Self {
        StepBudget {
            rows: config.step_tokens,
            logits: config.logits_rows_max,
            scheduled: Vec::new(),
            prefix_keys: BTreeSet::new(),
        }
    }

    /// Schedules up to `limit` of a sequence's remaining tokens. If no row with logits is left, the
    /// sequence's last token is postponed to the next step.
    pub fn schedule<O>(&mut self, sequence: &Sequence<O>, limit: usize) {
        let mut rows = sequence.remaining().min(limit);
        if rows == sequence.remaining() {
            if self.logits == 0 {
                rows -= 1;
            } else {
                self.logits -= 1;
            }
        }
        if rows > 0 {
            self.rows -= rows;
            self.scheduled.push(ScheduledSequence { seq_id: sequence.seq_id, rows });
        }
    }

    /// Schedules a sequence's prompt, unless another sequence computes the same next block in this
    /// step.
    pub fn schedule_prompt<O>(&mut self, sequence: &Sequence<O>, kv: &KvCacheManager) {
        let key = kv.prefix_key(&sequence.table, &sequence.tokens, sequence.computed);
        if key.is_none_or(|key| self.prefix_keys.insert(key)) {
            self.schedule(sequence, self.rows);
        }
    }

    pub fn into_scheduled(self) -> Vec<ScheduledSequence> {
        self.scheduled
    }
}

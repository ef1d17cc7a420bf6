//! Token budget of one step.

use std::collections::BTreeSet;

use crate::kv::{KvCacheManager, PrefixKey};
use crate::scheduler::{ScheduledSequence, SchedulerConfig, Sequence};

/// What is left to distribute in a step.
pub(super) struct StepBudget {
    /// Tokens.
    pub rows: usize,
    /// Rows with logits: one for each sequence that is computed to its end.
    logits: usize,
    scheduled: Vec<ScheduledSequence>,
    /// Keys of the blocks that this step computes; other sequences wait for them.
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

    /// Schedules up to `limit` of a sequence's remaining tokens. Without a row of logits left, the
    /// last token waits for the next step.
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

    /// Schedules a prompt, unless another sequence computes its next block in this step.
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

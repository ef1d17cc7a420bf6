//! Admission of waiting sequences, first come first served.

use std::time::Instant;

use super::StepBudget;
use crate::kv::{BLOCK_TOKENS, KvCacheManager};
use crate::scheduler::{FinishedSequence, Scheduler, Sequence, SequenceOutput};

impl<O: SequenceOutput> Scheduler<O> {
    /// Admits waiting sequences while tokens are left in the budget, fewer than `running_max`
    /// sequences are running, and there are KV blocks for the sequence's whole prompt. If there are
    /// too few blocks for the first waiting sequence, all others wait too. Returns how many
    /// sequences were admitted for the first time.
    pub(super) fn admit(
        &mut self,
        budget: &mut StepBudget,
        kv: &mut KvCacheManager,
        now: Instant,
    ) -> usize {
        let mut started = 0;
        while budget.rows > 0 && self.running.len() < self.config.running_max {
            let Some(first) = self.waiting.front_mut() else { break };
            if let Some(reason) = first.abort_reason(now).or_else(|| first.start()) {
                let ended = self.waiting.pop();
                self.finished.extend(ended.map(|sequence| FinishedSequence { sequence, reason }));
                continue;
            }
            let generates = first.generation().is_some();
            let matched =
                if generates { kv.match_prefix(&mut first.table, &first.tokens, 0) } else { 0 };
            let needed = first.tokens.len().div_ceil(BLOCK_TOKENS) - first.table.blocks.len();
            // Requires one more free block for each running sequence; otherwise the new sequence
            // might be preempted at once.
            if !self.running.is_empty() && !kv.can_allocate(needed + self.running.len()) {
                kv.free(&mut first.table);
                break;
            }
            let Some(mut sequence) = self.waiting.pop() else { break };
            if sequence.started.is_none() {
                sequence.started = Some(now);
                started += 1;
            }
            self.stats.prefix_hit_tokens += sequence.prefix_matched(matched);
            let index = self.insert_running(sequence);
            if generates {
                budget.schedule_prompt(&self.running[index], kv);
            }
        }
        started
    }

    fn insert_running(&mut self, sequence: Sequence<O>) -> usize {
        let index = self.running.partition_point(|other| other.seq_id < sequence.seq_id);
        self.running.insert(index, sequence);
        index
    }
}

//! The scheduling policy: which sequences are computed next, admitted and preempted.

mod admission;
mod budget;
mod preemption;

use std::time::Instant;

use self::budget::StepBudget;
use super::{ScheduledSequence, Scheduler, Sequence, SequenceOutput};
use crate::kv::KvCacheManager;

impl<O: SequenceOutput> Scheduler<O> {
    /// Distributes the token budget of a step among sequences and allocates their KV blocks. Also
    /// returns how many sequences left the waiting queue for the first time.
    pub(super) fn schedule_sequences(
        &mut self,
        kv: &mut KvCacheManager,
        now: Instant,
    ) -> (Vec<ScheduledSequence>, usize) {
        let mut budget = StepBudget::new(&self.config);
        self.schedule_decodes(&mut budget);
        self.schedule_prompts(&mut budget, kv);
        let started = self.admit(&mut budget, kv, now);
        let mut scheduled = budget.into_scheduled();
        scheduled.sort_unstable_by_key(|sequence| sequence.seq_id);
        (self.allocate_all(scheduled, kv), started)
    }

    /// Schedules decoding sequences, starting with those that were computed least recently.
    /// Reserves an eighth of the budget for prompts, if there are any.
    fn schedule_decodes(&self, budget: &mut StepBudget) {
        let prompts =
            self.running.iter().any(|sequence| !sequence.decoding) || !self.waiting.is_empty();
        let reserved = if prompts { self.config.step_tokens / 8 } else { 0 };
        let mut order: Vec<&Sequence<O>> =
            self.running.iter().filter(|sequence| sequence.decoding).collect();
        order.sort_unstable_by_key(|sequence| (sequence.last_step, sequence.seq_id));
        for sequence in order {
            budget.schedule(sequence, budget.rows.saturating_sub(reserved));
        }
    }

    /// Schedules running sequences whose prompt is not computed yet, in order of submission. Blocks
    /// that other sequences have cached in the meantime are reused.
    fn schedule_prompts(&mut self, budget: &mut StepBudget, kv: &mut KvCacheManager) {
        for index in 0..self.running.len() {
            let sequence = &mut self.running[index];
            if sequence.decoding || sequence.generation().is_none() || budget.rows == 0 {
                continue;
            }
            let matched = kv.match_prefix(&mut sequence.table, &sequence.tokens, sequence.computed);
            self.stats.prefix_hit_tokens += sequence.prefix_matched(matched);
            budget.schedule_prompt(sequence, kv);
        }
    }
}

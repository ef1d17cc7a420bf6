//! Applies the results of a step: marks tokens as computed, accepts sampled tokens, ends sequences.

use super::{
    FinishReason, RequestError, SampleTarget, Scheduler, SchedulerOutput, SequenceOutput, Task,
};
use crate::kv::KvCacheManager;
use crate::sampling::SampledToken;

/// The tokens sampled for one target: after the sequence's last token and after each draft segment,
/// up to and including the first token that differs from the draft. An error can only be the last
/// entry.
pub(crate) type SampledTokens = Vec<Result<SampledToken, RequestError>>;

impl<O: SequenceOutput> Scheduler<O> {
    /// Applies the results of a step to its sequences; `sampled` has one entry for each target.
    pub fn update(
        &mut self,
        scheduled: SchedulerOutput,
        sampled: Vec<SampledTokens>,
        kv: &mut KvCacheManager,
    ) {
        self.stats.steps += 1;
        self.mark_computed(&scheduled, kv);
        for (target, sampled) in scheduled.targets.into_iter().zip(sampled) {
            self.accept(target, sampled, kv);
        }
    }

    /// Ends all sequences of a step whose forward pass failed. KV blocks that earlier steps
    /// computed stay valid.
    pub fn fail(
        &mut self,
        scheduled: &SchedulerOutput,
        cause: &RequestError,
        kv: &mut KvCacheManager,
    ) {
        self.stats.steps += 1;
        for scheduled in &scheduled.sequences {
            if let Some(index) = self.running_index(scheduled.seq_id) {
                self.finish(index, FinishReason::Error(cause.clone()), kv);
            }
        }
    }

    /// Marks the scheduled tokens as computed and adds the blocks that are now full to the prefix
    /// cache.
    fn mark_computed(&mut self, scheduled: &SchedulerOutput, kv: &mut KvCacheManager) {
        for scheduled in &scheduled.sequences {
            let Some(index) = self.running_index(scheduled.seq_id) else { continue };
            let sequence = &mut self.running[index];
            if !sequence.decoding {
                self.stats.prefill_tokens += scheduled.rows as u64;
            }
            sequence.computed += scheduled.rows;
            sequence.last_step = self.stats.steps;
            kv.cache_blocks(&mut sequence.table, &sequence.tokens, sequence.computed);
        }
    }

    /// Accepts sampled tokens up to the first rejected draft token, then delivers the new tokens or
    /// ends the sequence.
    fn accept(&mut self, target: SampleTarget, sampled: SampledTokens, kv: &mut KvCacheManager) {
        let SampleTarget { seq_id, draft } = target;
        let Some(index) = self.running_index(seq_id) else { return };
        let sequence = &mut self.running[index];
        let Task::Generate(generation) = &mut sequence.task else { return };
        sequence.decoding = true;
        let (before, forced) = (sequence.tokens.len(), generation.forced_tokens);
        let (tokens, output) = (&mut sequence.tokens, &mut sequence.output);
        let reason = generation.accept(sampled, &draft.segments, tokens, output);
        let new_tokens = &sequence.tokens[before..];
        let accepted = draft.accepted(new_tokens);
        generation.drafts.tokens += draft.rows();
        generation.drafts.accepted += accepted;
        self.stats.reply_tokens += new_tokens.len() as u64;
        self.stats.forced_tokens += (generation.forced_tokens - forced) as u64;
        self.stats.draft_tokens += draft.rows() as u64;
        self.stats.accepted_draft_tokens += accepted as u64;
        if let Some(reason) = reason {
            return self.finish(index, reason, kv);
        }
        // The last token must be computed in any case, because its logits are needed.
        sequence.computed = (sequence.computed + accepted).min(sequence.tokens.len() - 1);
        kv.cache_blocks(&mut sequence.table, &sequence.tokens, sequence.computed);
        kv.trim(&mut sequence.table, sequence.tokens.len());
        sequence.output.deliver();
    }
}

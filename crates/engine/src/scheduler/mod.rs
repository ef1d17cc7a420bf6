//! Decides which tokens the next forward pass computes, and applies the pass's results to the
//! sequences.
//!
//! Follows vLLM V1's scheduler: one token budget per step for prefill and decode (chunked prefill),
//! first come first served, preemption of the youngest sequence with recomputation. It differs from
//! vLLM's where this makes a response independent of concurrent requests or saves work:
//! - while sequences decode, an eighth of the budget is reserved for prompts, so that both
//!   progress;
//! - if another sequence computes the same KV block in this step, a sequence waits for this block
//!   and then shares it;
//! - a preempted sequence returns to the waiting queue, which is in order of submission;
//! - drafts are proposed from the sequence's own tokens ([`ngram_proposer`]) and use only the
//!   unused part of the budget; they never preempt a sequence;
//! - tokens that a grammar forces are appended without sampling, as is the end of a thinking whose
//!   budget is used up.
//!
//! The scheduler is pure: it owns no thread, channel or model, does no I/O and takes the time as an
//! argument. Sequences report to the engine through [`SequenceOutput`].

mod embedding;
mod error;
mod finish_reason;
mod generation;
mod ngram_proposer;
mod output;
mod policy;
mod queue;
mod sequence;
mod stats;
mod thinking;
mod update;

#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use llguidance::CancellationHandle;

use crate::grammar::GrammarMatcher;
use crate::kv::KvCacheManager;

pub use error::RequestError;
pub use finish_reason::FinishReason;
pub(crate) use generation::{GenerationState, StopConditions};
pub(crate) use ngram_proposer::{Draft, DraftLength};
pub(crate) use output::{SampleTarget, ScheduledSequence, SchedulerOutput};
use queue::WaitingQueue;
pub(crate) use sequence::{Sequence, SequenceOutput, Task};
pub use stats::DraftStats;
pub(crate) use stats::SchedulerStats;
pub use thinking::Thinking;
pub(crate) use thinking::{ReplySection, ThinkingPhase, ThinkingStep};
pub(crate) use update::SampledTokens;

/// How often waiting sequences are checked for deadlines and cancellations.
const QUEUE_SWEEP_INTERVAL: Duration = Duration::from_millis(20);

/// Limits of a step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SchedulerConfig {
    /// Maximum number of tokens in one step, including draft tokens.
    pub step_tokens: usize,
    /// Maximum number of running sequences, which hold KV blocks.
    pub running_max: usize,
    /// Maximum number of rows in one step whose logits or hidden states the model returns.
    pub logits_rows_max: usize,
    /// Whether drafts are proposed.
    pub prompt_lookup: bool,
}

/// A sequence that has ended and no longer holds KV blocks.
pub(crate) struct FinishedSequence<O> {
    pub sequence: Sequence<O>,
    pub reason: FinishReason,
}

/// The waiting and the running sequences.
pub(crate) struct Scheduler<O> {
    config: SchedulerConfig,
    waiting: WaitingQueue<O>,
    /// In order of `seq_id`, which is the order of submission.
    running: Vec<Sequence<O>>,
    /// Sequences that ended since the last call of [`Scheduler::take_finished`].
    finished: Vec<FinishedSequence<O>>,
    last_sweep: Option<Instant>,
    pub stats: SchedulerStats,
}

impl<O: SequenceOutput> Scheduler<O> {
    pub fn new(config: SchedulerConfig) -> Self {
        Scheduler {
            config,
            waiting: WaitingQueue::default(),
            running: Vec::new(),
            finished: Vec::new(),
            last_sweep: None,
            stats: SchedulerStats::default(),
        }
    }

    /// Adds a sequence to the waiting queue.
    pub fn add(&mut self, sequence: Sequence<O>) {
        self.waiting.push(sequence);
    }

    /// Whether no sequence is waiting or running.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }

    pub fn running(&self) -> &[Sequence<O>] {
        &self.running
    }

    /// Plans the next forward pass: allocates KV blocks, preempts sequences if blocks run out, and
    /// proposes drafts. Ends sequences that are canceled or past their deadline.
    pub fn schedule(&mut self, kv: &mut KvCacheManager, now: Instant) -> SchedulerOutput {
        self.sweep(kv, now);
        let (sequences, started) = self.schedule_sequences(kv, now);
        let targets = self.sample_targets(&sequences, kv);
        SchedulerOutput { sequences, targets, started }
    }

    /// Ends sequences that are canceled or past their deadline. Running sequences are checked in
    /// every step, waiting ones every [`QUEUE_SWEEP_INTERVAL`], because there may be thousands.
    fn sweep(&mut self, kv: &mut KvCacheManager, now: Instant) {
        for index in (0..self.running.len()).rev() {
            if let Some(reason) = self.running[index].abort_reason(now) {
                self.finish(index, reason, kv);
            }
        }
        let due = |last: Instant| now.duration_since(last) >= QUEUE_SWEEP_INTERVAL;
        if self.last_sweep.is_none_or(due) {
            self.last_sweep = Some(now);
            let aborted = self.waiting.take_if(|sequence| sequence.abort_reason(now));
            self.finished.extend(aborted);
        }
    }

    /// Ends all sequences.
    pub fn finish_all(&mut self, reason: &FinishReason, kv: &mut KvCacheManager) {
        for index in (0..self.running.len()).rev() {
            self.finish(index, reason.clone(), kv);
        }
        self.finished.extend(self.waiting.take_if(|_| Some(reason.clone())));
    }

    /// Ends the oldest running sequence; called after a step that could schedule nothing.
    pub fn finish_oldest(&mut self, reason: FinishReason, kv: &mut KvCacheManager) {
        if !self.running.is_empty() {
            self.finish(0, reason, kv);
        }
    }

    /// Ends a running sequence and frees its blocks.
    fn finish(&mut self, index: usize, reason: FinishReason, kv: &mut KvCacheManager) {
        let mut sequence = self.running.remove(index);
        kv.free(&mut sequence.table);
        self.finished.push(FinishedSequence { sequence, reason });
    }

    /// The sequences that ended since the last call, in the order in which they ended.
    pub fn take_finished(&mut self) -> Vec<FinishedSequence<O>> {
        std::mem::take(&mut self.finished)
    }

    /// Removes all sequences without ending them or freeing their blocks; called after the engine
    /// failed.
    pub fn take_all(&mut self) -> impl Iterator<Item = Sequence<O>> {
        std::mem::take(&mut self.running).into_iter().chain(self.waiting.take_all())
    }

    /// Takes the grammar matcher out of a running sequence, so that its mask can be computed on
    /// another thread. `None` if the sequence has no grammar.
    pub fn take_matcher(&mut self, seq_id: u64) -> Option<Box<GrammarMatcher>> {
        let generation = self.generation_mut(seq_id)?;
        let matcher = generation.matcher.take()?;
        generation.mask_cancellation = matcher.cancellation();
        Some(matcher)
    }

    pub fn return_matcher(&mut self, seq_id: u64, matcher: Box<GrammarMatcher>) {
        if let Some(generation) = self.generation_mut(seq_id) {
            generation.matcher = Some(matcher);
        }
    }

    /// Handle that stops the mask computation of a matcher taken by [`Scheduler::take_matcher`].
    pub fn mask_cancellation(&self, seq_id: u64) -> Option<&CancellationHandle> {
        self.get(seq_id)?.generation()?.mask_cancellation.as_ref()
    }

    pub fn get(&self, seq_id: u64) -> Option<&Sequence<O>> {
        self.running_index(seq_id).map(|index| &self.running[index])
    }

    fn generation_mut(&mut self, seq_id: u64) -> Option<&mut GenerationState> {
        let index = self.running_index(seq_id)?;
        match &mut self.running[index].task {
            Task::Generate(generation) => Some(generation),
            Task::Embed(_) => None,
        }
    }

    fn running_index(&self, seq_id: u64) -> Option<usize> {
        self.running.binary_search_by_key(&seq_id, |sequence| sequence.seq_id).ok()
    }
}

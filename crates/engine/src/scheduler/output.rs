//! The plan of one step, and the batch that the model computes for it.

use super::{Draft, Scheduler, SequenceOutput};
use crate::batch::{Batch, SequenceSpan};

/// The plan of one step. `sequences` and `targets` are in order of `seq_id`.
pub(crate) struct SchedulerOutput {
    pub sequences: Vec<ScheduledSequence>,
    /// The sequences for which tokens are sampled in this step: a subset of `sequences`.
    pub targets: Vec<SampleTarget>,
    /// Number of sequences that left the waiting queue for the first time.
    pub started: usize,
}

/// A sequence and its number of rows in a step, not counting draft tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ScheduledSequence {
    pub seq_id: u64,
    /// Number of tokens to compute, from the first one that is not computed yet.
    pub rows: usize,
}

/// A sequence whose last token is computed in this step, so that a token is sampled for it.
pub(crate) struct SampleTarget {
    pub seq_id: u64,
    pub draft: Draft,
}

impl SampleTarget {
    /// Number of rows of logits: one at the sequence's last token and one at the end of each draft
    /// segment.
    pub fn logits_rows(&self) -> usize {
        1 + self.draft.segments.len()
    }
}

/// The owned data of a [`Batch`].
pub(crate) struct ScheduledBatch<'a> {
    tokens: Vec<u32>,
    spans: Vec<SequenceSpan<'a>>,
    logits_for: Vec<usize>,
}

impl ScheduledBatch<'_> {
    pub fn view(&self) -> Batch<'_> {
        let ScheduledBatch { tokens, spans, logits_for } = self;
        Batch { tokens, sequences: spans, logits_for }
    }
}

impl<O: SequenceOutput> Scheduler<O> {
    /// The batch of a step: its tokens, including draft tokens, and the block tables of their
    /// sequences.
    pub fn batch(&self, scheduled: &SchedulerOutput) -> ScheduledBatch<'_> {
        let SchedulerOutput { sequences, targets, .. } = scheduled;
        let mut tokens = Vec::with_capacity(self.config.step_tokens);
        let mut spans = Vec::with_capacity(sequences.len());
        let mut logits_for = Vec::with_capacity(targets.len());
        let mut targets = targets.iter().peekable();
        for scheduled in sequences {
            let Some(sequence) = self.get(scheduled.seq_id) else { continue };
            let start = tokens.len();
            tokens.extend_from_slice(&sequence.tokens[sequence.computed..][..scheduled.rows]);
            if let Some(target) = targets.next_if(|target| target.seq_id == scheduled.seq_id) {
                logits_for.push(tokens.len() - 1);
                for segment in &target.draft.segments {
                    tokens.extend(segment);
                    logits_for.push(tokens.len() - 1);
                }
            }
            spans.push(SequenceSpan {
                rows: start..tokens.len(),
                first_position: sequence.computed,
                block_table: &sequence.table.blocks,
            });
        }
        ScheduledBatch { tokens, spans, logits_for }
    }
}

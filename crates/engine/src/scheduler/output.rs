//! The plan of one step, and the batch that the model computes for it.

use super::{Draft, Scheduler, SequenceOutput};
use crate::batch::{Batch, SequenceSpan};

/// What a step computes. `sequences` and `targets` are in order of `seq_id`.
pub(crate) struct SchedulerOutput {
    pub sequences: Vec<ScheduledSequence>,
    /// The sequences that get tokens in this step: a subset of `sequences`.
    pub targets: Vec<SampleTarget>,
    /// Sequences that left the waiting queue for the first time.
    pub started: usize,
}

/// A sequence's rows in a step, without its draft.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ScheduledSequence {
    pub seq_id: u64,
    /// Tokens to compute, from the first one that is not computed yet.
    pub rows: usize,
}

/// A sequence whose last token is computed in this step, so that a token is sampled for it.
pub(crate) struct SampleTarget {
    pub seq_id: u64,
    pub draft: Draft,
}

impl SampleTarget {
    /// Rows of logits: at the sequence's last token and at the end of each draft segment.
    pub fn logits_rows(&self) -> usize {
        1 + self.draft.segments.len()
    }
}

/// The storage of a [`Batch`].
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
    /// The tokens of a step, drafts included, with the block tables of their sequences.
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

//! Embedding requests: sums a text's hidden states. Each step computes one chunk of one request.

use super::{
    FinishReason, RequestError, ScheduledSequence, Scheduler, Sequence, SequenceOutput, Task,
};
use crate::batch::SequenceSpan;
use crate::kv::KvCacheManager;
use crate::sampling::SampleError;

impl<O: SequenceOutput> Scheduler<O> {
    /// Schedules the next chunk of the oldest running embedding request and allocates its KV
    /// blocks. `None` if there is no such request or there are too few blocks.
    pub fn schedule_embedding(&mut self, kv: &mut KvCacheManager) -> Option<ScheduledSequence> {
        let embeds = |sequence: &&Sequence<O>| sequence.generation().is_none();
        let sequence = self.running.iter().find(embeds)?;
        let rows_max = self.config.step_tokens.min(self.config.logits_rows_max);
        let rows = sequence.remaining().min(rows_max);
        let scheduled = ScheduledSequence { seq_id: sequence.seq_id, rows };
        self.allocate(scheduled, kv).then_some(scheduled)
    }

    /// Adds the hidden states of a scheduled chunk, `[rows, hidden]`, to the request's sum. Ends
    /// the request after its last chunk, or on an error.
    pub fn update_embedding(
        &mut self,
        scheduled: ScheduledSequence,
        hidden: Result<&[f32], RequestError>,
        kv: &mut KvCacheManager,
    ) {
        let Some(index) = self.running_index(scheduled.seq_id) else { return };
        let sequence = &mut self.running[index];
        match hidden.and_then(|hidden| sequence.add_hidden(hidden, scheduled.rows)) {
            Err(cause) => return self.finish(index, FinishReason::Error(cause), kv),
            Ok(()) if sequence.remaining() == 0 => self.finish(index, FinishReason::Embedded, kv),
            Ok(()) => {}
        }
        self.stats.steps += 1;
        self.stats.prefill_tokens += scheduled.rows as u64;
    }
}

impl<O> Sequence<O> {
    /// The next `rows` tokens to compute, as the only span of a batch.
    pub fn next_span(&self, rows: usize) -> (&[u32], SequenceSpan<'_>) {
        let tokens = &self.tokens[self.computed..][..rows];
        let span = SequenceSpan {
            rows: 0..rows,
            first_position: self.computed,
            block_table: &self.table.blocks,
        };
        (tokens, span)
    }

    /// Adds the hidden states of the next `rows` tokens, in order of position and in f64, so that
    /// the sum does not depend on how the text is divided into chunks.
    fn add_hidden(&mut self, hidden: &[f32], rows: usize) -> Result<(), RequestError> {
        let Task::Embed(sum) = &mut self.task else { return Ok(()) };
        let size = hidden.len() / rows;
        sum.resize(size, 0.0);
        for (position, row) in (self.computed..).zip(hidden.chunks_exact(size)) {
            if let Some(&value) = row.iter().find(|value| !value.is_finite()) {
                let token = self.tokens[position];
                return Err(SampleError::NotFinite { token, position, value }.into());
            }
            sum.iter_mut().zip(row).for_each(|(sum, &x)| *sum += f64::from(x));
        }
        self.computed += rows;
        Ok(())
    }
}

//! Embeddings: the mean of a text's hidden states after the final norm.

use super::forward::Forward;
use super::plan::ScheduledSequence;
use super::scheduler::Scheduler;
use super::sequence::Task;
use super::{FatalError, FinishReason, RequestError};
use crate::batch::{Batch, SequenceSpan};
use crate::sampling::SampleError;

impl<F: Forward> Scheduler<F> {
    /// Computes the next rows of the oldest text to embed; false if there is none or no room for it
    /// now.
    pub fn embed(&mut self) -> bool {
        let Some(index) =
            self.running.iter().position(|sequence| matches!(sequence.work, Task::Embed(_)))
        else {
            return false;
        };
        let sequence = &self.running[index];
        let rows = sequence.remaining().min(self.step_tokens).min(self.limits.logits_rows_max);
        let share = ScheduledSequence { seq_id: sequence.seq_id, rows };
        if !self.make_room(share) {
            return false;
        }
        let Some(index) = self.running_index(share.seq_id) else { return false };
        match self.add_hidden(index, rows) {
            Err(cause) => self.end(index, FinishReason::Error(cause)),
            Ok(()) if self.running[index].remaining() == 0 => {
                self.end(index, FinishReason::Embedded)
            }
            Ok(()) => {}
        }
        true
    }

    fn add_hidden(&mut self, index: usize, rows: usize) -> Result<(), RequestError> {
        let sequence = &mut self.running[index];
        let position = sequence.computed;
        let tokens = &sequence.tokens[position..][..rows];
        let span = SequenceSpan {
            rows: 0..rows,
            first_position: position,
            block_table: &sequence.table.blocks,
        };
        let wanted: Vec<usize> = (0..rows).collect();
        let batch = Batch { tokens, sequences: &[span], logits_for: &wanted };
        let hidden = self.model.hidden(&batch, &mut self.memory.pool);
        let hidden =
            hidden.inspect_err(|cause| self.death = self.death.take().or(FatalError::of(cause)))?;
        let Task::Embed(sum) = &mut sequence.work else { return Ok(()) };
        let size = hidden.len() / rows;
        sum.resize(size, 0.0);
        for (offset, row) in hidden.chunks_exact(size).enumerate() {
            if let Some(&value) = row.iter().find(|value| !value.is_finite()) {
                return Err(SampleError::NotFinite {
                    token: tokens[offset],
                    position: position + offset,
                    value,
                }
                .into());
            }
            // In order of position and in f64: the same sum however the text was cut.
            sum.iter_mut().zip(row).for_each(|(sum, &x)| *sum += f64::from(x));
        }
        sequence.computed += rows;
        self.stats.steps += 1;
        self.stats.prefill_tokens += rows as u64;
        Ok(())
    }
}

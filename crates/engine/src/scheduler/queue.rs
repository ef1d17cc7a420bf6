//! The waiting queue: sequences without KV blocks, in order of submission. A preempted sequence
//! returns to its position in this order.

use std::collections::VecDeque;

use super::{FinishReason, FinishedSequence, Sequence};

/// Waiting sequences in order of `seq_id`.
pub(super) struct WaitingQueue<O> {
    waiting: VecDeque<Sequence<O>>,
}

impl<O> Default for WaitingQueue<O> {
    fn default() -> Self {
        WaitingQueue { waiting: VecDeque::new() }
    }
}

impl<O> WaitingQueue<O> {
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub fn push(&mut self, sequence: Sequence<O>) {
        let index = self.waiting.partition_point(|other| other.seq_id < sequence.seq_id);
        self.waiting.insert(index, sequence);
    }

    pub fn front_mut(&mut self) -> Option<&mut Sequence<O>> {
        self.waiting.front_mut()
    }

    pub fn pop(&mut self) -> Option<Sequence<O>> {
        self.waiting.pop_front()
    }

    /// Removes and returns the sequences for which `reason_for` returns a reason.
    pub fn take_if(
        &mut self,
        reason_for: impl FnMut(&Sequence<O>) -> Option<FinishReason>,
    ) -> Vec<FinishedSequence<O>> {
        let reasons: Vec<Option<FinishReason>> = self.waiting.iter().map(reason_for).collect();
        let mut taken = Vec::new();
        if reasons.iter().all(Option::is_none) {
            return taken;
        }
        for (sequence, reason) in std::mem::take(&mut self.waiting).into_iter().zip(reasons) {
            match reason {
                Some(reason) => taken.push(FinishedSequence { sequence, reason }),
                None => self.waiting.push_back(sequence),
            }
        }
        taken
    }

    pub fn take_all(&mut self) -> VecDeque<Sequence<O>> {
        std::mem::take(&mut self.waiting)
    }
}

//! Requests without blocks, in order of seq_id. One that was preempted goes back to its place.

use std::collections::VecDeque;

use super::sequence::Sequence;

/// First come, first served.
#[derive(Default)]
pub(super) struct Queue {
    waiting: VecDeque<Sequence>,
}

impl Queue {
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub fn put(&mut self, sequence: Sequence) {
        let at = self.waiting.partition_point(|other| other.seq_id < sequence.seq_id);
        self.waiting.insert(at, sequence);
    }

    pub fn first(&mut self) -> Option<&mut Sequence> {
        self.waiting.front_mut()
    }

    pub fn take(&mut self) -> Option<Sequence> {
        self.waiting.pop_front()
    }

    /// Takes those out for which `ends` gives a reason.
    pub fn take_if<R>(
        &mut self,
        mut ends: impl FnMut(&Sequence) -> Option<R>,
    ) -> Vec<(Sequence, R)> {
        let mut taken = Vec::new();
        let reasons: Vec<Option<R>> = self.waiting.iter().map(&mut ends).collect();
        if reasons.iter().all(Option::is_none) {
            return taken;
        }
        let all = std::mem::take(&mut self.waiting);
        for (sequence, reason) in all.into_iter().zip(reasons) {
            match reason {
                Some(reason) => taken.push((sequence, reason)),
                None => self.waiting.push_back(sequence),
            }
        }
        taken
    }
}

//! Allocation of KV blocks with preemption: if blocks run out, the youngest sequence loses its
//! blocks and is recomputed later.

use crate::kv::KvCacheManager;
use crate::scheduler::{ScheduledSequence, Scheduler, Sequence, SequenceOutput};

impl<O: SequenceOutput> Scheduler<O> {
    /// Allocates KV blocks, oldest sequence first; preempts the youngest when blocks run out.
    /// Returns the sequences whose blocks were allocated.
    pub(super) fn allocate_all(
        &mut self,
        scheduled: Vec<ScheduledSequence>,
        kv: &mut KvCacheManager,
    ) -> Vec<ScheduledSequence> {
        let mut allocated = Vec::with_capacity(scheduled.len());
        for scheduled in scheduled {
            // A sequence that is no longer running was preempted for an older one.
            if self.running_index(scheduled.seq_id).is_some() && self.allocate(scheduled, kv) {
                allocated.push(scheduled);
            }
        }
        allocated
    }

    /// Allocates the KV blocks of a scheduled sequence, preempting younger sequences as needed.
    /// Returns false if that does not suffice; the sequence itself is then preempted, unless it is
    /// the oldest.
    pub(in crate::scheduler) fn allocate(
        &mut self,
        scheduled: ScheduledSequence,
        kv: &mut KvCacheManager,
    ) -> bool {
        loop {
            let Some(index) = self.running_index(scheduled.seq_id) else { return false };
            let sequence = &mut self.running[index];
            if kv.allocate(&mut sequence.table, sequence.computed + scheduled.rows) {
                return true;
            }
            let holds_blocks = |sequence: &Sequence<O>| !sequence.table.blocks.is_empty();
            match self.running.iter().rposition(holds_blocks) {
                Some(youngest) if youngest > index => self.preempt(youngest, kv),
                // No younger sequence holds blocks: this sequence is preempted in favor of the
                // older ones, unless it is the oldest.
                _ if index > 0 => {
                    self.preempt(index, kv);
                    return false;
                }
                _ => return false,
            }
        }
    }

    /// Frees a running sequence's blocks and returns it to the waiting queue.
    fn preempt(&mut self, index: usize, kv: &mut KvCacheManager) {
        let mut sequence = self.running.remove(index);
        kv.free(&mut sequence.table);
        sequence.reset();
        self.stats.preemptions += 1;
        self.waiting.push(sequence);
    }
}

//! Who gets how many rows of the next pass.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::forward::Forward;
use super::memory::PrefixKey;
use super::scheduler::Scheduler;
use super::sequence::Sequence;
use crate::kv::BLOCK_TOKENS;

/// A part of the next pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ScheduledSequence {
    /// Whose it is.
    pub seq_id: u64,
    pub rows: usize,
}

/// What is left to give in a step.
struct Budget {
    rows: usize,
    logits: usize,
    shares: Vec<ScheduledSequence>,
    /// Blocks that this step computes: whoever wants one of them waits for it.
    claims: BTreeSet<PrefixKey>,
}

impl Budget {
    /// Gives a sequence what it can have of `limit` rows.
    fn give(&mut self, sequence: &Sequence, limit: usize) {
        let mut rows = sequence.remaining().min(limit);
        if rows == sequence.remaining() {
            if self.logits == 0 {
                rows -= 1;
            } else {
                self.logits -= 1;
            }
        }
        if rows > 0 {
            self.rows -= rows;
            self.shares.push(ScheduledSequence { seq_id: sequence.seq_id, rows });
        }
    }
}

impl<F: Forward> Scheduler<F> {
    /// Shares out the next pass and sees to their blocks.
    pub fn plan(&mut self) -> Vec<ScheduledSequence> {
        let mut budget = Budget {
            rows: self.step_tokens,
            logits: self.limits.logits_rows_max,
            shares: Vec::new(),
            claims: BTreeSet::new(),
        };
        self.plan_decoding(&mut budget);
        self.plan_prefill(&mut budget);
        self.admit(&mut budget);
        let mut shares = budget.shares;
        shares.sort_unstable_by_key(|share| share.seq_id);
        self.reserve(shares)
    }

    /// Replies first, those that waited longest before the others. An eighth is left for prompts,
    /// if there are any.
    fn plan_decoding(&mut self, budget: &mut Budget) {
        let prompts =
            self.running.iter().any(|sequence| !sequence.decoding) || !self.queue.is_empty();
        let reserved = if prompts { self.step_tokens / 8 } else { 0 };
        let mut order: Vec<&Sequence> =
            self.running.iter().filter(|sequence| sequence.decoding).collect();
        order.sort_unstable_by_key(|sequence| (sequence.last_step, sequence.seq_id));
        for sequence in order {
            budget.give(sequence, budget.rows - reserved.min(budget.rows));
        }
    }

    /// Prompts in order of seq_id, with what others computed of them in the meantime.
    fn plan_prefill(&mut self, budget: &mut Budget) {
        for index in 0..self.running.len() {
            let sequence = &self.running[index];
            if sequence.decoding || sequence.reply().is_none() || budget.rows == 0 {
                continue;
            }
            self.adopt(index);
            self.give_prompt(index, budget);
        }
    }

    fn give_prompt(&self, index: usize, budget: &mut Budget) {
        let sequence = &self.running[index];
        let claim = self.memory.claim(&sequence.table, &sequence.tokens, sequence.computed);
        if claim.is_none_or(|claim| budget.claims.insert(claim)) {
            budget.give(sequence, budget.rows);
        }
    }

    fn adopt(&mut self, index: usize) {
        let sequence = &mut self.running[index];
        let before = sequence.computed;
        let found = self.memory.adopt(&mut sequence.table, &sequence.tokens, before);
        self.stats.prefix_hit_tokens += sequence.found(found);
    }

    /// Lets the next requests in while there are rows, seats and blocks for all their tokens. The
    /// first in line waits for blocks with everyone behind it: first come, first served.
    fn admit(&mut self, budget: &mut Budget) {
        while budget.rows > 0 && self.running.len() < self.running_max {
            let Some(first) = self.queue.first() else { return };
            if let Some(reason) = first.must_end(Instant::now()).or_else(|| first.begin()) {
                self.end_first(reason);
                continue;
            }
            let replies = first.reply().is_some();
            let found =
                if replies { self.memory.adopt(&mut first.table, &first.tokens, 0) } else { 0 };
            let wanted = first.tokens.len().div_ceil(BLOCK_TOKENS) - first.table.blocks.len();
            // A block for each that runs: it would be a waste to let one in and take its blocks
            // away again at once.
            if !self.running.is_empty() && !self.memory.has(wanted + self.running.len()) {
                self.memory.release(&mut first.table);
                return;
            }
            let Some(mut sequence) = self.queue.take() else { return };
            if sequence.started.is_none() {
                sequence.started = Some(Instant::now());
                self.life.queued.fetch_sub(1, Ordering::SeqCst);
            }
            self.stats.prefix_hit_tokens += sequence.found(found);
            // Running sequences are in order of seq_id.
            let index = self.running.partition_point(|other| other.seq_id < sequence.seq_id);
            self.running.insert(index, sequence);
            if replies {
                self.give_prompt(index, budget);
            }
        }
    }

    /// Gets the blocks for all shares, the oldest first; takes them from the youngest where there
    /// are too few. Those who lose theirs, lose their share.
    fn reserve(&mut self, shares: Vec<ScheduledSequence>) -> Vec<ScheduledSequence> {
        let mut given = Vec::with_capacity(shares.len());
        for share in shares {
            // Whoever is not running any more was preempted for an older one.
            if self.running_index(share.seq_id).is_some() && self.make_room(share) {
                given.push(share);
            }
        }
        given
    }

    /// Gets the blocks for a share; false if everyone who holds blocks is older.
    pub(super) fn make_room(&mut self, share: ScheduledSequence) -> bool {
        loop {
            let Some(index) = self.running_index(share.seq_id) else { return false };
            let sequence = &mut self.running[index];
            if self.memory.reserve(&mut sequence.table, sequence.computed + share.rows) {
                return true;
            }
            let holds = |sequence: &Sequence| !sequence.table.blocks.is_empty();
            match self.running.iter().rposition(holds) {
                Some(youngest) if youngest > index => self.preempt(youngest),
                // Its own blocks are better used by the older ones, unless it is the oldest.
                _ if index > 0 => {
                    self.preempt(index);
                    return false;
                }
                _ => return false,
            }
        }
    }
}

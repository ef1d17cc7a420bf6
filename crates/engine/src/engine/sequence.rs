//! A request on its way through the engine.

use std::time::Instant;

use super::mailbox::ResponseSender;
use super::memory::BlockTable;
use super::reply::Reply;
use super::{Completion, Delta, DraftStats, FinishReason};

/// A request, its tokens and how far they are computed.
pub(super) struct Sequence {
    /// Its place in the order of seq_id; unique.
    pub seq_id: u64,
    /// The prompt and the reply so far.
    pub tokens: Vec<u32>,
    pub prompt_tokens: usize,
    /// Positions whose keys and values are in its blocks.
    pub computed: usize,
    pub table: BlockTable,
    pub work: Task,
    /// It has been given logits since it got its blocks: from here on it goes token by token.
    pub decoding: bool,
    /// It has been preempted or is running: it does not count as queued.
    pub started: Option<Instant>,
    /// The last step that it was part of.
    pub last_step: u64,
    pub cached_prompt_tokens: usize,
    /// Its blocks were taken from it once.
    pub preempted: bool,
    pub outbox: ResponseSender,
    pub submitted: Instant,
    pub first_token: Option<Instant>,
    pub deadline: Option<Instant>,
}

/// What is wanted.
pub(super) enum Task {
    Reply(Box<Reply>),
    /// Sums of hidden states so far, `[hidden]`.
    Embed(Vec<f64>),
}

impl Sequence {
    /// Rows that are to be computed before a token can be chosen.
    pub fn remaining(&self) -> usize {
        self.tokens.len() - self.computed
    }

    /// Begins a reply under its form, if it has not begun; gives the reason if that ends it.
    pub fn begin(&mut self) -> Option<FinishReason> {
        match &mut self.work {
            Task::Reply(reply) => reply.begin(&mut self.tokens),
            Task::Embed(_) => None,
        }
    }

    /// It is computed up to `computed`, because blocks were there already; gives how many tokens
    /// that saved.
    pub fn found(&mut self, computed: usize) -> u64 {
        let saved = computed - self.computed;
        if !self.preempted {
            self.cached_prompt_tokens +=
                computed.min(self.prompt_tokens) - self.computed.min(self.prompt_tokens);
        }
        self.computed = computed;
        saved as u64
    }

    /// It has lost its blocks and starts again.
    pub fn start_over(&mut self) {
        (self.computed, self.decoding, self.preempted) = (0, false, true);
        if let Task::Embed(sum) = &mut self.work {
            sum.clear();
        }
    }

    pub fn reply(&self) -> Option<&Reply> {
        match &self.work {
            Task::Reply(reply) => Some(reply),
            Task::Embed(_) => None,
        }
    }

    /// Why it has to end now, if it has.
    pub fn must_end(&self, now: Instant) -> Option<FinishReason> {
        if self.outbox.is_canceled() {
            return Some(FinishReason::Canceled);
        }
        self.deadline.is_some_and(|deadline| now >= deadline).then_some(FinishReason::Deadline)
    }

    /// Brings new tokens to the ticket.
    pub fn deliver(&mut self) {
        let Task::Reply(reply) = &mut self.work else { return };
        if !reply.news.is_empty() {
            self.first_token.get_or_insert_with(Instant::now);
            self.outbox.piece(std::mem::take(&mut reply.news));
        }
    }

    /// Ends it. Its blocks must have been given back.
    pub fn finish(mut self, reason: FinishReason) {
        debug_assert!(self.table.blocks.is_empty(), "a finished sequence still holds blocks");
        if let Task::Reply(reply) = &mut self.work {
            reply.finish(&reason);
        }
        self.deliver();
        let since = |later: Instant| later.duration_since(self.submitted).as_secs_f64();
        let now = Instant::now();
        let (prompt_tokens, cached_prompt_tokens) = (self.prompt_tokens, self.cached_prompt_tokens);
        let (seconds, queued_s) = (since(now), since(self.started.unwrap_or(now)));
        let first_token_s = self.first_token.map(since);
        let (reply, stop_token, forced_tokens, drafts, embedding) = match self.work {
            Task::Reply(reply) => {
                (reply.whole, reply.stop_token, reply.forced_tokens, reply.drafts, None)
            }
            Task::Embed(sum) => (
                Delta::default(),
                None,
                0,
                DraftStats::default(),
                mean(&sum, prompt_tokens, &reason),
            ),
        };
        self.outbox.finish(Completion {
            reason,
            reply,
            stop_token,
            prompt_tokens,
            cached_prompt_tokens,
            forced_tokens,
            drafts,
            seconds,
            queued_s,
            first_token_s,
            embedding,
        });
    }
}

fn mean(sum: &[f64], tokens: usize, reason: &FinishReason) -> Option<Vec<f32>> {
    (*reason == FinishReason::Embedded)
        .then(|| sum.iter().map(|&x| (x / tokens as f64) as f32).collect())
}

use super::request::{Event, Finish, Finished, Refused, Request};
use crate::constrain::Constraint;
use crate::kv::BlockId;
use crate::sample::Seen;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::Instant;

/// A request in the scheduler's hands.
pub(super) struct Sequence {
    pub request: Request,
    pub events: SyncSender<Event>,
    pub cancelled: Arc<AtomicBool>,
    pub since: Instant,
    pub constraint: Option<Constraint>,
    /// Prompt and reply.
    pub tokens: Vec<u32>,
    /// Positions whose keys and values are in the pool.
    pub computed: usize,
    pub table: Vec<BlockId>,
    pub cached: usize,
    pub seen: Seen,
    pub first_token: Option<Instant>,
}

impl Sequence {
    /// How it has ended already, before any other token.
    pub fn ended_early(&self) -> Option<Finish> {
        if self.cancelled.load(Ordering::SeqCst) {
            Some(Finish::Cancelled)
        } else if self.since.elapsed().as_secs_f64() > self.request.deadline_s {
            Some(Finish::Deadline)
        } else {
            None
        }
    }

    /// Tokens that wait to be computed.
    pub fn pending(&self) -> usize {
        self.tokens.len() - self.computed
    }

    /// Tokens of the reply so far.
    pub fn reply(&self) -> &[u32] {
        &self.tokens[self.request.prompt.len()..]
    }

    /// Adds tokens to the reply, as many as it may still have; true when it is at its limit.
    pub fn extend(&mut self, new: &[u32]) -> bool {
        let room = self.request.max_new_tokens - self.reply().len();
        let taken = &new[..new.len().min(room)];
        self.tokens.extend_from_slice(taken);
        self.seen.extend(taken);
        self.first_token.get_or_insert_with(Instant::now);
        // Whoever does not listen still gets the whole reply at the end.
        let _full = self.events.try_send(Event::Tokens(taken.to_vec()));
        new.len() >= room
    }

    /// Tells the end.
    pub fn finish(&self, finish: Finish) {
        let end = Finished {
            tokens: self.reply().to_vec(),
            finish,
            prompt_tokens: self.request.prompt.len(),
            cached_prompt_tokens: self.cached,
            seconds: self.since.elapsed().as_secs_f64(),
            decode_s: self.first_token.map_or(0.0, |first| first.elapsed().as_secs_f64()),
        };
        self.tell(Ok(end));
    }

    /// Tells that there is no reply.
    pub fn fail(&self, why: Refused) {
        self.tell(Err(why));
    }

    fn tell(&self, end: Result<Finished, Refused>) {
        // The channel has room for every token and the end; it can only be closed.
        let _gone = self.events.try_send(Event::Finished(end));
    }
}

use crate::sample::Sampling;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

/// What to generate.
#[derive(Debug, Clone)]
pub struct Request {
    /// Token ids of the prompt.
    pub prompt: Vec<u32>,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// The JSON schema to decode under.
    pub schema: Option<Value>,
    /// Tokens that end the reply; they are not part of it.
    pub stop_tokens: Vec<u32>,
    /// The most tokens of the reply.
    pub max_new_tokens: usize,
    /// The longest time, in seconds, waiting included.
    pub deadline_s: f64,
}

/// Why a request is not taken, or failed. It concerns this request alone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The prompt is empty.
    #[error("the prompt holds no tokens; give at least one")]
    Empty,
    /// The prompt is too long.
    #[error(
        "the prompt has {tokens} tokens, and this load holds {context} with the reply; shorten it, or raise --context"
    )]
    TooLong {
        /// Tokens of the prompt.
        tokens: usize,
        /// Positions there are.
        context: usize,
    },
    /// A token outside the vocabulary, or another mistake in the request.
    #[error("{0}")]
    Invalid(String),
    /// Too many wait.
    #[error("{waiting} requests wait already; try again later")]
    Busy {
        /// How many.
        waiting: usize,
    },
    /// The engine's thread is gone.
    #[error("the engine has stopped")]
    Stopped,
    /// The model gave numbers that are none, or a pass failed.
    #[error("{0}")]
    Failed(String),
}

/// How a reply ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// The model ended it, or its grammar was complete.
    Stop,
    /// At `max_new_tokens`, or at the end of the context.
    Length,
    /// Out of time.
    Deadline,
    /// Whoever asked has gone.
    Cancelled,
}

/// A reply.
#[derive(Debug, Clone, PartialEq)]
pub struct Finished {
    /// Its tokens, without the one that ended it.
    pub tokens: Vec<u32>,
    /// How it ended.
    pub finish: Finish,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Of these, from the prefix cache.
    pub cached_prompt_tokens: usize,
    /// From submission to end.
    pub seconds: f64,
    /// From the first token to the last.
    pub decode_s: f64,
}

/// What a ticket tells.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// More tokens of the reply.
    Tokens(Vec<u32>),
    /// The end.
    Finished(Result<Finished, Refused>),
}

/// A request on its way. Dropping it cancels the request.
#[derive(Debug)]
pub struct Ticket {
    pub(super) events: Receiver<Event>,
    pub(super) cancelled: Arc<AtomicBool>,
}

impl Ticket {
    /// The next event; `None` if there is none within `timeout`.
    pub fn next(&self, timeout: Duration) -> Option<Event> {
        match self.events.recv_timeout(timeout) {
            Ok(event) => Some(event),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Event::Finished(Err(Refused::Stopped))),
        }
    }

    /// Waits for the end, and asks `give_up` several times a second whether to go on.
    ///
    /// # Errors
    /// Why there is no reply.
    pub fn wait(&self, give_up: &dyn Fn() -> bool) -> Result<Finished, Refused> {
        loop {
            match self.next(Duration::from_millis(50)) {
                Some(Event::Finished(end)) => return end,
                Some(Event::Tokens(_)) => {}
                None if give_up() => self.cancelled.store(true, Ordering::SeqCst),
                None => {}
            }
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.cancelled.store(true, Ordering::SeqCst);
    }
}

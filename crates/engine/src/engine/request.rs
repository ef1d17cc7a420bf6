//! What can be asked of an engine.

use std::sync::Arc;
use std::time::Instant;

use crate::grammar::Constraint;
use crate::sampling::SamplingParams;

/// Called on the engine's thread whenever there is something new in a ticket; must be quick. An
/// asynchronous server wakes its task with it.
pub type Notify = Arc<dyn Fn() + Send + Sync>;

/// A prompt to be continued.
#[derive(Clone)]
pub struct Request {
    /// Token ids, special ones included; not empty.
    pub prompt: Vec<u32>,
    /// How tokens are chosen.
    pub sampling: SamplingParams,
    /// The form of the reply.
    pub constraint: Option<Constraint>,
    /// Tokens of the reply at most; forced ones count. The model's context bounds it too.
    pub max_new_tokens: usize,
    /// Tokens that end the reply, besides the engine's `eos`. They are not part of it.
    pub stop_tokens: Vec<u32>,
    /// Texts that end the reply. They are not part of its text.
    pub stop_strings: Vec<String>,
    /// Goes on past the engine's `eos`, for measurements. A constraint's end still ends it.
    pub ignore_eos: bool,
    /// The reply ends here, done or not.
    pub deadline: Option<Instant>,
    /// Whether log-probabilities of the tokens are wanted.
    pub logprobs: bool,
    /// Told of news.
    pub notify: Option<Notify>,
}

impl Request {
    /// A greedy reply of at most `max_new_tokens`.
    pub fn new(prompt: Vec<u32>, max_new_tokens: usize) -> Self {
        Request {
            prompt,
            sampling: SamplingParams::greedy(),
            constraint: None,
            max_new_tokens,
            stop_tokens: Vec::new(),
            stop_strings: Vec::new(),
            ignore_eos: false,
            deadline: None,
            logprobs: false,
            notify: None,
        }
    }
}

/// A text whose embedding is wanted.
#[derive(Clone)]
pub struct EmbedRequest {
    /// Token ids; not empty.
    pub tokens: Vec<u32>,
    /// It ends here, done or not.
    pub deadline: Option<Instant>,
    /// Told of news.
    pub notify: Option<Notify>,
}

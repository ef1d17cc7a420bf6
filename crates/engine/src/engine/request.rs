//! Requests to an engine.

use std::sync::Arc;
use std::time::Instant;

use crate::grammar::Constraint;
use crate::sampling::SamplingParams;

/// Called on the engine's thread after each change of a response; must be quick. An asynchronous
/// server wakes its task with it.
pub type Notify = Arc<dyn Fn() + Send + Sync>;

/// A prompt to continue.
#[derive(Clone)]
pub struct Request {
    /// Token ids, special ones included; not empty.
    pub prompt: Vec<u32>,
    pub sampling: SamplingParams,
    pub constraint: Option<Constraint>,
    /// Most tokens of the response, forced ones included. The context bounds it as well.
    pub max_new_tokens: usize,
    /// Tokens that end the response, besides the engine's `eos`. They are not part of it.
    pub stop_tokens: Vec<u32>,
    /// Texts that end the response. They are not part of its text.
    pub stop_strings: Vec<String>,
    /// Whether generation goes on past the engine's `eos`, for measurements. The end of a grammar
    /// still ends the response.
    pub ignore_eos: bool,
    /// When the response ends, complete or not.
    pub deadline: Option<Instant>,
    /// Whether log-probabilities of the tokens are returned.
    pub logprobs: bool,
    /// Called after each change of the response.
    pub notify: Option<Notify>,
}

impl Request {
    /// A greedy response of at most `max_new_tokens`.
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

/// A text to embed.
#[derive(Clone)]
pub struct EmbedRequest {
    /// Token ids; not empty.
    pub tokens: Vec<u32>,
    /// When the request ends, complete or not.
    pub deadline: Option<Instant>,
    /// Called after each change of the response.
    pub notify: Option<Notify>,
}

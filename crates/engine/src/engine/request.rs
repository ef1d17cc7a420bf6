//! Requests to an engine.

use std::sync::Arc;
use std::time::Instant;

use crate::grammar::Constraint;
use crate::sampling::SamplingParams;
use crate::scheduler::Thinking;

/// A callback that the engine's thread calls after each change of a response. It must return
/// quickly. An asynchronous server uses it to wake the request's task.
pub type Notify = Arc<dyn Fn() + Send + Sync>;

/// A prompt to continue.
#[derive(Clone)]
pub struct Request {
    /// Token ids, including special tokens; must not be empty.
    pub prompt: Vec<u32>,
    pub sampling: SamplingParams,
    /// Thinking before the answer; `None`: the response is the answer alone.
    pub thinking: Option<Thinking>,
    /// Constrains the answer.
    pub constraint: Option<Constraint>,
    /// Maximum number of tokens of the response, including thinking and forced tokens. The context
    /// also limits it.
    pub max_new_tokens: usize,
    /// Tokens that end the response, besides the engine's `eos`. They are not part of the response.
    pub stop_tokens: Vec<u32>,
    /// Strings that end the response when its answer contains them. They are not part of the text.
    pub stop_strings: Vec<String>,
    /// Whether generation continues after the engine's `eos` tokens, for benchmarks. Ignored for a
    /// request with a constraint.
    pub ignore_eos: bool,
    /// Time at which the response ends even if it is incomplete.
    pub deadline: Option<Instant>,
    /// Whether log-probabilities of the tokens are returned.
    pub logprobs: bool,
    /// Called after each change of the response.
    pub notify: Option<Notify>,
}

impl Request {
    /// A request for a greedy response of at most `max_new_tokens` tokens.
    pub fn new(prompt: Vec<u32>, max_new_tokens: usize) -> Self {
        Request {
            prompt,
            sampling: SamplingParams::greedy(),
            thinking: None,
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
    /// Token ids; must not be empty.
    pub tokens: Vec<u32>,
    /// Time at which the request ends even if the embedding is incomplete.
    pub deadline: Option<Instant>,
    /// Called after each change of the response.
    pub notify: Option<Notify>,
}

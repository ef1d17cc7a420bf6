//! Responses: the events that a client receives, the channel that transfers them, and the
//! sequence's output that sends them.

mod channel;
mod output;

use super::{DraftStats, FinishReason};

pub use channel::ResponseHandle;
pub(super) use channel::{ResponseSender, channel};
pub(super) use output::ResponseOutput;

/// An event of a response.
#[derive(Clone, Debug, PartialEq)]
pub enum ResponseEvent {
    /// All new tokens and text since the last event.
    Delta(Delta),
    /// The complete response; the last event.
    Completion(Completion),
}

/// Part of a response.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Delta {
    pub tokens: Vec<u32>,
    /// Log-probabilities of the tokens if requested, else empty. `None` for a forced token,
    /// because it was not sampled.
    pub logprobs: Vec<Option<f32>>,
    /// Final text of the thinking before the answer, without the marks that begin and end it, and
    /// without the newlines beside them.
    pub reasoning: String,
    /// Final text of the answer. An incomplete character, or text that may be the beginning of a
    /// stop string, is held back until later tokens decide.
    pub text: String,
}

impl Delta {
    fn is_empty(&self) -> bool {
        self.tokens.is_empty() && self.text.is_empty() && self.reasoning.is_empty()
    }

    fn append(&mut self, other: Delta) {
        self.tokens.extend(other.tokens);
        self.logprobs.extend(other.logprobs);
        self.reasoning.push_str(&other.reasoning);
        self.text.push_str(&other.text);
    }
}

/// A complete response.
#[derive(Clone, Debug, PartialEq)]
pub struct Completion {
    pub reason: FinishReason,
    /// All deltas joined.
    pub reply: Delta,
    /// The end or stop token that ended the response; it is not part of the reply.
    pub stop_token: Option<u32>,
    pub prompt_tokens: usize,
    /// Prompt tokens that were not computed because the prefix cache had their blocks.
    pub cached_prompt_tokens: usize,
    /// Reply tokens of the thinking, without the marks that begin and end it.
    pub reasoning_tokens: usize,
    /// Reply tokens that were not sampled: the grammar or the end of the thinking forced them.
    pub forced_tokens: usize,
    /// Draft tokens of prompt lookup.
    pub drafts: DraftStats,
    /// Seconds from submission to the end.
    pub seconds: f64,
    /// Seconds from submission to the first step.
    pub queued_s: f64,
    /// Seconds from submission to the first token (TTFT); `None` if the response has no tokens.
    pub first_token_s: Option<f64>,
    /// For an embedding request: the mean of the hidden states after the final norm, `[hidden]`.
    pub embedding: Option<Vec<f32>>,
}

impl Completion {
    /// Whether the response ended by itself, not by an error, a deadline or a cancellation.
    pub fn is_complete(&self) -> bool {
        use FinishReason::{Embedded, Eos, Grammar, Length, Stop};
        matches!(self.reason, Eos | Stop | Grammar | Length | Embedded)
    }
}

//! Responses: what a client receives, the channel that carries it, and the sequence's output that
//! fills it.

mod channel;
mod output;

use super::{DraftStats, FinishReason};

pub use channel::ResponseHandle;
pub(super) use channel::{ResponseSender, channel};
pub(super) use output::ResponseOutput;

/// An event of a response.
#[derive(Clone, Debug, PartialEq)]
pub enum ResponseEvent {
    /// All new tokens since the last event.
    Delta(Delta),
    /// The last event.
    Completion(Completion),
}

/// Part of a response.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Delta {
    pub tokens: Vec<u32>,
    /// Log-probabilities of the tokens if requested, else empty. `None` for a token that the
    /// grammar forced: the model was not asked.
    pub logprobs: Vec<Option<f32>>,
    /// Text that is final. An incomplete character, or what may become a stop string, follows with
    /// later tokens.
    pub text: String,
}

impl Delta {
    fn is_empty(&self) -> bool {
        self.tokens.is_empty() && self.text.is_empty()
    }

    fn append(&mut self, other: Delta) {
        self.tokens.extend(other.tokens);
        self.logprobs.extend(other.logprobs);
        self.text.push_str(&other.text);
    }
}

/// A complete response.
#[derive(Clone, Debug, PartialEq)]
pub struct Completion {
    pub reason: FinishReason,
    /// All deltas together.
    pub reply: Delta,
    /// The end or stop token that ended it; it is not part of the reply.
    pub stop_token: Option<u32>,
    pub prompt_tokens: usize,
    /// Prompt tokens that were not computed because the prefix cache had their blocks.
    pub cached_prompt_tokens: usize,
    /// Reply tokens that the grammar forced.
    pub forced_tokens: usize,
    /// Draft tokens of prompt lookup.
    pub drafts: DraftStats,
    /// Seconds from submission to the end.
    pub seconds: f64,
    /// Seconds from submission to the first step.
    pub queued_s: f64,
    /// Seconds from submission to the first token (TTFT); `None` if there was none.
    pub first_token_s: Option<f64>,
    /// The mean of the last hidden states, `[hidden]`, of an embedding request.
    pub embedding: Option<Vec<f32>>,
}

impl Completion {
    /// Whether the response ended by itself, not by an error, a deadline or a cancellation.
    pub fn is_complete(&self) -> bool {
        use FinishReason::{Embedded, Eos, Grammar, Length, Stop};
        matches!(self.reason, Eos | Stop | Grammar | Length | Embedded)
    }
}

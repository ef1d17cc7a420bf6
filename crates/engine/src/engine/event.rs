//! What comes out of a ticket.

use serde::Serialize;

use super::RequestError;

/// News of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum ResponseEvent {
    /// New tokens, all since the last event.
    Delta(Delta),
    /// It is over; the last event.
    Completion(Completion),
}

/// A part of a reply.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Delta {
    /// New tokens.
    pub tokens: Vec<u32>,
    /// Their log-probabilities where wanted, else empty; `None` for a token that the form forced:
    /// the model was not asked.
    pub logprobs: Vec<Option<f32>>,
    /// New text: what is certain. A character in the making, or what may become a stop string,
    /// waits for later tokens.
    pub text: String,
}

impl Delta {
    pub(super) fn is_empty(&self) -> bool {
        self.tokens.is_empty() && self.text.is_empty()
    }

    pub(super) fn append(&mut self, other: Delta) {
        self.tokens.extend(other.tokens);
        self.logprobs.extend(other.logprobs);
        self.text.push_str(&other.text);
    }
}

/// A whole reply.
#[derive(Clone, Debug, PartialEq)]
pub struct Completion {
    /// Why it ended.
    pub reason: FinishReason,
    /// Its tokens and text: all pieces together.
    pub reply: Delta,
    /// The token that ended it, which is not part of it.
    pub stop_token: Option<u32>,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Those of them that were not computed, because their blocks were there.
    pub cached_prompt_tokens: usize,
    /// Tokens of the reply that its form forced.
    pub forced_tokens: usize,
    /// What prompt lookup guessed.
    pub drafts: DraftStats,
    /// From submission to the end, in seconds.
    pub seconds: f64,
    /// From submission to the first pass.
    pub queued_s: f64,
    /// From submission to the first token; `None` if there was none.
    pub first_token_s: Option<f64>,
    /// The mean of the last hidden states, `[hidden]`, if that was asked for.
    pub embedding: Option<Vec<f32>>,
}

/// What was computed on a guess. It changes how long a reply takes, and nothing of the reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DraftStats {
    /// Tokens.
    pub tokens: usize,
    /// Those of them that became the reply.
    pub accepted: usize,
}

/// Why a reply ended.
#[derive(Clone, Debug, PartialEq)]
pub enum FinishReason {
    /// The model ended it.
    Eos,
    /// One of the request's stop tokens or strings.
    Stop,
    /// Its form is complete: nothing can follow.
    Grammar,
    /// As long as it may be.
    Length,
    /// Its time is up.
    Deadline,
    /// The ticket was dropped, or the engine shut down.
    Canceled,
    /// An embedding was computed.
    Embedded,
    /// It failed.
    Error(RequestError),
}

impl FinishReason {
    /// A word for records.
    pub fn name(&self) -> &'static str {
        match self {
            FinishReason::Eos => "eos",
            FinishReason::Stop => "stop",
            FinishReason::Grammar => "grammar",
            FinishReason::Length => "length",
            FinishReason::Deadline => "deadline",
            FinishReason::Canceled => "canceled",
            FinishReason::Embedded => "embedded",
            FinishReason::Error(_) => "error",
        }
    }
}

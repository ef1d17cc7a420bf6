//! Errors of a single request; the engine and other requests go on.

use error_kind::{ErrorKind, HasKind};

use crate::grammar::GrammarError;
use crate::sampling::SampleError;

/// Why a request failed, at submission or while it ran.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RequestError {
    /// No prompt tokens.
    #[error(
        "the prompt is empty; expected at least one token (a text begins with the model's bos token)"
    )]
    EmptyPrompt,
    /// The prompt exceeds the context or the KV cache.
    #[error(
        "the prompt has {tokens} tokens; expected at most {capacity}; shorten it or raise --context"
    )]
    PromptTooLong {
        /// Tokens of the prompt.
        tokens: usize,
        /// Tokens that leave a position for one new token.
        capacity: usize,
    },
    /// A token id outside the vocabulary.
    #[error(
        "token {token} at position {position} of the prompt is outside the vocabulary of {vocab}; use the model's own tokenizer"
    )]
    Token {
        /// The id.
        token: u32,
        /// Its position in the prompt.
        position: usize,
        /// Size of the vocabulary.
        vocab: usize,
    },
    /// `max_new_tokens` is 0.
    #[error("max_new_tokens is 0; expected at least 1")]
    NoTokens,
    /// Stop strings for a model without a tokenizer.
    #[error("stop strings need a tokenizer, and this model has none; use stop tokens")]
    NoTokenizer,
    /// An empty stop string, which would match at once.
    #[error("a stop string is empty; leave it out")]
    EmptyStop,
    /// No token could be sampled.
    #[error(transparent)]
    Sample(#[from] SampleError),
    /// The grammar cannot be compiled or continued.
    #[error(transparent)]
    Grammar(#[from] GrammarError),
    /// The forward pass failed.
    #[error("the forward pass failed: {cause}")]
    Forward {
        /// Message of the model's error.
        cause: String,
        /// Kind of the model's error.
        kind: ErrorKind,
    },
    /// A sampled token that the tokenizer cannot decode.
    #[error("token {token} cannot be turned into text: {cause}")]
    Text {
        /// The token.
        token: u32,
        /// Message of the tokenizer's error.
        cause: String,
    },
    /// A step could not schedule the oldest sequence.
    #[error(
        "none of the {blocks} KV blocks could be allocated to the oldest request; this is a bug, please report it"
    )]
    Stuck {
        /// Blocks of the pool.
        blocks: usize,
    },
}

impl HasKind for RequestError {
    fn kind(&self) -> ErrorKind {
        match self {
            RequestError::Sample(cause) => cause.kind(),
            RequestError::Grammar(cause) => cause.kind(),
            RequestError::Forward { kind, .. } => *kind,
            RequestError::Stuck { .. } => ErrorKind::Bug,
            RequestError::NoTokenizer => ErrorKind::NotFound,
            RequestError::Text { .. } => ErrorKind::BadInput,
            _ => ErrorKind::Usage,
        }
    }
}

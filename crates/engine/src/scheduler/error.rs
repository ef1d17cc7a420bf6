//! Errors of a single request, which do not affect the engine or other requests.

use error_kind::{ErrorKind, HasKind};

use crate::grammar::GrammarError;
use crate::sampling::SampleError;

/// Why a request failed, at submission or while it ran.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RequestError {
    #[error(
        "the prompt is empty; expected at least one token (a text begins with the model's bos token)"
    )]
    EmptyPrompt,
    #[error(
        "the prompt has {tokens} tokens; expected at most {capacity}; shorten it or raise --context"
    )]
    PromptTooLong {
        tokens: usize,
        /// Maximum number of tokens; in a prompt to continue, this leaves one position for a new
        /// token.
        capacity: usize,
    },
    #[error(
        "token {token} at position {position} of the prompt is outside the vocabulary of {vocab}; use the model's own tokenizer"
    )]
    Token { token: u32, position: usize, vocab: usize },
    #[error(
        "token {token}, which marks the thinking, is outside the vocabulary of {vocab}; use the model's own tokenizer"
    )]
    ThinkingMark { token: u32, vocab: usize },
    #[error("max_new_tokens is 0; expected at least 1")]
    NoTokens,
    #[error("stop strings need a tokenizer, and this model has none; use stop tokens")]
    NoTokenizer,
    #[error("a stop string is empty; leave it out")]
    EmptyStop,
    #[error(transparent)]
    Sample(#[from] SampleError),
    #[error(transparent)]
    Grammar(#[from] GrammarError),
    #[error("the forward pass failed: {cause}")]
    Forward { cause: String, kind: ErrorKind },
    #[error("token {token} cannot be turned into text: {cause}")]
    Text { token: u32, cause: String },
    #[error(
        "none of the {blocks} KV blocks could be allocated to the oldest request; this is a bug, please report it"
    )]
    Stuck { blocks: usize },
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

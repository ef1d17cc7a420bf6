//! What can go wrong, by whose trouble it is: one request's, a submission's, a wait's, the
//! engine's.

use crate::grammar::GrammarError;
use crate::models::ForwardError;
use crate::sampling::SampleError;
use error_kind::{ErrorKind, HasKind};

/// Why an engine's thread ended though it was wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FatalError {
    /// What happened.
    pub cause: String,
    /// The exit code that goes with it.
    pub kind: ErrorKind,
}

impl FatalError {
    /// An error after which no pass can succeed.
    pub(super) fn of(cause: &ForwardError) -> Option<Self> {
        cause.is_final().then(|| FatalError { cause: cause.to_string(), kind: cause.kind() })
    }

    /// A defect of ours.
    pub(super) fn defect(cause: String) -> Self {
        FatalError { cause: format!("{cause}; a defect of ours"), kind: ErrorKind::Bug }
    }
}

impl std::fmt::Display for FatalError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.cause)
    }
}

/// One request cannot be answered. The others go on.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RequestError {
    /// Nothing to continue.
    #[error(
        "the prompt is empty; expected at least one token (a text begins with the model's bos token)"
    )]
    EmptyPrompt,
    /// Too long.
    #[error(
        "the prompt has {tokens} tokens, but there is room for {room} before the first new one; shorten it or raise --context"
    )]
    PromptTooLong {
        /// Tokens found.
        tokens: usize,
        /// Tokens there is room for.
        room: usize,
    },
    /// An id outside the vocabulary.
    #[error(
        "token {token} at position {position} of the prompt is outside the vocabulary of {vocab}; use the model's own tokenizer"
    )]
    Token {
        /// The id.
        token: u32,
        /// Where.
        position: usize,
        /// Ids there are.
        vocab: usize,
    },
    /// A reply of no tokens.
    #[error("max_new_tokens is 0; expected at least 1")]
    NoTokens,
    /// Stop strings without a tokenizer.
    #[error("stop strings need a tokenizer, and this model has none; use stop tokens")]
    NoTokenizer,
    /// A stop string that every reply begins with.
    #[error("a stop string is empty; leave it out")]
    EmptyStop,
    /// No choice.
    #[error(transparent)]
    Sample(#[from] SampleError),
    /// No way on.
    #[error(transparent)]
    Grammar(#[from] GrammarError),
    /// The pass failed.
    #[error("the forward pass failed: {cause}")]
    Forward {
        /// The model's words.
        cause: String,
        /// The exit code that goes with it.
        kind: ErrorKind,
    },
    /// A text that cannot be decoded.
    #[error("token {token} cannot be turned into text: {cause}")]
    Text {
        /// The token.
        token: u32,
        /// The tokenizer's words.
        cause: String,
    },
    /// No step could be made.
    #[error("no block of {blocks} could be had for the oldest request; a defect of ours")]
    Stuck {
        /// Blocks in the pool.
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

impl From<ForwardError> for RequestError {
    fn from(cause: ForwardError) -> Self {
        RequestError::Forward { kind: cause.kind(), cause: cause.to_string() }
    }
}

/// A request that was not taken.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SubmitError {
    /// Too many are waiting.
    #[error("{limit} requests are waiting already, which is the limit; try again later")]
    QueueFull {
        /// The limit.
        limit: usize,
    },
    /// The engine is shutting down.
    #[error("the engine is shutting down and takes no more requests")]
    Closed,
    /// The engine's thread ended.
    #[error("the engine's thread ended: {0}; load the model again")]
    Died(FatalError),
    /// The request itself is wrong.
    #[error(transparent)]
    Request(#[from] RequestError),
}

impl HasKind for SubmitError {
    fn kind(&self) -> ErrorKind {
        match self {
            SubmitError::QueueFull { .. } | SubmitError::Closed => ErrorKind::Unavailable,
            SubmitError::Died(death) => death.kind,
            SubmitError::Request(cause) => cause.kind(),
        }
    }
}

/// A wait that gave nothing.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum WaitError {
    /// Nothing came in time; the request goes on.
    #[error(
        "nothing came from the engine within {limit_s} s; wait longer, or drop the ticket to cancel"
    )]
    Timeout {
        /// The limit, in seconds.
        limit_s: f64,
    },
    /// The engine's thread ended.
    #[error("the engine's thread ended: {0}; load the model again")]
    Died(FatalError),
    /// The last event was taken before.
    #[error("the request is over and its last event was taken")]
    Over,
}

impl HasKind for WaitError {
    fn kind(&self) -> ErrorKind {
        match self {
            WaitError::Timeout { .. } => ErrorKind::Timeout,
            WaitError::Died(death) => death.kind,
            WaitError::Over => ErrorKind::Bug,
        }
    }
}

/// A text that was not embedded.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum EmbedError {
    /// It was not taken.
    #[error(transparent)]
    Submit(#[from] SubmitError),
    /// It failed.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The engine is gone, or did not answer at all.
    #[error(transparent)]
    Wait(#[from] WaitError),
    /// Not done in time.
    #[error("the text was not embedded within {limit_s} s; wait longer, or send less at a time")]
    Late {
        /// The limit, in seconds.
        limit_s: f64,
    },
    /// The engine shut down.
    #[error("the engine shut down before the text was embedded")]
    Canceled,
}

impl HasKind for EmbedError {
    fn kind(&self) -> ErrorKind {
        match self {
            EmbedError::Submit(cause) => cause.kind(),
            EmbedError::Request(cause) => cause.kind(),
            EmbedError::Wait(cause) => cause.kind(),
            EmbedError::Late { .. } => ErrorKind::Timeout,
            EmbedError::Canceled => ErrorKind::Unavailable,
        }
    }
}

/// An engine that cannot start or does not end.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum EngineError {
    /// No thread.
    #[error(
        "the engine's thread could not start: {cause}; the machine is out of threads or memory"
    )]
    Thread {
        /// The system's words.
        cause: String,
    },
    /// No masks.
    #[error(transparent)]
    Masks(#[from] GrammarError),
    /// No room for a single block.
    #[error(
        "the KV cache has {blocks} blocks and a pass {rows} rows; expected at least one of each; raise --context"
    )]
    NoRoom {
        /// Blocks found.
        blocks: usize,
        /// Rows found.
        rows: usize,
    },
    /// It does not end.
    #[error(
        "the engine's thread did not end within {limit_s} s; it is in a forward pass that does not come back"
    )]
    NotEnding {
        /// The limit, in seconds.
        limit_s: f64,
    },
    /// It ended by a panic, or with a GPU.
    #[error("the engine's thread ended: {0}")]
    Died(FatalError),
}

impl HasKind for EngineError {
    fn kind(&self) -> ErrorKind {
        match self {
            EngineError::NotEnding { .. } => ErrorKind::Timeout,
            EngineError::NoRoom { .. } => ErrorKind::OutOfMemory,
            EngineError::Masks(cause) => cause.kind(),
            EngineError::Died(death) => death.kind,
            EngineError::Thread { .. } => ErrorKind::Bug,
        }
    }
}

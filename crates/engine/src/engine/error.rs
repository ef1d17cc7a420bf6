//! Errors of an engine: at submission, while waiting, of embeddings, and of the engine itself.
//! [`RequestError`] is the scheduler's.

use error_kind::{ErrorKind, HasKind};

use super::{FatalError, RequestError};
use crate::grammar::GrammarError;
use crate::models::ForwardError;

impl From<ForwardError> for RequestError {
    fn from(cause: ForwardError) -> Self {
        RequestError::Forward { kind: cause.kind(), cause: cause.to_string() }
    }
}

/// Why a request was not accepted.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SubmitError {
    /// The queue is full.
    #[error("{limit} requests are waiting already, which is the limit; try again later")]
    QueueFull {
        /// Requests that may wait.
        limit: usize,
    },
    /// The engine shuts down.
    #[error("the engine is shutting down and accepts no more requests")]
    Closed,
    /// A fatal error ended the engine's thread.
    #[error("the engine's thread ended: {0}; load the model again")]
    Died(FatalError),
    /// The request is invalid.
    #[error(transparent)]
    Request(#[from] RequestError),
}

impl HasKind for SubmitError {
    fn kind(&self) -> ErrorKind {
        match self {
            SubmitError::QueueFull { .. } | SubmitError::Closed => ErrorKind::Unavailable,
            SubmitError::Died(error) => error.kind,
            SubmitError::Request(cause) => cause.kind(),
        }
    }
}

/// Why a wait for a response returned no event.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum WaitError {
    /// No event in time; the request goes on.
    #[error(
        "no event of the request within {limit_s} s; wait longer, or drop the handle to cancel it"
    )]
    Timeout {
        /// The limit, in seconds.
        limit_s: f64,
    },
    /// A fatal error ended the engine's thread.
    #[error("the engine's thread ended: {0}; load the model again")]
    Died(FatalError),
    /// The completion was taken before.
    #[error("the request has ended and its completion was taken")]
    Over,
}

impl HasKind for WaitError {
    fn kind(&self) -> ErrorKind {
        match self {
            WaitError::Timeout { .. } => ErrorKind::Timeout,
            WaitError::Died(error) => error.kind,
            WaitError::Over => ErrorKind::Bug,
        }
    }
}

/// Why a text was not embedded.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum EmbedError {
    /// The request was not accepted.
    #[error(transparent)]
    Submit(#[from] SubmitError),
    /// The request failed.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The engine failed.
    #[error(transparent)]
    Wait(#[from] WaitError),
    /// Not complete in time.
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

/// Why an engine cannot start, or did not end as it should.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum EngineError {
    /// The engine's thread cannot start.
    #[error(
        "the engine's thread could not start: {cause}; the machine is out of threads or memory"
    )]
    Thread {
        /// Message of the operating system.
        cause: String,
    },
    /// The mask threads cannot start.
    #[error(transparent)]
    Masks(#[from] GrammarError),
    /// The KV cache or the model's buffers hold nothing.
    #[error(
        "the KV cache has {blocks} blocks and a pass {rows} rows; expected at least one of each; raise --context"
    )]
    NoCapacity {
        /// Free blocks.
        blocks: usize,
        /// Rows of a forward pass.
        rows: usize,
    },
    /// The thread did not end.
    #[error("the engine's thread did not end within {limit_s} s: its forward pass does not return")]
    NotEnding {
        /// The limit, in seconds.
        limit_s: f64,
    },
    /// A fatal error ended the thread.
    #[error("the engine's thread ended: {0}")]
    Died(FatalError),
}

impl HasKind for EngineError {
    fn kind(&self) -> ErrorKind {
        match self {
            EngineError::NotEnding { .. } => ErrorKind::Timeout,
            EngineError::NoCapacity { .. } => ErrorKind::OutOfMemory,
            EngineError::Masks(cause) => cause.kind(),
            EngineError::Died(error) => error.kind,
            EngineError::Thread { .. } => ErrorKind::Bug,
        }
    }
}

//! Errors of submitting a request, of waiting for its response, of embedding a text, and of the
//! engine itself. The scheduler defines [`RequestError`].

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
    #[error("{limit} requests are waiting already, which is the limit; try again later")]
    QueueFull { limit: usize },
    #[error("the engine is shutting down and accepts no more requests")]
    Closed,
    #[error("the engine's thread ended: {0}; load the model again")]
    Died(FatalError),
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
    #[error(
        "no event of the request within {limit_s} s; wait longer, or drop the handle to cancel it"
    )]
    Timeout { limit_s: f64 },
    #[error("the engine's thread ended: {0}; load the model again")]
    Died(FatalError),
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
    #[error(transparent)]
    Submit(#[from] SubmitError),
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error(transparent)]
    Wait(#[from] WaitError),
    #[error("the text was not embedded within {limit_s} s; wait longer, or send less at a time")]
    Late { limit_s: f64 },
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

/// Why an engine could not start, or why its shutdown failed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum EngineError {
    #[error(
        "the engine's thread could not start: {cause}; the machine is out of threads or memory"
    )]
    Thread { cause: String },
    #[error(transparent)]
    Masks(#[from] GrammarError),
    #[error(
        "the KV cache has {blocks} blocks and a pass {rows} rows; expected at least one of each; raise --context"
    )]
    NoCapacity { blocks: usize, rows: usize },
    #[error("the engine's thread did not end within {limit_s} s: its forward pass does not return")]
    NotEnding { limit_s: f64 },
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

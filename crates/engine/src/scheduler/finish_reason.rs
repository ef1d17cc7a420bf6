//! Why a sequence ended.

use super::RequestError;

/// Why a response ended.
#[derive(Clone, Debug, PartialEq)]
pub enum FinishReason {
    /// The model sampled an end token.
    Eos,
    /// The response reached one of the request's stop tokens or stop strings.
    Stop,
    /// The grammar is complete: no token can follow.
    Grammar,
    /// The response reached the limit of new tokens or the end of the context.
    Length,
    /// The request's deadline passed.
    Deadline,
    /// The request was canceled, its handle was dropped, or the engine shut down.
    Canceled,
    /// The embedding is computed.
    Embedded,
    /// The request failed.
    Error(RequestError),
}

impl FinishReason {
    /// The name in JSON and metrics.
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

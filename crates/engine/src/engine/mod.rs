//! Continuous batching: requests from many threads, one model, one engine thread.
//!
//! As in vLLM V1, [`Engine`] is a handle to a thread that runs [`core`]: schedule, forward, sample,
//! update. Submitting a [`Request`] puts it into a bounded queue and returns a [`ResponseHandle`],
//! which receives the tokens as they are sampled; dropping the handle cancels the request.
//!
//! A response never depends on concurrent requests: the model is batch-invariant, random numbers
//! depend on (seed, position), and a grammar depends on the response's own tokens. Concurrent
//! requests affect only the response's duration.

mod core;
mod detokenizer;
mod error;
mod handle;
mod lifecycle;
mod masks;
mod metrics;
mod options;
mod request;
mod response;
mod runner;
mod sampler;
mod submit;
mod thread;

pub use crate::scheduler::{DraftStats, FinishReason, RequestError, Thinking};
pub use error::{EmbedError, EngineError, SubmitError, WaitError};
pub use handle::Engine;
pub use lifecycle::FatalError;
pub use metrics::EngineStats;
pub use options::EngineOptions;
pub use request::{EmbedRequest, Notify, Request};
pub use response::{Completion, Delta, ResponseEvent, ResponseHandle};
pub use runner::{Forward, ForwardLimits, ModelRunner};

#[cfg(test)]
mod tests;

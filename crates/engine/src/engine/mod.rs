//! Many requests, one model: continuous batching over a paged KV cache with shared prefixes.
//!
//! An [`Engine`] is a handle to a thread that owns the model. A [`Request`] goes in through a
//! bounded queue and gives a [`ResponseHandle`], from which its tokens come as they are made; dropping the
//! ticket cancels it. The way of a request: [`engine`](Engine::submit) checks it and compiles its
//! constraint, [`queue`] holds it, the [`plan`] of a step gives it rows, [`memory`] gives it blocks
//! (equal prefixes share theirs), a [`draft`] guesses how it goes on, the [`step`] computes all
//! rows in one pass and chooses tokens, the [`mailbox`] brings them to the ticket.
//!
//! What a reply holds never depends on its neighbors: the model is batch-invariant, a draw depends
//! on (seed, position), a constraint on the reply's own tokens. Neighbors change only how long it
//! takes.

mod detokenizer;
mod embed;
mod error;
mod event;
mod forward;
mod handle;
mod lifecycle;
mod mailbox;
mod memory;
mod metrics;
mod ngram_proposer;
mod options;
mod plan;
mod prefix;
mod queue;
mod reply;
mod request;
mod sampler;
mod scheduler;
mod sequence;
mod step;
mod worker;

pub use error::{EmbedError, EngineError, FatalError, RequestError, SubmitError, WaitError};
pub use event::{Completion, Delta, DraftStats, FinishReason, ResponseEvent};
pub use forward::{Forward, ForwardLimits, ModelRunner};
pub use handle::Engine;
pub use mailbox::ResponseHandle;
pub use metrics::EngineStats;
pub use options::EngineOptions;
pub use request::{EmbedRequest, Notify, Request};

#[cfg(test)]
mod tests;

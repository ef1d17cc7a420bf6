//! Many requests, one model: continuous batching over a paged KV cache with shared prefixes.
//!
//! An [`Engine`] is a handle to a thread that owns the model. A [`Request`] goes in through a
//! bounded queue and gives a [`Ticket`], from which its tokens come as they are made; dropping the
//! ticket cancels it. The way of a request: [`engine`](Engine::submit) checks it and compiles its
//! constraint, [`queue`] holds it, the [`plan`] of a step gives it rows, [`memory`] gives it blocks
//! (equal prefixes share theirs), a [`draft`] guesses how it goes on, the [`step`] computes all
//! rows in one pass and chooses tokens, the [`mailbox`] brings them to the ticket.
//!
//! What a reply holds never depends on its neighbors: the model is batch-invariant, a draw depends
//! on (seed, position), a constraint on the reply's own tokens. Neighbors change only how long it
//! takes.

mod draft;
mod embed;
mod engine;
mod error;
mod event;
mod forward;
mod life;
mod mailbox;
mod memory;
mod options;
mod plan;
mod prefix;
mod queue;
mod reply;
mod request;
mod sampler;
mod scheduler;
mod sequence;
mod stats;
mod step;
mod text_out;
mod worker;

pub use engine::Engine;
pub use error::{Death, EmbedError, EngineError, Refused, RequestError, WaitError};
pub use event::{Drafts, Event, FinishReason, Finished, Piece};
pub use forward::{Forward, ForwardLimits, Runner};
pub use mailbox::Ticket;
pub use options::EngineOptions;
pub use request::{EmbedRequest, Notify, Request};
pub use stats::Stats;

#[cfg(test)]
mod tests;

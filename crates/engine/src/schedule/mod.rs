//! Continuous batching: requests join and leave between forward passes, and share keys and values of equal prefixes.
//!
//! ```text
//! Engine::submit -> queue (bounded) -> waiting -> running: one pass holds one new token of each that decodes, and chunks of
//! prompts as far as there are rows -> finished: its blocks stay in the prefix cache until their room is needed
//! ```
//!
//! A request is admitted only when its longest outcome fits the planned blocks, so nothing ever has to be thrown out.

mod engine;
mod prefix;
mod request;
mod sequence;
mod worker;

pub use engine::{Engine, EngineOptions, Stats};
pub use request::{Event, Finish, Finished, Refused, Request, Ticket};

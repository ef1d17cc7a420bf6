//! Loads a model and turns requests into tokens.
//!
//! - [`load()`]: a checkpoint and a plan become a [`Model`] and its [`KvPool`], watched and
//!   bounded.
//! - [`Model::forward`]: a [`Batch`] of tokens becomes [`Logits`]; the same bits whatever else is
//!   in the batch.
//! - [`score`]: log-probabilities of a given text.
//! - [`Engine`]: continuous batching of requests from many threads over one model.
//! - [`sampling`]: samples a token from a row of logits; [`grammar`]: masks the tokens that a JSON
//!   schema does not allow.
//! - [`mod@bench`]: how fast it is, beside what the machine allows.

pub mod batch;
pub mod bench;
mod compute;
mod engine;
pub mod grammar;
pub mod kv;
mod layers;
pub mod load;
pub mod models;
pub mod sampling;
mod score;

pub use batch::{Batch, BatchError, Logits, SequenceSpan};
pub use engine::{
    Completion, Delta, DraftStats, EmbedError, EmbedRequest, Engine, EngineError, EngineOptions,
    EngineStats, FatalError, FinishReason, Forward, ForwardLimits, ModelRunner, Notify, Request,
    RequestError, ResponseEvent, ResponseHandle, SubmitError, WaitError,
};
pub use kv::{BLOCK_TOKENS, BlockId, KvError, KvLayout, KvPool};
pub use load::{LoadError, LoadReport, LoadRequest, Loaded, load};
pub use models::{ForwardError, Model, Scratch};
pub use score::{Score, ScoreError, score};

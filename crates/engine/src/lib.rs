//! Loads a model and generates tokens for requests.
//!
//! - [`load()`]: a checkpoint and a placement plan become a [`Model`] and its [`KvPool`].
//! - [`Model::forward`]: a [`Batch`] of tokens becomes [`Logits`], with the same bits whatever else
//!   is in the batch.
//! - [`score`]: log-probabilities of a given text.
//! - [`Engine`]: continuous batching of requests from many threads over one model.
//! - [`sampling`]: samples a token from a row of logits; [`grammar`]: masks the tokens that a JSON
//!   schema does not allow.
//! - [`mod@bench`]: speed compared with the machine's limits.

pub mod batch;
pub mod bench;
mod devices;
mod engine;
pub mod grammar;
pub mod kv;
mod layers;
pub mod load;
pub mod models;
pub mod sampling;
mod scheduler;
mod score;
mod weights;

pub use batch::{Batch, BatchError, Logits, SequenceSpan};
pub use engine::{
    Completion, Delta, DraftStats, EmbedError, EmbedRequest, Engine, EngineError, EngineOptions,
    EngineStats, FatalError, FinishReason, Forward, ForwardLimits, ModelRunner, Notify, Request,
    RequestError, ResponseEvent, ResponseHandle, SubmitError, WaitError,
};
pub use kv::{BLOCK_TOKENS, BlockId, KvError, KvLayout, KvPool};
pub use load::{LoadError, LoadReport, LoadRequest, Loaded, load};
pub use models::{CompositionError, ForwardError, ForwardScratch, Model};
pub use score::{ScoreError, TextScore, score};
pub use weights::{ShardError, WeightError};

//! Loads a model and generates tokens for requests.
//!
//! - [`load()`]: turns a checkpoint and a placement plan into a [`Model`] and its [`KvPool`].
//! - [`Model::forward`]: computes the [`Logits`] of a [`Batch`] of tokens. The bits of a sequence's
//!   logits do not depend on the other sequences of the batch.
//! - [`score`]: log-probabilities of a given text.
//! - [`Engine`]: continuous batching of requests from many threads over one model.
//! - [`sampling`]: samples a token from a row of logits; [`grammar`]: masks the tokens that a JSON
//!   schema does not allow.
//! - [`mod@bench`]: throughput compared with the machine's roofline.

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
    RequestError, ResponseEvent, ResponseHandle, SubmitError, Thinking, WaitError,
};
pub use kv::{BLOCK_TOKENS, BlockId, KvError, KvLayout, KvPool};
pub use load::{LoadError, LoadReport, LoadRequest, Loaded, load};
pub use models::{CompositionError, ForwardError, ForwardScratch, Model};
pub use score::{ScoreError, TextScore, score};
pub use weights::{ExpertCacheReport, ExpertCacheStats, ShardError, WeightError};

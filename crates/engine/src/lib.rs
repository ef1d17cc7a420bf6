//! Loads a model and turns requests into tokens.
//!
//! - [`load()`]: a checkpoint and a plan become a [`Model`] and its [`KvPool`], watched and
//!   bounded.
//! - [`Model::forward`]: a [`Batch`] of tokens becomes [`Logits`]; the same bits whatever else is
//!   in the batch.
//! - [`score`]: log-probabilities of a given text.
//! - [`sample`]: a row of logits becomes a token; [`constrain`]: only tokens that fit a schema.
//! - [`mod@bench`]: how fast it is, beside what the machine allows.
//! - [`schedule`]: requests from many threads become replies, batched over one model.

pub mod batch;
pub mod bench;
mod compute;
pub mod constrain;
pub mod kv;
mod layers;
pub mod load;
pub mod models;
pub mod sample;
pub mod schedule;
mod score;

pub use batch::{Batch, BatchError, Logits, SequenceSpan};
pub use kv::{BLOCK_TOKENS, BlockId, KvError, KvLayout, KvPool};
pub use load::{LoadError, LoadReport, LoadRequest, Loaded, load};
pub use models::{ForwardError, Model, Scratch};
pub use score::{Score, ScoreError, score};

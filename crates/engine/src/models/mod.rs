//! Families as compositions of `layers`, and the model that runs them.

pub(crate) mod block;
mod embedding;
mod error;
mod forward;
mod llama;
mod model;
mod olmo2;
mod phi;
mod phi3;
mod scratch;
mod work;

pub(crate) use block::Block;
pub(crate) use embedding::{DiskRows, Embedding};
pub use error::ForwardError;
pub use model::Model;
pub(crate) use model::{HostBlock, HostHead, Parts};
pub(crate) use scratch::Capacity;
pub use scratch::Scratch;

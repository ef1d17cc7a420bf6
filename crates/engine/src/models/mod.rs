//! The models: one file for each model family, built from [`crate::layers`]; the loaded [`Model`],
//! and its forward pass.

mod deepseek;
mod device_buffers;
mod embedding;
mod error;
mod forward;
mod layer;
mod layer_source;
mod llama;
mod model;
mod olmo2;
mod phi;
mod phi3;
mod scratch;

pub(crate) use embedding::Embedding;
pub use error::{CompositionError, ForwardError};
pub(crate) use layer::{TransformerLayer, check_supported};
pub(crate) use layer_source::LayerSource;
pub use model::Model;
pub(crate) use model::{HostLayer, HostLmHead, ModelParts, lm_head};
pub use scratch::ForwardScratch;
pub(crate) use scratch::ModelCapacity;

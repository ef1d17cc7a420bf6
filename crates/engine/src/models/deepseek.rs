//! DeepSeek-V2: Llama's layer with latent attention. The first layers have an MLP, the others a
//! mixture of experts.

use checkpoint::{Mla, ModelConfig};
use device::Backend;

use super::llama::LlamaLayer;
use crate::layers::{FeedForward, LatentAttention, SelfAttention};
use crate::weights::{TensorView, WeightError};

/// Builds layer `layer` with the latent attention `mla`.
pub(crate) fn layer<B: Backend>(
    tensors: &TensorView<B>,
    config: &ModelConfig,
    mla: &Mla,
    layer: usize,
) -> Result<LlamaLayer<B>, WeightError> {
    let attention = LatentAttention::new(&tensors.pp("self_attn"), config, mla)?;
    let feed_forward = FeedForward::new(tensors, config, layer)?;
    LlamaLayer::with(tensors, config, SelfAttention::Latent(Box::new(attention)), feed_forward)
}

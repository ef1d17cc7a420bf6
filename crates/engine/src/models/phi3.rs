//! Phi-3: Llama's layer with fused projections (`qkv_proj` and `gate_up_proj`).

use checkpoint::ModelConfig;
use device::Backend;

use super::llama::LlamaLayer;
use crate::layers::{Attention, FeedForward, Mlp, MlpShape, SelfAttention};
use crate::weights::{TensorView, WeightError};

/// Builds layer `layer`.
pub(crate) fn layer<B: Backend>(
    tensors: &TensorView<B>,
    config: &ModelConfig,
    layer: usize,
) -> Result<LlamaLayer<B>, WeightError> {
    let attention = Attention::fused(&tensors.pp("self_attn"), config, layer)?;
    let mlp = Mlp::fused(&tensors.pp("mlp"), MlpShape::of(config))?;
    let attention = SelfAttention::Grouped(attention);
    LlamaLayer::with(tensors, config, attention, FeedForward::Dense(mlp))
}

//! Llama, Mistral, Qwen2, Qwen3 and their mixtures of experts: `x += attention(attn_norm(x));
//! x += feed_forward(ffn_norm(x))`. These families differ in biases, QK norms, sliding windows and
//! experts, which [`Attention`] and [`FeedForward`] take from the configuration. Other families
//! have this layer with another attention ([`SelfAttention`]) or fused projections. Routed experts
//! are computed after the layer, on the device that has them.

use checkpoint::ModelConfig;
use device::{Backend, DeviceError};

use super::layer::add_to_residual;
use crate::layers::{ActivationBuffers, Attention, FeedForward, LayerContext, Norm, SelfAttention};
use crate::weights::{TensorView, WeightError};

/// One transformer layer.
pub(crate) struct LlamaLayer<B: Backend> {
    attn_norm: Norm<B>,
    attention: SelfAttention<B>,
    ffn_norm: Norm<B>,
    feed_forward: FeedForward<B>,
}

impl<B: Backend> LlamaLayer<B> {
    /// Builds layer `layer` from separate projection matrices.
    pub fn new(
        tensors: &TensorView<B>,
        config: &ModelConfig,
        layer: usize,
    ) -> Result<Self, WeightError> {
        let attention = Attention::separate(&tensors.pp("self_attn"), config, layer, "o_proj")?;
        let feed_forward = FeedForward::new(tensors, config, layer)?;
        Self::with(tensors, config, SelfAttention::Grouped(attention), feed_forward)
    }

    /// Builds a layer from the given attention and feed-forward network, whose projections may be
    /// stored fused.
    pub fn with(
        tensors: &TensorView<B>,
        config: &ModelConfig,
        attention: SelfAttention<B>,
        feed_forward: FeedForward<B>,
    ) -> Result<Self, WeightError> {
        let norm = |name: &str| Norm::new(&tensors.pp(name), config.hidden_size, config.norm);
        let (attn_norm, ffn_norm) = (norm("input_layernorm")?, norm("post_attention_layernorm")?);
        Ok(LlamaLayer { attn_norm, attention, ffn_norm, feed_forward })
    }

    /// Computes the layer on `buffers.x`, without routed experts and what follows them.
    pub fn forward(
        &self,
        ctx: &mut LayerContext<B>,
        buffers: &mut ActivationBuffers<B>,
    ) -> Result<(), DeviceError> {
        let ActivationBuffers { x, norm_out, packed, .. } = buffers;
        let epilogue = self.attention.epilogue(ctx, packed);
        self.attn_norm.forward(ctx.backend(), x, norm_out, Some(epilogue))?;
        self.attention.forward(ctx, buffers)?;
        let ActivationBuffers { x, norm_out, branch_out: attn_out, packed, .. } = buffers;
        let epilogue = self.feed_forward.epilogue(ctx, packed);
        self.ffn_norm.add_forward(ctx.backend(), x, attn_out, norm_out, epilogue)?;
        self.feed_forward.forward(ctx, buffers)?;
        if self.feed_forward.is_whole() { add_to_residual(ctx, buffers) } else { Ok(()) }
    }
}

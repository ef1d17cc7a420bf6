//! DeepSeek-V2: `x += attention(attn_norm(x)); x += feed_forward(ffn_norm(x))` with latent
//! attention. The first layers have an MLP, the others a mixture of experts.

use checkpoint::{Mla, ModelConfig};
use device::{Backend, DeviceError};

use super::layer::add_to_residual;
use crate::layers::{ActivationBuffers, FeedForward, LatentAttention, LayerContext, Norm};
use crate::weights::{TensorView, WeightError};

/// One transformer layer.
pub(crate) struct DeepseekLayer<B: Backend> {
    attn_norm: Norm<B>,
    attention: LatentAttention<B>,
    ffn_norm: Norm<B>,
    feed_forward: FeedForward<B>,
}

impl<B: Backend> DeepseekLayer<B> {
    /// Builds layer `layer` with the latent attention `mla`.
    pub fn new(
        tensors: &TensorView<B>,
        config: &ModelConfig,
        mla: &Mla,
        layer: usize,
    ) -> Result<Self, WeightError> {
        let norm = |name: &str| Norm::new(&tensors.pp(name), config.hidden_size, config.norm);
        Ok(DeepseekLayer {
            attn_norm: norm("input_layernorm")?,
            attention: LatentAttention::new(&tensors.pp("self_attn"), config, mla)?,
            ffn_norm: norm("post_attention_layernorm")?,
            feed_forward: FeedForward::new(tensors, config, layer)?,
        })
    }

    /// Computes the layer on `buffers.x`.
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
        add_to_residual(ctx, buffers)
    }
}

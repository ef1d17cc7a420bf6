//! Llama, Mistral, Qwen2 and Qwen3: `x += attention(attn_norm(x)); x += mlp(ffn_norm(x))`. These
//! families differ in biases, QK norms and sliding windows, which [`Attention`] takes from the
//! configuration.

use checkpoint::ModelConfig;
use device::{Backend, DeviceError};

use super::layer::add_to_residual;
use crate::layers::{ActivationBuffers, Attention, LayerContext, Mlp, MlpShape, Norm};
use crate::weights::{TensorView, WeightError};

/// One transformer layer.
pub(crate) struct LlamaLayer<B: Backend> {
    attn_norm: Norm<B>,
    attention: Attention<B>,
    ffn_norm: Norm<B>,
    mlp: Mlp<B>,
}

impl<B: Backend> LlamaLayer<B> {
    /// Builds layer `layer` from separate projection matrices.
    pub fn new(
        tensors: &TensorView<B>,
        config: &ModelConfig,
        layer: usize,
    ) -> Result<Self, WeightError> {
        let attention = Attention::separate(&tensors.pp("self_attn"), config, layer, "o_proj")?;
        let mlp = Mlp::gated(&tensors.pp("mlp"), MlpShape::of(config))?;
        Self::with(tensors, config, attention, mlp)
    }

    /// Builds a layer from the given attention and MLP, whose projections may be stored fused.
    pub fn with(
        tensors: &TensorView<B>,
        config: &ModelConfig,
        attention: Attention<B>,
        mlp: Mlp<B>,
    ) -> Result<Self, WeightError> {
        let norm = |name: &str| Norm::new(&tensors.pp(name), config.hidden_size, config.norm);
        let (attn_norm, ffn_norm) = (norm("input_layernorm")?, norm("post_attention_layernorm")?);
        Ok(LlamaLayer { attn_norm, attention, ffn_norm, mlp })
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
        let epilogue = self.mlp.epilogue(ctx, packed);
        self.ffn_norm.add_forward(ctx.backend(), x, attn_out, norm_out, epilogue)?;
        self.mlp.forward(ctx, buffers)?;
        add_to_residual(ctx, buffers)
    }
}

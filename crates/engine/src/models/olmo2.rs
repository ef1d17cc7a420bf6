//! OLMo-2: norms after attention and MLP instead of before them:
//! `x += attn_norm(attention(x)); x += ffn_norm(mlp(x))`.

use checkpoint::ModelConfig;
use device::{Backend, DeviceError};

use super::layer::add_to_residual;
use crate::layers::{ActivationBuffers, Attention, LayerContext, Mlp, MlpShape, Norm};
use crate::weights::{TensorView, WeightError};

/// One transformer layer.
pub(crate) struct Olmo2Layer<B: Backend> {
    attention: Attention<B>,
    attn_norm: Norm<B>,
    mlp: Mlp<B>,
    ffn_norm: Norm<B>,
}

impl<B: Backend> Olmo2Layer<B> {
    /// Builds layer `layer`.
    pub fn new(
        tensors: &TensorView<B>,
        config: &ModelConfig,
        layer: usize,
    ) -> Result<Self, WeightError> {
        let norm = |name: &str| Norm::new(&tensors.pp(name), config.hidden_size, config.norm);
        Ok(Olmo2Layer {
            attention: Attention::separate(&tensors.pp("self_attn"), config, layer, "o_proj")?,
            attn_norm: norm("post_attention_layernorm")?,
            mlp: Mlp::gated(&tensors.pp("mlp"), MlpShape::of(config))?,
            ffn_norm: norm("post_feedforward_layernorm")?,
        })
    }

    /// Computes the layer on `buffers.x`.
    pub fn forward(
        &self,
        ctx: &mut LayerContext<B>,
        buffers: &mut ActivationBuffers<B>,
    ) -> Result<(), DeviceError> {
        // Attention and MLP read the residual stream without a norm, so it is packed here and not
        // in a norm's epilogue.
        ctx.backend().pack(&buffers.x, self.attention.epilogue(ctx, &mut buffers.packed))?;
        self.attention.forward(ctx, buffers)?;
        add_normed(&self.attn_norm, ctx, buffers)?;
        ctx.backend().pack(&buffers.x, self.mlp.epilogue(ctx, &mut buffers.packed))?;
        self.mlp.forward(ctx, buffers)?;
        add_normed(&self.ffn_norm, ctx, buffers)
    }
}

/// `x += norm(branch_out)`.
fn add_normed<B: Backend>(
    norm: &Norm<B>,
    ctx: &LayerContext<B>,
    buffers: &mut ActivationBuffers<B>,
) -> Result<(), DeviceError> {
    norm.forward_inplace(ctx.backend(), &mut buffers.branch_out)?;
    add_to_residual(ctx, buffers)
}

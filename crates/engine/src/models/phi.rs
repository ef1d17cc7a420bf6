//! Phi-2: attention and MLP in parallel, after one norm: `x += attention(norm(x)) + mlp(norm(x))`.

use checkpoint::ModelConfig;
use device::{Backend, DeviceError};

use super::layer::add_to_residual;
use crate::layers::{ActivationBuffers, Attention, LayerContext, Mlp, MlpShape, Norm};
use crate::weights::{TensorView, WeightError};

/// One transformer layer.
pub(crate) struct PhiLayer<B: Backend> {
    norm: Norm<B>,
    attention: Attention<B>,
    mlp: Mlp<B>,
}

impl<B: Backend> PhiLayer<B> {
    /// Builds layer `layer`.
    pub fn new(
        tensors: &TensorView<B>,
        config: &ModelConfig,
        layer: usize,
    ) -> Result<Self, WeightError> {
        Ok(PhiLayer {
            norm: Norm::new(&tensors.pp("input_layernorm"), config.hidden_size, config.norm)?,
            attention: Attention::separate(&tensors.pp("self_attn"), config, layer, "dense")?,
            mlp: Mlp::ungated(&tensors.pp("mlp"), MlpShape::of(config))?,
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
        self.norm.forward(ctx.backend(), x, norm_out, Some(epilogue))?;
        self.attention.forward(ctx, buffers)?;
        add_to_residual(ctx, buffers)?;
        // `packed` was overwritten by attention, `norm_out` was not.
        ctx.backend().pack(&buffers.norm_out, self.mlp.epilogue(ctx, &mut buffers.packed))?;
        self.mlp.forward(ctx, buffers)?;
        add_to_residual(ctx, buffers)
    }
}

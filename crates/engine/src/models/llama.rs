//! Llama, Mistral, Qwen2 and Qwen3: `x += attention(norm(x)); x += mlp(norm(x))`. They differ in
//! biases, q/k norms and windows, which [`Attention`] takes from the configuration.

use checkpoint::ModelConfig;
use device::DeviceError;

use super::block::add_to_residual;
use crate::compute::Compute;
use crate::layers::{Attention, Buffers, Mlp, Norm, Pass};
use crate::load::LoadError;
use crate::load::tensors::Under;

/// One block.
pub(crate) struct LlamaBlock<C: Compute> {
    attention_norm: Norm<C>,
    attention: Attention<C>,
    mlp_norm: Norm<C>,
    mlp: Mlp<C>,
}

impl<C: Compute> LlamaBlock<C> {
    /// Block `layer`, whose tensors are `tensors`.
    pub fn new(tensors: &Under<C>, config: &ModelConfig, layer: usize) -> Result<Self, LoadError> {
        let attention = Attention::separate(&tensors.under("self_attn."), config, layer, "o_proj")?;
        let mlp = Mlp::gated(&tensors.under("mlp."), super::block::mlp_shape(config))?;
        Self::of(tensors, config, attention, mlp)
    }

    /// A block of this shape with parts that were stored in another form.
    pub fn of(
        tensors: &Under<C>,
        config: &ModelConfig,
        attention: Attention<C>,
        mlp: Mlp<C>,
    ) -> Result<Self, LoadError> {
        let norm = |name| Norm::new(tensors, name, config.hidden_size, config.norm);
        let (attention_norm, mlp_norm) =
            (norm("input_layernorm")?, norm("post_attention_layernorm")?);
        Ok(LlamaBlock { attention_norm, attention, mlp_norm, mlp })
    }

    /// Computes the block on `buffers.x`.
    pub fn run(&self, pass: &mut Pass<C>, buffers: &mut Buffers<C>) -> Result<(), DeviceError> {
        let Buffers { x, normed, inputs, .. } = buffers;
        let feed = self.attention.feed(pass, inputs);
        self.attention_norm.run(pass.compute(), x, pass.numbers(), normed, Some(feed))?;
        self.attention.run(pass, buffers)?;
        let Buffers { x, normed, mixed, inputs, .. } = buffers;
        let feed = self.mlp.feed(pass, inputs);
        self.mlp_norm.run_on_sum(pass.compute(), x, mixed, pass.numbers(), normed, feed)?;
        self.mlp.run(pass, buffers)?;
        add_to_residual(pass, buffers)
    }
}

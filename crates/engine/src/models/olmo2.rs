//! OLMo-2: norms after attention and MLP, before their results are added: `x += norm(attention(x));
//! x += norm(mlp(x))`.

use checkpoint::ModelConfig;
use device::DeviceError;

use super::block::{add_to_residual, mlp_shape};
use crate::compute::Compute;
use crate::layers::{Attention, Buffers, Mlp, Norm, Pass};
use crate::load::LoadError;
use crate::load::tensors::Under;

/// One block.
pub(crate) struct Olmo2Block<C: Compute> {
    attention: Attention<C>,
    attention_norm: Norm<C>,
    mlp: Mlp<C>,
    mlp_norm: Norm<C>,
}

impl<C: Compute> Olmo2Block<C> {
    /// Block `layer`, whose tensors are `tensors`.
    pub fn new(tensors: &Under<C>, config: &ModelConfig, layer: usize) -> Result<Self, LoadError> {
        let norm = |name| Norm::new(tensors, name, config.hidden_size, config.norm);
        Ok(Olmo2Block {
            attention: Attention::separate(&tensors.under("self_attn."), config, layer, "o_proj")?,
            attention_norm: norm("post_attention_layernorm")?,
            mlp: Mlp::gated(&tensors.under("mlp."), mlp_shape(config))?,
            mlp_norm: norm("post_feedforward_layernorm")?,
        })
    }

    /// Computes the block on `buffers.x`.
    pub fn run(&self, pass: &mut Pass<C>, buffers: &mut Buffers<C>) -> Result<(), DeviceError> {
        // There is no norm before the parts: they read the residual stream itself.
        self.attention.feed(pass, &mut buffers.inputs).prepare(pass.compute(), &buffers.x)?;
        self.attention.run(pass, buffers)?;
        self.add_normed(&self.attention_norm, pass, buffers)?;
        self.mlp.feed(pass, &mut buffers.inputs).prepare(pass.compute(), &buffers.x)?;
        self.mlp.run(pass, buffers)?;
        self.add_normed(&self.mlp_norm, pass, buffers)
    }

    fn add_normed(
        &self,
        norm: &Norm<C>,
        pass: &Pass<C>,
        buffers: &mut Buffers<C>,
    ) -> Result<(), DeviceError> {
        norm.run_in_place(pass.compute(), &mut buffers.mixed, pass.numbers())?;
        add_to_residual(pass, buffers)
    }
}

//! Phi-2: attention and MLP side by side on one norm: `x += attention(norm(x)) + mlp(norm(x))`.

use checkpoint::ModelConfig;
use device::DeviceError;

use super::block::{add_to_residual, mlp_shape};
use crate::compute::Compute;
use crate::layers::{Attention, Buffers, Mlp, Norm, Pass};
use crate::load::LoadError;
use crate::load::tensors::Under;

/// One block.
pub(crate) struct PhiBlock<C: Compute> {
    norm: Norm<C>,
    attention: Attention<C>,
    mlp: Mlp<C>,
}

impl<C: Compute> PhiBlock<C> {
    /// Block `layer`, whose tensors are `tensors`.
    pub fn new(tensors: &Under<C>, config: &ModelConfig, layer: usize) -> Result<Self, LoadError> {
        Ok(PhiBlock {
            norm: Norm::new(tensors, "input_layernorm", config.hidden_size, config.norm)?,
            attention: Attention::separate(&tensors.under("self_attn."), config, layer, "dense")?,
            mlp: Mlp::plain(&tensors.under("mlp."), mlp_shape(config))?,
        })
    }

    /// Computes the block on `buffers.x`.
    pub fn run(&self, pass: &mut Pass<C>, buffers: &mut Buffers<C>) -> Result<(), DeviceError> {
        let Buffers { x, normed, inputs, .. } = buffers;
        let feed = self.attention.feed(pass, inputs);
        self.norm.run(pass.compute(), x, pass.numbers(), normed, Some(feed))?;
        self.attention.run(pass, buffers)?;
        add_to_residual(pass, buffers)?;
        // The norm's result is still there: attention does not write to it.
        self.mlp.feed(pass, &mut buffers.inputs).prepare(pass.compute(), &buffers.normed)?;
        self.mlp.run(pass, buffers)?;
        add_to_residual(pass, buffers)
    }
}

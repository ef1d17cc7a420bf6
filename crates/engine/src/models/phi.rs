//! Phi-2: attention and MLP side by side on one norm: `x += attention(norm(x)) + mlp(norm(x))`.

use checkpoint::ModelConfig;
use device::DeviceError;

use super::block::{add_to_residual, mlp_shape, normalise};
use crate::layers::{Attention, Buffers, Mlp, Norm, Pass};
use crate::load::LoadError;
use crate::load::tensors::Under;

/// One block.
#[derive(Debug)]
pub(crate) struct PhiBlock {
    norm: Norm,
    attention: Attention,
    mlp: Mlp,
}

impl PhiBlock {
    /// Block `layer`, whose tensors are `tensors`.
    pub fn new(tensors: &Under, config: &ModelConfig, layer: usize) -> Result<Self, LoadError> {
        Ok(PhiBlock {
            norm: Norm::new(tensors, "input_layernorm", config.hidden_size, config.norm)?,
            attention: Attention::separate(&tensors.under("self_attn."), config, layer, "dense")?,
            mlp: Mlp::plain(&tensors.under("mlp."), mlp_shape(config))?,
        })
    }

    /// Computes the block on `buffers.x`.
    pub fn run(&self, pass: &mut Pass, buffers: &mut Buffers) -> Result<(), DeviceError> {
        normalise(&self.norm, pass, buffers)?;
        self.attention.run(pass, buffers)?;
        add_to_residual(pass, buffers)?;
        // The norm's result is still there: attention does not write to it.
        self.mlp.run(&pass.arithmetic, pass.rows(), buffers)?;
        add_to_residual(pass, buffers)
    }
}

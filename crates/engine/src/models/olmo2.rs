//! OLMo-2: norms after attention and MLP, before their results are added: `x += norm(attention(x)); x += norm(mlp(x))`.

use checkpoint::ModelConfig;
use device::DeviceError;

use super::block::{add_to_residual, mlp_shape};
use crate::layers::{Attention, Buffers, Mlp, Norm, Pass};
use crate::load::LoadError;
use crate::load::tensors::Under;

/// One block.
#[derive(Debug)]
pub(crate) struct Olmo2Block {
    attention: Attention,
    attention_norm: Norm,
    mlp: Mlp,
    mlp_norm: Norm,
}

impl Olmo2Block {
    /// Block `layer`, whose tensors are `tensors`.
    pub fn new(tensors: &Under, config: &ModelConfig, layer: usize) -> Result<Self, LoadError> {
        let norm = |name| Norm::new(tensors, name, config.hidden_size, config.norm);
        Ok(Olmo2Block {
            attention: Attention::separate(&tensors.under("self_attn."), config, layer, "o_proj")?,
            attention_norm: norm("post_attention_layernorm")?,
            mlp: Mlp::gated(&tensors.under("mlp."), mlp_shape(config))?,
            mlp_norm: norm("post_feedforward_layernorm")?,
        })
    }

    /// Computes the block on `buffers.x`.
    pub fn run(&self, pass: &mut Pass, buffers: &mut Buffers) -> Result<(), DeviceError> {
        take_residual(pass, buffers);
        self.attention.run(pass, buffers)?;
        self.add_normed(&self.attention_norm, pass, buffers)?;
        take_residual(pass, buffers);
        self.mlp.run(&pass.arithmetic, pass.rows(), buffers)?;
        self.add_normed(&self.mlp_norm, pass, buffers)
    }

    fn add_normed(&self, norm: &Norm, pass: &Pass, buffers: &mut Buffers) -> Result<(), DeviceError> {
        let numbers = pass.rows() * pass.hidden;
        norm.run_in_place(pass.arithmetic.cpu, &mut buffers.mixed[..numbers])?;
        add_to_residual(pass, buffers)
    }
}

/// `buffers.normed = buffers.x`: there is no norm before the parts.
fn take_residual(pass: &Pass, buffers: &mut Buffers) {
    let numbers = pass.rows() * pass.hidden;
    buffers.normed[..numbers].copy_from_slice(&buffers.x[..numbers]);
}

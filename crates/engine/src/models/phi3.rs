//! Phi-3: Llama's block, its projections stored fused.

use checkpoint::ModelConfig;

use super::block::mlp_shape;
use super::llama::LlamaBlock;
use crate::compute::Compute;
use crate::layers::{Attention, Mlp};
use crate::load::LoadError;
use crate::load::tensors::Under;

/// Block `layer`, whose tensors are `tensors`.
pub(crate) fn block<C: Compute>(
    tensors: &Under<C>,
    config: &ModelConfig,
    layer: usize,
) -> Result<LlamaBlock<C>, LoadError> {
    let attention = Attention::fused(&tensors.under("self_attn."), config, layer, "o_proj")?;
    let mlp = Mlp::fused(&tensors.under("mlp."), mlp_shape(config))?;
    LlamaBlock::of(tensors, config, attention, mlp)
}

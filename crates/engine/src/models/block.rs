//! A transformer block of any family.

use checkpoint::{Family, ModelConfig};
use device::DeviceError;

use super::llama::LlamaBlock;
use super::olmo2::Olmo2Block;
use super::phi::PhiBlock;
use super::phi3;
use crate::compute::Compute;
use crate::layers::{Buffers, MlpShape, Pass};
use crate::load::LoadError;
use crate::load::tensors::Tensors;

/// A block; it exists only with all its weights.
pub(crate) enum Block<C: Compute> {
    Llama(LlamaBlock<C>),
    Olmo2(Olmo2Block<C>),
    Phi(PhiBlock<C>),
}

impl<C: Compute> Block<C> {
    /// Block `layer` of a model of this shape.
    pub fn new(
        tensors: &Tensors<C>,
        config: &ModelConfig,
        layer: usize,
    ) -> Result<Self, LoadError> {
        let tensors = tensors.under(format!("model.layers.{layer}."));
        match config.family {
            Family::Llama | Family::Mistral | Family::Qwen2 | Family::Qwen3 => {
                LlamaBlock::new(&tensors, config, layer).map(Block::Llama)
            }
            Family::Phi3 => phi3::block(&tensors, config, layer).map(Block::Llama),
            Family::Olmo2 => Olmo2Block::new(&tensors, config, layer).map(Block::Olmo2),
            Family::Phi => PhiBlock::new(&tensors, config, layer).map(Block::Phi),
            Family::Qwen3Moe | Family::GptOss | Family::DeepseekV2 => Err(unsupported(config)),
        }
    }

    /// Computes the block on `buffers.x`, `[rows, hidden]`.
    pub fn run(&self, pass: &mut Pass<C>, buffers: &mut Buffers<C>) -> Result<(), DeviceError> {
        match self {
            Block::Llama(block) => block.run(pass, buffers),
            Block::Olmo2(block) => block.run(pass, buffers),
            Block::Phi(block) => block.run(pass, buffers),
        }
    }
}

/// Refuses, before a byte is read, architectures that have no composition.
pub(crate) fn check_supported(config: &ModelConfig) -> Result<(), LoadError> {
    let composed = !matches!(config.family, Family::Qwen3Moe | Family::GptOss | Family::DeepseekV2);
    if composed && config.moe.is_none() && config.mla.is_none() {
        Ok(())
    } else {
        Err(unsupported(config))
    }
}

fn unsupported(config: &ModelConfig) -> LoadError {
    let what = match (&config.moe, &config.mla) {
        (_, Some(_)) => "latent attention",
        (Some(_), _) => "a mixture of experts",
        _ => "this architecture",
    };
    LoadError::Architecture { class_name: config.class_name.clone(), what }
}

/// The MLP's sizes as the configuration has them.
pub(crate) fn mlp_shape(config: &ModelConfig) -> MlpShape {
    // Phi's fc1 and fc2 always have biases; the others say.
    let bias = config.mlp_bias || config.family == Family::Phi;
    let (hidden, wide) = (config.hidden_size, config.intermediate_size);
    MlpShape { hidden, wide, bias, activation: config.activation }
}

/// `buffers.x += buffers.mixed`.
pub(crate) fn add_to_residual<C: Compute>(
    pass: &Pass<C>,
    buffers: &mut Buffers<C>,
) -> Result<(), DeviceError> {
    pass.compute().add(&mut buffers.x, &buffers.mixed, pass.numbers())
}

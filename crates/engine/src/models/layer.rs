//! [`TransformerLayer`]: a transformer layer of any model family.

use checkpoint::{ExpertStorage, Family, ModelConfig, Moe};
use device::{Backend, DeviceError};

use super::CompositionError;
use super::llama::LlamaLayer;
use super::olmo2::Olmo2Layer;
use super::phi::PhiLayer;
use super::{deepseek, phi3};
use crate::layers::{ActivationBuffers, LayerContext};
use crate::weights::Tensors;

/// A transformer layer with all its weights but those of routed experts.
pub(crate) enum TransformerLayer<B: Backend> {
    Llama(LlamaLayer<B>),
    Olmo2(Olmo2Layer<B>),
    Phi(PhiLayer<B>),
}

impl<B: Backend> TransformerLayer<B> {
    /// Builds layer `layer` of a model from the tensors under `model.layers.{layer}.`.
    pub fn new(
        tensors: &Tensors<B>,
        config: &ModelConfig,
        layer: usize,
    ) -> Result<Self, CompositionError> {
        let tensors = tensors.view().pp("model.layers").pp(layer);
        Ok(match config.family {
            Family::Llama
            | Family::Mistral
            | Family::Qwen2
            | Family::Qwen3
            | Family::Qwen3Moe
            | Family::Qwen2Moe
            | Family::Mixtral
            | Family::Olmoe
            | Family::GptOss => TransformerLayer::Llama(LlamaLayer::new(&tensors, config, layer)?),
            Family::Phi3 => TransformerLayer::Llama(phi3::layer(&tensors, config, layer)?),
            Family::Olmo2 => TransformerLayer::Olmo2(Olmo2Layer::new(&tensors, config, layer)?),
            Family::Phi => TransformerLayer::Phi(PhiLayer::new(&tensors, config, layer)?),
            Family::DeepseekV2 => {
                let mla = config.mla.as_ref().ok_or_else(|| unsupported(config))?;
                TransformerLayer::Llama(deepseek::layer(&tensors, config, mla, layer)?)
            }
        })
    }

    /// Computes the layer on the residual stream `buffers.x`, `[rows, hidden]`. In a layer with
    /// routed experts, these follow and then the residual connection: see
    /// [`RoutedExperts::forward`](crate::layers::RoutedExperts::forward).
    pub fn forward(
        &self,
        ctx: &mut LayerContext<B>,
        buffers: &mut ActivationBuffers<B>,
    ) -> Result<(), DeviceError> {
        match self {
            TransformerLayer::Llama(layer) => layer.forward(ctx, buffers),
            TransformerLayer::Olmo2(layer) => layer.forward(ctx, buffers),
            TransformerLayer::Phi(layer) => layer.forward(ctx, buffers),
        }
    }
}

/// Rejects architectures that no family in this module implements, before any weight is read.
pub(crate) fn check_supported(config: &ModelConfig) -> Result<(), CompositionError> {
    let transposed = config.moe.is_some_and(|moe| moe.storage == ExpertStorage::Fused);
    if transposed { Err(unsupported(config)) } else { Ok(()) }
}

fn unsupported(config: &ModelConfig) -> CompositionError {
    let what = match &config.moe {
        Some(Moe { storage: ExpertStorage::Fused, .. }) => {
            "experts in bf16 (the published MXFP4 form is)"
        }
        _ => "this architecture",
    };
    CompositionError::Unsupported { class_name: config.class_name.clone(), what }
}

/// `x += branch_out`: the residual connection.
pub(crate) fn add_to_residual<B: Backend>(
    ctx: &LayerContext<B>,
    buffers: &mut ActivationBuffers<B>,
) -> Result<(), DeviceError> {
    ctx.backend().add(&mut buffers.x, &buffers.branch_out)
}

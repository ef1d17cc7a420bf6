//! The second branch of a layer: an MLP or a mixture of experts.

use checkpoint::ModelConfig;
use device::backend::{Backend, Epilogue};

use super::{ActivationBuffers, LayerContext, LayerError, Mlp, MlpShape, MoeBlock};
use crate::weights::{TensorView, WeightError};

/// The feed-forward network of a layer.
pub(crate) enum FeedForward<B: Backend> {
    Dense(Mlp<B>),
    Experts(Box<MoeBlock<B>>),
}

impl<B: Backend> FeedForward<B> {
    /// Builds the network that `config` states for layer `layer`, from the layer's tensors.
    pub fn new(
        tensors: &TensorView<B>,
        config: &ModelConfig,
        layer: usize,
    ) -> Result<Self, WeightError> {
        match &config.moe {
            Some(moe) if config.is_sparse(layer) => {
                Ok(FeedForward::Experts(Box::new(MoeBlock::new(tensors, config, moe)?)))
            }
            _ => Mlp::gated(&tensors.pp("mlp"), MlpShape::of(config)).map(FeedForward::Dense),
        }
    }

    /// The epilogue for the operation that computes the input of [`Self::forward`], `norm_out`.
    pub fn epilogue<'a>(
        &self,
        ctx: &LayerContext<B>,
        packed: &'a mut B::PackedActivations,
    ) -> Epilogue<'a, B> {
        match self {
            FeedForward::Dense(mlp) => mlp.epilogue(ctx, packed),
            FeedForward::Experts(moe) => moe.epilogue(ctx, packed),
        }
    }

    /// `branch_out = feed_forward(norm_out)`, `[rows, hidden]`.
    pub fn forward(
        &self,
        ctx: &LayerContext<B>,
        buffers: &mut ActivationBuffers<B>,
    ) -> Result<(), LayerError> {
        match self {
            FeedForward::Dense(mlp) => Ok(mlp.forward(ctx, buffers)?),
            FeedForward::Experts(moe) => moe.forward(ctx, buffers),
        }
    }
}

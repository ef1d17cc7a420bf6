//! The second branch of a layer: an MLP or a mixture of experts.

use checkpoint::ModelConfig;
use device::DeviceError;
use device::backend::{Backend, Epilogue};

use super::{ActivationBuffers, LayerContext, Mlp, MlpShape, MoeRouter};
use crate::weights::{TensorView, WeightError};

/// The feed-forward network of a layer. [`super::RoutedExperts`] are not a part of it.
pub(crate) enum FeedForward<B: Backend> {
    Dense(Mlp<B>),
    Router(MoeRouter<B>),
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
                MoeRouter::new(tensors, config, moe).map(FeedForward::Router)
            }
            _ => Mlp::gated(&tensors.pp("mlp"), MlpShape::of(config)).map(FeedForward::Dense),
        }
    }

    /// Whether [`Self::forward`] computes the whole branch; otherwise the routed experts follow.
    pub fn is_whole(&self) -> bool {
        matches!(self, FeedForward::Dense(_))
    }

    /// The epilogue for the operation that computes the input of [`Self::forward`], `norm_out`.
    pub fn epilogue<'a>(
        &self,
        ctx: &LayerContext<B>,
        packed: &'a mut B::PackedActivations,
    ) -> Epilogue<'a, B> {
        match self {
            FeedForward::Dense(mlp) => mlp.epilogue(ctx, packed),
            FeedForward::Router(router) => router.epilogue(ctx, packed),
        }
    }

    /// `branch_out = feed_forward(norm_out)`, `[rows, hidden]`; or the scores of the routed experts
    /// and the output of the shared ones.
    pub fn forward(
        &self,
        ctx: &LayerContext<B>,
        buffers: &mut ActivationBuffers<B>,
    ) -> Result<(), DeviceError> {
        match self {
            FeedForward::Dense(mlp) => mlp.forward(ctx, buffers),
            FeedForward::Router(router) => router.forward(ctx, buffers),
        }
    }
}

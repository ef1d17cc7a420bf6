//! The first branch of a layer: grouped-query or latent attention.

use device::DeviceError;
use device::backend::{Backend, Epilogue};

use super::{ActivationBuffers, Attention, LatentAttention, LayerContext};

/// The attention of a layer.
pub(crate) enum SelfAttention<B: Backend> {
    Grouped(Attention<B>),
    Latent(Box<LatentAttention<B>>),
}

impl<B: Backend> SelfAttention<B> {
    /// The epilogue for the operation that computes the input of [`Self::forward`].
    pub fn epilogue<'a>(
        &self,
        ctx: &LayerContext<B>,
        packed: &'a mut B::PackedActivations,
    ) -> Epilogue<'a, B> {
        match self {
            SelfAttention::Grouped(attention) => attention.epilogue(ctx, packed),
            SelfAttention::Latent(attention) => attention.epilogue(ctx, packed),
        }
    }

    /// `branch_out = attention(packed)`, `[rows, hidden]`. Writes to the KV cache.
    pub fn forward(
        &self,
        ctx: &mut LayerContext<B>,
        buffers: &mut ActivationBuffers<B>,
    ) -> Result<(), DeviceError> {
        match self {
            SelfAttention::Grouped(attention) => attention.forward(ctx, buffers),
            SelfAttention::Latent(attention) => attention.forward(ctx, buffers),
        }
    }
}

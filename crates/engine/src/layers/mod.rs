//! The building blocks of transformer layers, generic over the [`device::Backend`]. Activations
//! are row-major f32, `[rows, features]`.

mod attention;
mod buffers;
mod context;
mod error;
mod expert_linear;
mod feed_forward;
mod latent_attention;
mod linear;
mod mlp;
mod moe_router;
mod norm;
mod rope;
mod routed_experts;
mod self_attention;

pub(crate) use attention::Attention;
pub(crate) use buffers::{ActivationBuffers, BufferWidths};
pub(crate) use context::LayerContext;
pub(crate) use error::LayerError;
pub(crate) use feed_forward::FeedForward;
pub(crate) use latent_attention::LatentAttention;
pub(crate) use linear::{Linear, Matmul};
pub(crate) use mlp::{Mlp, MlpShape};
pub(crate) use moe_router::MoeRouter;
pub(crate) use norm::Norm;
pub(crate) use rope::Rope;
pub(crate) use routed_experts::{RoutedExperts, SharedExpertsKind};
pub(crate) use self_attention::SelfAttention;

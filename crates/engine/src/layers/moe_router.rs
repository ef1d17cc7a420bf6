//! The part of a mixture of experts that stays with its layer: router and shared experts.

use checkpoint::{ExpertNames, ModelConfig, Moe};
use device::DeviceError;
use device::backend::{Backend, Epilogue};

use super::{ActivationBuffers, LayerContext, Linear, Mlp, MlpShape};
use crate::weights::{TensorView, WeightError};

/// Scores the experts of each row and computes the shared experts. [`super::RoutedExperts`] does
/// the rest, which may be on another device.
pub(crate) struct MoeRouter<B: Backend> {
    router: Linear<B>,
    shared: Option<SharedExperts<B>>,
}

/// The experts that every token uses.
struct SharedExperts<B: Backend> {
    mlp: Mlp<B>,
    /// `[1, hidden]` (Qwen2-MoE): the sigmoid of its output multiplies that of the MLP.
    gate: Option<Linear<B>>,
}

impl<B: Backend> MoeRouter<B> {
    /// Takes router and shared experts from the tensors of a layer.
    pub fn new(
        layer: &TensorView<B>,
        config: &ModelConfig,
        moe: &Moe,
    ) -> Result<Self, WeightError> {
        let hidden = config.hidden_size;
        let ExpertNames { block, router, shared, shared_gate, .. } =
            config.family.traits().expert_names;
        let tensors = layer.pp(block);
        let shared_experts = if moe.shared_size > 0 {
            let shape = MlpShape::of(config).with_width(moe.shared_size);
            let gate = match moe.shared_gate {
                true => Some(Linear::new(&tensors.pp(shared_gate), 1, hidden, false)?),
                false => None,
            };
            Some(SharedExperts { mlp: Mlp::gated(&tensors.pp(shared), shape)?, gate })
        } else {
            None
        };
        let router = Linear::new(&tensors.pp(router), moe.experts, hidden, moe.biases)?;
        Ok(MoeRouter { router, shared: shared_experts })
    }

    /// The epilogue for the operation that computes the input of [`Self::forward`]: packs the
    /// input, `[rows, hidden]`, for the router and the shared experts.
    pub fn epilogue<'a>(
        &self,
        ctx: &LayerContext<B>,
        packed: &'a mut B::PackedActivations,
    ) -> Epilogue<'a, B> {
        let shared = self.shared.iter().flat_map(|shared| {
            shared.gate.iter().map(Linear::dtype).chain(shared.mlp.input_dtypes())
        });
        let dtypes = std::iter::once(self.router.dtype()).chain(shared);
        ctx.matmul.epilogue_of(packed, ctx.rows, self.router.in_features(), dtypes)
    }

    /// `experts.logits = router(packed)`, `[rows, experts]`; and of the shared experts, if there
    /// are any, `branch_out`, `[rows, hidden]`, and `experts.shared_gate`, `[rows, 1]`.
    pub fn forward(
        &self,
        ctx: &LayerContext<B>,
        buffers: &mut ActivationBuffers<B>,
    ) -> Result<(), DeviceError> {
        let matmul = &ctx.matmul;
        let ActivationBuffers { packed, experts, .. } = buffers;
        matmul.forward(packed, [(&self.router, &mut experts.logits)])?;
        let Some(shared) = &self.shared else { return Ok(()) };
        if let Some(gate) = &shared.gate {
            matmul.forward(packed, [(gate, &mut experts.shared_gate)])?;
        }
        shared.mlp.forward(ctx, buffers)
    }
}

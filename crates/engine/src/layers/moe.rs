//! The mixture of experts of a layer, in place of its MLP.

use checkpoint::{ExpertNames, ExpertStorage, ModelConfig, Moe};
use device::backend::{Backend, Epilogue, ExpertActivation, RouterOptions, SharedOutput};

use super::buffers::ExpertBuffers;
use super::routed_experts::RoutedExperts;
use super::{ActivationBuffers, LayerContext, LayerError, Linear, Mlp, MlpShape};
use crate::weights::{ExpertShapes, TensorView, WeightError};

/// `sum over the chosen experts of weight * expert(x)`, plus the shared experts: `[rows, hidden]`.
pub(crate) struct MoeBlock<B: Backend> {
    router: Linear<B>,
    options: RouterOptions,
    routed: RoutedExperts<B>,
    hidden: usize,
    activation: ExpertActivation,
    shared: Option<SharedExperts<B>>,
}

/// The experts that every token uses.
struct SharedExperts<B: Backend> {
    mlp: Mlp<B>,
    /// `[1, hidden]` (Qwen2-MoE): the sigmoid of its output multiplies that of the MLP.
    gate: Option<Linear<B>>,
}

impl<B: Backend> MoeBlock<B> {
    /// Builds the block from the tensors of a layer.
    pub fn new(
        layer: &TensorView<B>,
        config: &ModelConfig,
        moe: &Moe,
    ) -> Result<Self, WeightError> {
        let hidden = config.hidden_size;
        let ExpertNames { block, router, shared, shared_gate, .. } =
            config.family.traits().expert_names;
        let tensors = layer.pp(block);
        let shapes = ExpertShapes::new(config, *moe);
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
        Ok(MoeBlock {
            router: Linear::new(&tensors.pp(router), moe.experts, hidden, moe.biases)?,
            routed: RoutedExperts::new(&tensors.pp("experts"), &shapes, hidden)?,
            hidden,
            options: RouterOptions {
                experts: moe.experts,
                experts_per_token: moe.experts_per_token,
                routing: moe.routing,
            },
            activation: match (moe.clamped, moe.storage) {
                (Some(clamped), ExpertStorage::Mxfp4) => ExpertActivation::ClampedPairs(clamped),
                (Some(clamped), _) => ExpertActivation::Clamped(clamped),
                (None, _) => ExpertActivation::Plain(config.activation),
            },
            shared: shared_experts,
        })
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

    /// `branch_out = moe(norm_out)`, `[rows, hidden]`. `packed` is `norm_out` packed by
    /// [`Self::epilogue`].
    pub fn forward(
        &self,
        ctx: &LayerContext<B>,
        buffers: &mut ActivationBuffers<B>,
    ) -> Result<(), LayerError> {
        let (matmul, backend) = (&ctx.matmul, ctx.backend());
        let ActivationBuffers { packed, experts, .. } = buffers;
        matmul.forward(packed, [(&self.router, &mut experts.logits)])?;
        backend.route(&experts.logits, &self.options, &mut experts.routes)?;
        if let Some(shared) = &self.shared {
            if let Some(gate) = &shared.gate {
                matmul.forward(packed, [(gate, &mut experts.shared_gate)])?;
            }
            shared.mlp.forward(ctx, buffers)?;
        }
        self.routed.forward(ctx, &self.activation, buffers)?;
        let ActivationBuffers { experts, branch_out, .. } = buffers;
        let shared = match self.shared.as_ref().map(|shared| &shared.gate) {
            Some(Some(_)) => SharedOutput::Gated(&experts.shared_gate),
            Some(None) => SharedOutput::Plain,
            None => SharedOutput::None,
        };
        let ExpertBuffers { out, routes, .. } = experts;
        Ok(backend.combine_experts(out, routes, shared, self.hidden, branch_out)?)
    }
}

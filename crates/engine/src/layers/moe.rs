//! The mixture of experts of a layer, in place of its MLP.

use checkpoint::{Dtype, ExpertNames, ExpertStorage, ModelConfig, Moe};
use device::DeviceError;
use device::backend::{Backend, Epilogue, ExpertActivation, RouterOptions, SharedOutput};

use super::expert_linear::ExpertLinear;
use super::{ActivationBuffers, LayerContext, Linear, Mlp, MlpShape};
use crate::weights::{TensorView, WeightError};

/// `sum over the chosen experts of weight * expert(x)`, plus the shared experts: `[rows, hidden]`.
pub(crate) struct MoeBlock<B: Backend> {
    router: Linear<B>,
    options: RouterOptions,
    gate_up: GateUp<B>,
    down_proj: ExpertLinear<B>,
    activation: ExpertActivation,
    shared: Option<SharedExperts<B>>,
}

/// The experts that every token uses.
struct SharedExperts<B: Backend> {
    mlp: Mlp<B>,
    /// `[1, hidden]` (Qwen2-MoE): the sigmoid of its output multiplies that of the MLP.
    gate: Option<Linear<B>>,
}

/// The first linear layers of the routed experts.
enum GateUp<B: Backend> {
    Separate {
        gate: ExpertLinear<B>,
        up: ExpertLinear<B>,
    },
    /// One matrix with rows of gate and up in turns (gpt-oss).
    Pairs(ExpertLinear<B>),
}

impl<B: Backend> GateUp<B> {
    fn in_features(&self) -> usize {
        let (GateUp::Separate { gate: linear, .. } | GateUp::Pairs(linear)) = self;
        linear.in_features
    }

    fn dtypes(&self) -> impl Iterator<Item = Dtype> {
        let (first, second) = match self {
            GateUp::Separate { gate, up } => (gate, Some(up)),
            GateUp::Pairs(linear) => (linear, None),
        };
        [Some(first), second].into_iter().flatten().flat_map(|l| l.dtypes.iter().copied())
    }
}

impl<B: Backend> MoeBlock<B> {
    /// Builds the block from the tensors of a layer.
    pub fn new(
        layer: &TensorView<B>,
        config: &ModelConfig,
        moe: &Moe,
    ) -> Result<Self, WeightError> {
        let hidden = config.hidden_size;
        let ExpertNames { block, router, gate, up, down, shared, shared_gate } =
            config.family.traits().expert_names;
        let tensors = layer.pp(block);
        let experts = tensors.pp("experts");
        let wide = [moe.intermediate_size, hidden];
        let bias = moe.biases;
        let separate =
            |name, shape| ExpertLinear::separate(&experts, name, moe.experts, shape, bias);
        let narrow = [hidden, moe.intermediate_size];
        let (gate_up, down_proj) = match moe.storage {
            // The loader refuses `Fused`, whose matrices are transposed.
            ExpertStorage::Separate | ExpertStorage::Fused => {
                let gate_up =
                    GateUp::Separate { gate: separate(gate, wide)?, up: separate(up, wide)? };
                (gate_up, separate(down, narrow)?)
            }
            ExpertStorage::Mxfp4 => {
                let pairs = [2 * moe.intermediate_size, hidden];
                let gate_up = ExpertLinear::mxfp4(&experts, "gate_up_proj", moe.experts, pairs)?;
                let down_proj = ExpertLinear::mxfp4(&experts, "down_proj", moe.experts, narrow)?;
                (GateUp::Pairs(gate_up), down_proj)
            }
        };
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
            router: Linear::new(&tensors.pp(router), moe.experts, hidden, bias)?,
            options: RouterOptions {
                experts: moe.experts,
                experts_per_token: moe.experts_per_token,
                routing: moe.routing,
            },
            activation: match (moe.clamped, &gate_up) {
                (Some(clamped), GateUp::Pairs(_)) => ExpertActivation::ClampedPairs(clamped),
                (Some(clamped), GateUp::Separate { .. }) => ExpertActivation::Clamped(clamped),
                (None, _) => ExpertActivation::Plain(config.activation),
            },
            gate_up,
            down_proj,
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
    ) -> Result<(), DeviceError> {
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
        let ActivationBuffers { packed, norm_out, experts, branch_out, .. } = buffers;
        let routes = &experts.routes;
        let in_features = self.gate_up.in_features();
        let epilogue = matmul.epilogue_of(packed, ctx.rows, in_features, self.gate_up.dtypes());
        backend.pack_for_experts(norm_out, routes, epilogue)?;
        let (gate_out, up_out) = (&mut experts.gate, &mut experts.up);
        match &self.gate_up {
            GateUp::Separate { gate, up } => {
                let products = [gate.product(gate_out), up.product(up_out)];
                backend.expert_linear(packed, routes, products)?;
            }
            GateUp::Pairs(pairs) => {
                backend.expert_linear(packed, routes, [pairs.product(up_out)])?;
            }
        }
        let down = &self.down_proj;
        let dtypes = down.dtypes.iter().copied();
        let epilogue = matmul.epilogue_of(packed, ctx.rows, down.in_features, dtypes);
        backend.activate_experts(&self.activation, gate_out, up_out, routes, epilogue)?;
        let product = self.down_proj.product(&mut experts.out);
        backend.expert_linear(packed, routes, [product])?;
        let shared = match self.shared.as_ref().map(|shared| &shared.gate) {
            Some(Some(_)) => SharedOutput::Gated(&experts.shared_gate),
            Some(None) => SharedOutput::Plain,
            None => SharedOutput::None,
        };
        let width = self.down_proj.out_features;
        backend.combine_experts(&experts.out, routes, shared, width, branch_out)
    }
}

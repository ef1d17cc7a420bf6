//! The routed experts of a layer, resident or on the disk tier.

use std::sync::Arc;

use checkpoint::{Dtype, ExpertStorage, ModelConfig, Moe};
use device::DeviceError;
use device::backend::{
    Backend, ExpertActivation, ExpertProduct, ExpertWeights, RouterOptions, SharedOutput,
};

use super::buffers::ExpertBuffers;
use super::expert_linear::ExpertLinear;
use super::{ActivationBuffers, LayerError, Matmul};
use crate::weights::{
    ChosenExperts, ExpertPart, ExpertShapes, ExpertSource, TensorView, WeightError,
};

/// `sum over the chosen experts of weight * expert(x)`, plus the shared experts: `[rows, hidden]`.
/// The input and the scores of the experts come from [`super::MoeRouter`].
pub(crate) struct RoutedExperts<B: Backend> {
    weights: RoutedWeights<B>,
    options: RouterOptions,
    activation: ExpertActivation,
    /// Elements of a row, the input and the output of an expert.
    hidden: usize,
    /// Elements between an expert's linear layers.
    intermediate: usize,
    shared: SharedExpertsKind,
}

/// Whether the layer has shared experts, and a gate of their output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SharedExpertsKind {
    None,
    Plain,
    Gated,
}

impl SharedExpertsKind {
    pub fn of(moe: &Moe) -> Self {
        match moe {
            Moe { shared_size: 0, .. } => SharedExpertsKind::None,
            Moe { shared_gate: true, .. } => SharedExpertsKind::Gated,
            _ => SharedExpertsKind::Plain,
        }
    }
}

enum RoutedWeights<B: Backend> {
    Resident {
        /// Gate and up; or one matrix with their rows in turns (gpt-oss).
        gate_up: Vec<ExpertLinear<B>>,
        down: ExpertLinear<B>,
    },
    /// Each pass fetches the experts that it uses.
    OnDisk(Arc<dyn ExpertSource<B>>),
}

/// The weights of one pass.
enum PassWeights<'a, B: Backend> {
    Resident { gate_up: &'a [ExpertLinear<B>], down: &'a ExpertLinear<B> },
    OnDisk(Box<dyn ChosenExperts<B> + 'a>),
}

impl<B: Backend> RoutedExperts<B> {
    /// Takes the experts of a layer from its tensors.
    pub fn new(
        layer: &TensorView<B>,
        config: &ModelConfig,
        moe: &Moe,
    ) -> Result<Self, WeightError> {
        let shapes = ExpertShapes::new(config, *moe);
        let block = config.family.traits().expert_names.block;
        let tensors = layer.pp(block).pp("experts");
        let linear = |matrix| {
            let of = |expert| shapes.matrix(&tensors, matrix, expert);
            ExpertLinear::new((0..moe.experts).map(of))
        };
        let weights = match tensors.experts() {
            Some(source) => RoutedWeights::OnDisk(source),
            None => RoutedWeights::Resident {
                gate_up: shapes.gate_up().into_iter().map(linear).collect::<Result<_, _>>()?,
                down: linear(shapes.down())?,
            },
        };
        Ok(RoutedExperts {
            weights,
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
            hidden: config.hidden_size,
            intermediate: moe.intermediate_size,
            shared: SharedExpertsKind::of(moe),
        })
    }

    pub fn shared_experts(&self) -> SharedExpertsKind {
        self.shared
    }

    /// `branch_out = moe(norm_out)`, `[rows, hidden]`, with the router's scores in
    /// `experts.logits`. `branch_out` has the output of the shared experts, and
    /// `experts.shared_gate` its gate.
    pub fn forward(
        &self,
        matmul: &Matmul<B>,
        rows: usize,
        buffers: &mut ActivationBuffers<B>,
    ) -> Result<(), LayerError> {
        let ExpertBuffers { logits, routes, .. } = &mut buffers.experts;
        matmul.backend.route(logits, &self.options, routes)?;
        self.chosen(matmul, rows, buffers)?;
        let ActivationBuffers { experts, branch_out, .. } = buffers;
        let ExpertBuffers { out, routes, shared_gate, .. } = experts;
        let shared = match self.shared {
            SharedExpertsKind::None => SharedOutput::None,
            SharedExpertsKind::Plain => SharedOutput::Plain,
            SharedExpertsKind::Gated => SharedOutput::Gated(shared_gate),
        };
        Ok(matmul.backend.combine_experts(out, routes, shared, self.hidden, branch_out)?)
    }

    /// `experts.out = expert(norm_out)` for each slot of `experts.routes`, `[slots, hidden]`.
    fn chosen(
        &self,
        matmul: &Matmul<B>,
        rows: usize,
        buffers: &mut ActivationBuffers<B>,
    ) -> Result<(), LayerError> {
        let backend = matmul.backend;
        let ActivationBuffers { packed, norm_out, experts, .. } = buffers;
        let routes = &experts.routes;
        // Begins to read from disk while the input is packed.
        let mut weights = self.weights.of_pass(routes)?;
        let dtypes = self.weights.dtypes(ExpertPart::GateUp);
        let epilogue = matmul.epilogue_of(packed, rows, self.hidden, dtypes);
        backend.pack_for_experts(norm_out, routes, epilogue)?;
        weights.for_each(ExpertPart::GateUp, |weights| match weights {
            PartWeights::Two(gate, up) => {
                let gate = ExpertProduct { weights: gate, out: &mut experts.gate };
                let up = ExpertProduct { weights: up, out: &mut experts.up };
                backend.expert_linear(packed, routes, [gate, up])
            }
            PartWeights::One(pairs) => {
                let pairs = ExpertProduct { weights: pairs, out: &mut experts.up };
                backend.expert_linear(packed, routes, [pairs])
            }
        })?;
        let dtypes = self.weights.dtypes(ExpertPart::Down);
        let epilogue = matmul.epilogue_of(packed, rows, self.intermediate, dtypes);
        backend.activate_experts(
            &self.activation,
            &mut experts.gate,
            &experts.up,
            routes,
            epilogue,
        )?;
        weights.for_each(ExpertPart::Down, |weights| {
            let (PartWeights::One(weights) | PartWeights::Two(weights, _)) = weights;
            let product = ExpertProduct { weights, out: &mut experts.out };
            backend.expert_linear(packed, routes, [product])
        })
    }
}

impl<B: Backend> RoutedWeights<B> {
    /// The dtypes of a part's weights.
    fn dtypes(&self, part: ExpertPart) -> Vec<Dtype> {
        match (self, part) {
            (RoutedWeights::OnDisk(source), part) => source.dtypes(part).to_vec(),
            (RoutedWeights::Resident { gate_up, .. }, ExpertPart::GateUp) => {
                gate_up.iter().flat_map(|linear| linear.dtypes.iter().copied()).collect()
            }
            (RoutedWeights::Resident { down, .. }, ExpertPart::Down) => down.dtypes.clone(),
        }
    }

    /// The weights for a pass whose rows use the experts of `routes`.
    fn of_pass(&self, routes: &B::ExpertRoutes) -> Result<PassWeights<'_, B>, LayerError> {
        Ok(match self {
            RoutedWeights::Resident { gate_up, down } => PassWeights::Resident { gate_up, down },
            RoutedWeights::OnDisk(source) => PassWeights::OnDisk(source.choose(routes)?),
        })
    }
}

/// The weights of the matrices of a part: one, or gate and up.
enum PartWeights<'a, B: Backend> {
    One(ExpertWeights<'a, B>),
    Two(ExpertWeights<'a, B>, ExpertWeights<'a, B>),
}

impl<B: Backend> PassWeights<'_, B> {
    /// Calls `multiply` with a part's weights: once with those of all experts if they are resident,
    /// otherwise once for all chosen experts that are in memory at a time.
    fn for_each(
        &mut self,
        part: ExpertPart,
        mut multiply: impl FnMut(PartWeights<B>) -> Result<(), DeviceError>,
    ) -> Result<(), LayerError> {
        let (gate_up, down) = match self {
            PassWeights::Resident { gate_up, down } => (*gate_up, *down),
            PassWeights::OnDisk(chosen) => {
                while let Some(slice) = chosen.next(part)? {
                    let first = slice.weights(0);
                    multiply(match slice.matrices() {
                        2 => PartWeights::Two(first, slice.weights(1)),
                        _ => PartWeights::One(first),
                    })?;
                }
                return Ok(());
            }
        };
        match (part, gate_up) {
            (ExpertPart::GateUp, [gate, up]) => {
                multiply(PartWeights::Two(gate.weights(), up.weights()))?;
            }
            (ExpertPart::GateUp, linears) => {
                linears
                    .iter()
                    .try_for_each(|linear| multiply(PartWeights::One(linear.weights())))?;
            }
            (ExpertPart::Down, _) => multiply(PartWeights::One(down.weights()))?,
        }
        Ok(())
    }
}

//! The routed experts of a layer, resident or on the disk tier.

use std::sync::Arc;

use checkpoint::Dtype;
use device::DeviceError;
use device::backend::{Backend, ExpertActivation, ExpertProduct, ExpertWeights};

use super::expert_linear::ExpertLinear;
use super::{ActivationBuffers, LayerContext, LayerError};
use crate::weights::{
    ChosenExperts, ExpertPart, ExpertShapes, ExpertSource, TensorView, WeightError,
};

/// The experts of which each row uses some.
pub(super) struct RoutedExperts<B: Backend> {
    weights: RoutedWeights<B>,
    /// Elements of a row, the input and the output of an expert.
    hidden: usize,
    /// Elements between an expert's linear layers.
    intermediate: usize,
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
    /// Takes the experts of a layer from `tensors`.
    pub fn new(
        tensors: &TensorView<B>,
        shapes: &ExpertShapes,
        hidden: usize,
    ) -> Result<Self, WeightError> {
        let linear = |matrix| {
            let of = |expert| shapes.matrix(tensors, matrix, expert);
            ExpertLinear::new((0..shapes.moe.experts).map(of))
        };
        let weights = match tensors.experts() {
            Some(source) => RoutedWeights::OnDisk(source),
            None => RoutedWeights::Resident {
                gate_up: shapes.gate_up().into_iter().map(linear).collect::<Result<_, _>>()?,
                down: linear(shapes.down())?,
            },
        };
        Ok(RoutedExperts { weights, hidden, intermediate: shapes.moe.intermediate_size })
    }

    /// `experts.out = expert(norm_out)` for each slot of `experts.routes`, `[slots, hidden]`.
    pub fn forward(
        &self,
        ctx: &LayerContext<B>,
        activation: &ExpertActivation,
        buffers: &mut ActivationBuffers<B>,
    ) -> Result<(), LayerError> {
        let (matmul, backend) = (&ctx.matmul, ctx.backend());
        let ActivationBuffers { packed, norm_out, experts, .. } = buffers;
        let routes = &experts.routes;
        // Begins to read from disk while the input is packed.
        let mut weights = self.weights.of_pass(routes)?;
        let dtypes = self.weights.dtypes(ExpertPart::GateUp);
        let epilogue = matmul.epilogue_of(packed, ctx.rows, self.hidden, dtypes);
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
        let epilogue = matmul.epilogue_of(packed, ctx.rows, self.intermediate, dtypes);
        backend.activate_experts(activation, &mut experts.gate, &experts.up, routes, epilogue)?;
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

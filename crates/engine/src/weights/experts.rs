//! Weights of routed experts, and [`ExpertSource`]: where they come from if they are not resident.

use checkpoint::{Dtype, ExpertNames, ExpertStorage, ModelConfig, Moe};
use device::backend::{Backend, ExpertOperand, ExpertWeights};
use error_kind::{ErrorKind, HasKind};

use super::{TensorView, WeightError};

/// The weights of an expert that are used together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum ExpertPart {
    /// The gate and up projections.
    GateUp,
    Down,
}

impl ExpertPart {
    pub const ALL: [ExpertPart; 2] = [ExpertPart::GateUp, ExpertPart::Down];
}

/// One matrix of one expert.
pub(crate) struct ExpertMatrix<B: Backend> {
    /// `[out_features, in_features]`
    pub weight: B::Matrix,
    /// `[out_features]`
    pub bias: Option<B::Vector>,
    /// The dtype of the weight in memory.
    pub dtype: Dtype,
}

/// The name of a matrix of an expert, and its shape `[out_features, in_features]`.
pub(crate) type MatrixShape = (&'static str, [usize; 2]);

/// Names and shapes of the matrices of a model's routed experts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExpertShapes {
    pub moe: Moe,
    names: ExpertNames,
    hidden: usize,
}

impl ExpertShapes {
    /// The experts `moe` of the model `config`.
    pub fn new(config: &ModelConfig, moe: Moe) -> Self {
        let names = config.family.traits().expert_names;
        ExpertShapes { moe, names, hidden: config.hidden_size }
    }

    /// The module of a layer's routed experts in the checkpoint: `model.layers.3.mlp.experts`.
    pub fn module(&self, layer: usize) -> String {
        format!("model.layers.{layer}.{}.experts", self.names.block)
    }

    /// The matrices of a part.
    pub fn matrices(&self, part: ExpertPart) -> Vec<MatrixShape> {
        match part {
            ExpertPart::GateUp => self.gate_up(),
            ExpertPart::Down => vec![self.down()],
        }
    }

    /// Gate and up; or one matrix with their rows in turns (gpt-oss).
    pub fn gate_up(&self) -> Vec<MatrixShape> {
        let (hidden, inner) = (self.hidden, self.moe.intermediate_size);
        match self.moe.storage {
            ExpertStorage::Mxfp4 => vec![("gate_up_proj", [2 * inner, hidden])],
            // The loader refuses `Fused`, whose matrices are transposed.
            ExpertStorage::Separate | ExpertStorage::Fused => {
                vec![(self.names.gate, [inner, hidden]), (self.names.up, [inner, hidden])]
            }
        }
    }

    pub fn down(&self) -> MatrixShape {
        let name = match self.moe.storage {
            ExpertStorage::Mxfp4 => "down_proj",
            ExpertStorage::Separate | ExpertStorage::Fused => self.names.down,
        };
        (name, [self.hidden, self.moe.intermediate_size])
    }

    /// A matrix of expert `expert` among the tensors of all experts.
    pub fn matrix<B: Backend>(
        &self,
        experts: &TensorView<B>,
        (name, shape): MatrixShape,
        expert: usize,
    ) -> Result<ExpertMatrix<B>, WeightError> {
        match self.moe.storage {
            ExpertStorage::Mxfp4 => {
                ExpertMatrix::mxfp4(experts, name, [self.moe.experts, shape[0], shape[1]], expert)
            }
            ExpertStorage::Separate | ExpertStorage::Fused => {
                let tensors = experts.pp(expert).pp(name);
                ExpertMatrix::separate(&tensors, shape, self.moe.biases)
            }
        }
    }

    /// The same matrix if each expert has tensors of its own, also where the checkpoint stores all
    /// experts in one tensor.
    pub fn matrix_of_one<B: Backend>(
        &self,
        experts: &TensorView<B>,
        (name, shape): MatrixShape,
        expert: usize,
    ) -> Result<ExpertMatrix<B>, WeightError> {
        match self.moe.storage {
            ExpertStorage::Mxfp4 => {
                ExpertMatrix::mxfp4(&experts.pp(expert), name, [1, shape[0], shape[1]], 0)
            }
            _ => self.matrix(experts, (name, shape), expert),
        }
    }
}

impl<B: Backend> ExpertMatrix<B> {
    /// Takes the tensors `weight` and, if the argument `bias` is true, `bias`.
    fn separate(
        tensors: &TensorView<B>,
        shape: [usize; 2],
        bias: bool,
    ) -> Result<Self, WeightError> {
        let (weight, dtype) = tensors.matrix_rows("weight", shape, 0..shape[0])?;
        let bias = if bias { Some(tensors.vector("bias", shape[0])?) } else { None };
        Ok(ExpertMatrix { weight, bias, dtype })
    }

    /// Takes an expert's rows of gpt-oss's tensors `{name}_blocks`, `[experts, out, in / 32, 16]`,
    /// and `{name}_scales`, `[experts, out, in / 32]`, which are MXFP4, and `{name}_bias`,
    /// `[experts, out]`.
    fn mxfp4(
        tensors: &TensorView<B>,
        name: &str,
        [experts, out_features, in_features]: [usize; 3],
        expert: usize,
    ) -> Result<Self, WeightError> {
        let rows = expert * out_features..(expert + 1) * out_features;
        let (blocks, scales) = (format!("{name}_blocks"), format!("{name}_scales"));
        let shape = [experts, out_features, in_features];
        let weight = tensors.fp4_matrix([&blocks, &scales], shape, rows.clone())?;
        let bias = tensors.vector_part(&format!("{name}_bias"), [experts, out_features], rows)?;
        Ok(ExpertMatrix { weight, bias: Some(bias), dtype: Dtype::F4 })
    }
}

/// Supplies the routed experts of one layer that are not resident.
pub(crate) trait ExpertSource<B: Backend>: Send + Sync {
    /// The dtypes in memory of a part's weights, without repetitions.
    fn dtypes(&self, part: ExpertPart) -> &[Dtype];

    /// Begins a pass of the layer, whose rows use the experts of `routes`.
    fn choose<'a>(
        &'a self,
        routes: &B::ExpertRoutes,
    ) -> Result<Box<dyn ChosenExperts<B> + 'a>, ExpertError>;
}

/// The chosen experts of a layer in one pass.
pub(crate) trait ChosenExperts<B: Backend> {
    /// The next chosen experts whose weights of `part` are in memory, as many as there are; waits
    /// if there are none. They may be given up at the next call. `None` after the last ones. Those
    /// of [`ExpertPart::GateUp`] come first.
    fn next(&mut self, part: ExpertPart) -> Result<Option<ExpertSlice<'_, B>>, ExpertError>;
}

/// Weights of some experts of a layer.
pub(crate) struct ExpertSlice<'a, B: Backend> {
    /// Number of experts of the layer.
    pub experts: usize,
    /// Experts, ascending, each with the matrices of [`ExpertShapes::matrices`].
    pub of: Vec<(usize, &'a [ExpertMatrix<B>])>,
}

impl<'a, B: Backend> ExpertSlice<'a, B> {
    /// Number of matrices of each expert.
    pub fn matrices(&self) -> usize {
        self.of.first().map_or(0, |(_, matrices)| matrices.len())
    }

    /// The weights of one matrix, by its index in [`ExpertShapes::matrices`].
    pub fn weights(&self, matrix: usize) -> ExpertWeights<'a, B> {
        let operand = |of: &(usize, &'a [ExpertMatrix<B>])| {
            let ExpertMatrix { weight, bias, .. } = of.1.get(matrix)?;
            Some(ExpertOperand { expert: of.0, weight, bias: bias.as_ref() })
        };
        let of = self.of.iter().filter_map(operand).collect();
        ExpertWeights::Some { experts: self.experts, of }
    }
}

/// Experts that did not arrive.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExpertError {
    #[error("{cause}")]
    Failed { kind: ErrorKind, cause: Box<dyn std::error::Error + Send + Sync> },
    #[error("an expert of layer {layer} did not arrive within {limit_s} s")]
    Timeout { layer: usize, limit_s: u64 },
}

impl ExpertError {
    pub fn failed(cause: impl HasKind + Send + Sync + 'static) -> Self {
        ExpertError::Failed { kind: cause.kind(), cause: Box::new(cause) }
    }
}

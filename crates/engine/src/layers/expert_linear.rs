//! Linear layers of routed experts.

use checkpoint::Dtype;
use device::backend::{Backend, ExpertWeights};

use crate::weights::{ExpertMatrix, WeightError};

/// One linear layer of each routed expert.
pub(super) struct ExpertLinear<B: Backend> {
    /// `[out_features, in_features]` of each expert.
    weights: Vec<B::Matrix>,
    /// `[out_features]` of each expert; empty if there are no biases.
    biases: Vec<B::Vector>,
    /// The dtypes of the experts' weights, without repetitions.
    pub dtypes: Vec<Dtype>,
}

impl<B: Backend> ExpertLinear<B> {
    /// Takes a matrix of each expert, in their order.
    pub fn new(
        matrices: impl Iterator<Item = Result<ExpertMatrix<B>, WeightError>>,
    ) -> Result<Self, WeightError> {
        let mut linear =
            ExpertLinear { weights: Vec::new(), biases: Vec::new(), dtypes: Vec::new() };
        for matrix in matrices {
            let ExpertMatrix { weight, bias, dtype } = matrix?;
            linear.weights.push(weight);
            linear.biases.extend(bias);
            if !linear.dtypes.contains(&dtype) {
                linear.dtypes.push(dtype);
            }
        }
        Ok(linear)
    }

    pub fn weights(&self) -> ExpertWeights<'_, B> {
        ExpertWeights::All { weights: &self.weights, biases: &self.biases }
    }
}

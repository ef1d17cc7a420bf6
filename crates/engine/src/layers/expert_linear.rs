//! Linear layers of routed experts.

use checkpoint::Dtype;
use device::backend::{Backend, ExpertProduct};

use crate::weights::{TensorView, WeightError};

/// One linear layer of each routed expert.
pub(super) struct ExpertLinear<B: Backend> {
    /// `[out_features, in_features]` of each expert.
    weights: Vec<B::Matrix>,
    /// `[out_features]` of each expert; empty if there are no biases.
    biases: Vec<B::Vector>,
    /// The dtypes of the experts' weights, without repetitions.
    pub dtypes: Vec<Dtype>,
    pub in_features: usize,
    pub out_features: usize,
}

impl<B: Backend> ExpertLinear<B> {
    /// Takes the tensors `{j}.{name}.weight` of all experts and, if the argument `bias` is true,
    /// `{j}.{name}.bias`.
    pub fn separate(
        tensors: &TensorView<B>,
        name: &str,
        experts: usize,
        [out_features, in_features]: [usize; 2],
        bias: bool,
    ) -> Result<Self, WeightError> {
        let mut linear = ExpertLinear {
            weights: Vec::with_capacity(experts),
            biases: Vec::new(),
            dtypes: Vec::new(),
            in_features,
            out_features,
        };
        for expert in 0..experts {
            let tensors = tensors.pp(expert).pp(name);
            let shape = [out_features, in_features];
            let (weight, dtype) = tensors.matrix_rows("weight", shape, 0..out_features)?;
            linear.weights.push(weight);
            if bias {
                linear.biases.push(tensors.vector("bias", out_features)?);
            }
            if !linear.dtypes.contains(&dtype) {
                linear.dtypes.push(dtype);
            }
        }
        Ok(linear)
    }

    /// Takes gpt-oss's tensors `{name}_blocks`, `[experts, out, in / 32, 16]`, and `{name}_scales`,
    /// `[experts, out, in / 32]`, which are MXFP4, and `{name}_bias`, `[experts, out]`.
    pub fn mxfp4(
        tensors: &TensorView<B>,
        name: &str,
        experts: usize,
        [out_features, in_features]: [usize; 2],
    ) -> Result<Self, WeightError> {
        let name = |part: &str| format!("{name}_{part}");
        let shape = [experts, out_features, in_features];
        let rows = |expert: usize| expert * out_features..(expert + 1) * out_features;
        let (blocks, scales, bias) = (name("blocks"), name("scales"), name("bias"));
        let weight = |expert| tensors.fp4_matrix([&blocks, &scales], shape, rows(expert));
        let bias = |expert| tensors.vector_part(&bias, [experts, out_features], rows(expert));
        Ok(ExpertLinear {
            weights: (0..experts).map(weight).collect::<Result<_, _>>()?,
            biases: (0..experts).map(bias).collect::<Result<_, _>>()?,
            dtypes: vec![Dtype::F4],
            in_features,
            out_features,
        })
    }

    pub fn product<'a>(&'a self, out: &'a mut B::Buffer) -> ExpertProduct<'a, B> {
        ExpertProduct { weights: &self.weights, biases: &self.biases, out }
    }
}

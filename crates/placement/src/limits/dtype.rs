//! `--dtype`: the dtype of weights in computations.
use crate::PlanError;
use checkpoint::{Dtype, ExpectedTensor, Inventory, TensorContent};
use std::collections::BTreeMap;

/// The dtype of weights in computations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DtypeChoice {
    /// All weights as stored.
    #[default]
    Auto,
    /// Matrices in bf16.
    Bf16,
    /// Matrices in f16.
    F16,
    /// All computation in float32. Weights stay as stored and are converted in registers.
    F32,
    /// Matrices in int8 blocks of 32 weights with an f16 scale: 34 bytes per 32 weights.
    Int8,
}

impl DtypeChoice {
    const ALL: [DtypeChoice; 5] = [
        DtypeChoice::Auto,
        DtypeChoice::Bf16,
        DtypeChoice::F16,
        DtypeChoice::F32,
        DtypeChoice::Int8,
    ];

    /// Parses `auto`, `bf16`, `f16`, `f32`, `int8` and the names of PyTorch.
    ///
    /// # Errors
    /// [`PlanError::Setting`] with the accepted values.
    pub fn parse(text: &str) -> Result<DtypeChoice, PlanError> {
        let name = match text {
            "bfloat16" => "bf16",
            "float16" => "f16",
            "float32" => "f32",
            other => other,
        };
        DtypeChoice::ALL.into_iter().find(|choice| choice.name() == name).ok_or_else(|| {
            PlanError::Setting {
                key: "--dtype",
                expected: "auto, bf16, f16, f32 or int8".to_owned(),
                found: text.to_owned(),
            }
        })
    }

    pub fn name(self) -> &'static str {
        match self {
            DtypeChoice::Auto => "auto",
            DtypeChoice::Bf16 => "bf16",
            DtypeChoice::F16 => "f16",
            DtypeChoice::F32 => "f32",
            DtypeChoice::Int8 => "int8",
        }
    }

    /// The name of the resolved dtype, independent of the machine: for `auto`, the dtype that
    /// accounts for the most stored bytes.
    pub fn name_for(self, inventory: &Inventory) -> String {
        if self != DtypeChoice::Auto {
            return self.name().to_owned();
        }
        let mut bytes: BTreeMap<&'static str, u64> = BTreeMap::new();
        inventory
            .tensors
            .iter()
            .for_each(|tensor| *bytes.entry(tensor.dtype.name()).or_default() += tensor.bytes);
        let most = bytes.into_iter().max_by_key(|(_, bytes)| *bytes);
        most.map_or_else(|| self.name().to_owned(), |(name, _)| name.to_lowercase())
    }

    /// The dtype of a tensor of the model after loading: norms and biases stay as stored, also
    /// where one tensor has those of all experts; for others see [`Self::kept`].
    pub fn kept_of(self, stored: Dtype, tensor: &ExpectedTensor) -> Dtype {
        match tensor.content {
            TensorContent::Weight => self.kept(stored, &tensor.shape),
            _ => stored,
        }
    }

    /// The dtype of a tensor after loading: matrices follow the choice, vectors and quantized
    /// tensors stay as stored, and f64 matrices become f32. Both the loader and the planner use
    /// this function.
    pub fn kept(self, stored: Dtype, shape: &[usize]) -> Dtype {
        let plain = matches!(stored, Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16);
        let columns = shape.last().copied().unwrap_or(0);
        let whole_blocks = columns.is_multiple_of(Dtype::Q8_0.block_elements());
        match self {
            _ if !plain || shape.len() < 2 => stored,
            DtypeChoice::Bf16 => Dtype::BF16,
            DtypeChoice::F16 => Dtype::F16,
            DtypeChoice::Int8 if whole_blocks => Dtype::Q8_0,
            _ if stored == Dtype::F64 => Dtype::F32,
            _ => stored,
        }
    }
}

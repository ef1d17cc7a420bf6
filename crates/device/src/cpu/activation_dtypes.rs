//! Dtypes of activations in linear layers.

use checkpoint::Dtype;

use super::matrix::is_quantized;
use crate::backend::Precision;

/// Set of the activation dtypes that one or more linear layers need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActivationDtypes {
    precision: Precision,
    pub(super) f32: bool,
    pub(super) bf16: bool,
    pub(super) int8: bool,
    pub(super) int16: bool,
}

/// Dtype of activations in one matrix multiplication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ActivationDtype {
    F32,
    Bf16,
    Int8,
    Int16,
}

impl ActivationDtype {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
            Self::Int16 => "int16",
        }
    }
}

impl ActivationDtypes {
    /// No dtypes. `precision` determines which dtypes [`Self::and`] adds.
    pub fn new(precision: Precision) -> Self {
        Self { precision, f32: false, bf16: false, int8: false, int16: false }
    }

    /// Adds the activation dtype for weights of `dtype`.
    #[must_use]
    pub fn and(mut self, dtype: Dtype) -> Self {
        match Self::of(self.precision, dtype) {
            ActivationDtype::F32 => self.f32 = true,
            ActivationDtype::Bf16 => self.bf16 = true,
            ActivationDtype::Int8 => self.int8 = true,
            ActivationDtype::Int16 => self.int16 = true,
        }
        self
    }

    /// The activation dtypes for weights of the given dtypes.
    pub fn for_weights(precision: Precision, dtypes: impl IntoIterator<Item = Dtype>) -> Self {
        dtypes.into_iter().fold(Self::new(precision), Self::and)
    }

    pub(super) fn has(self, dtype: ActivationDtype) -> bool {
        match dtype {
            ActivationDtype::F32 => self.f32,
            ActivationDtype::Bf16 => self.bf16,
            ActivationDtype::Int8 => self.int8,
            ActivationDtype::Int16 => self.int16,
        }
    }

    pub fn precision(self) -> Precision {
        self.precision
    }

    /// The activation dtype for weights of `dtype`.
    pub(super) fn of(precision: Precision, dtype: Dtype) -> ActivationDtype {
        match (precision, dtype) {
            (Precision::Native | Precision::Int8, Dtype::BF16 | Dtype::F8E4M3) => {
                ActivationDtype::Bf16
            }
            (Precision::Native, dtype) if is_quantized(dtype) => ActivationDtype::Int16,
            (Precision::Int8, dtype) if is_quantized(dtype) => ActivationDtype::Int8,
            _ => ActivationDtype::F32,
        }
    }
}

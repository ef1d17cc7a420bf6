use checkpoint::Dtype;

use super::matrix::is_quantized;

/// How exactly activations enter a product. Sums are in f32 either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// Activations stay f32: the oracle mode.
    F32,
    /// Activations are rounded at the input of a product: to bf16 for bf16 weights, to blocks of 32
    /// whole numbers of 16 bits for quantized ones, not at all for f16 and f32.
    Native,
    /// As `Native`, but 8 bits for quantized weights: half the multiplications, and an error of its
    /// own that a model's log-probabilities show.
    Int8,
}

/// The forms of the activations that some products need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActivationDtypes {
    precision: Precision,
    pub(super) f32: bool,
    pub(super) bf16: bool,
    pub(super) int8: bool,
    pub(super) int16: bool,
}

/// One form.
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
    /// None yet.
    pub fn new(precision: Precision) -> Self {
        Self { precision, f32: false, bf16: false, int8: false, int16: false }
    }

    /// Also the one that weights of `dtype` need.
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

    /// Those that weights of these dtypes need.
    pub fn for_weights(precision: Precision, dtypes: impl IntoIterator<Item = Dtype>) -> Self {
        dtypes.into_iter().fold(Self::new(precision), Self::and)
    }

    /// The precision asked for.
    pub fn precision(self) -> Precision {
        self.precision
    }

    pub(super) fn of(precision: Precision, dtype: Dtype) -> ActivationDtype {
        match (precision, dtype) {
            (Precision::Native | Precision::Int8, Dtype::BF16) => ActivationDtype::Bf16,
            (Precision::Native, dtype) if is_quantized(dtype) => ActivationDtype::Int16,
            (Precision::Int8, dtype) if is_quantized(dtype) => ActivationDtype::Int8,
            _ => ActivationDtype::F32,
        }
    }
}

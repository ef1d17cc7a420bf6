//! The element types of checkpoints.

/// The element type of a tensor. The quantized types are those of GGUF; `--dtype int8` converts
/// weights to [`Dtype::Q8_0`].
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[allow(non_camel_case_types)]
pub enum Dtype {
    F64,
    F32,
    F16,
    BF16,
    F8E4M3,
    F8E5M2,
    F8E8M0,
    F4,
    I64,
    I32,
    I16,
    I8,
    U64,
    U32,
    U16,
    U8,
    Bool,
    Q8_0,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q4K,
    Q5K,
    Q6K,
    /// 4-bit floats (E2M1) in blocks of 32 with one E8M0 scale, as GGUF stores them: the scale's
    /// byte first.
    Mxfp4,
}

impl Dtype {
    /// Elements of one quantization block; 1 for unquantized types.
    pub const fn block_elements(self) -> usize {
        use Dtype::*;
        match self {
            Q8_0 | Q4_0 | Q4_1 | Q5_0 | Q5_1 | Mxfp4 => 32,
            Q4K | Q5K | Q6K => 256,
            F4 => 2,
            _ => 1,
        }
    }

    /// Bytes of one quantization block; for unquantized types, of one element.
    pub const fn block_bytes(self) -> usize {
        use Dtype::*;
        match self {
            F64 | I64 | U64 => 8,
            F32 | I32 | U32 => 4,
            F16 | BF16 | I16 | U16 => 2,
            F8E4M3 | F8E5M2 | F8E8M0 | F4 | I8 | U8 | Bool => 1,
            Q8_0 => 34,
            Q4_0 => 18,
            Q4_1 => 20,
            Q5_0 => 22,
            Q5_1 => 24,
            Q4K => 144,
            Q5K => 176,
            Q6K => 210,
            Mxfp4 => 17,
        }
    }

    /// Bytes of `elements` elements; `None` if `elements` is not a multiple of the block size or
    /// the result overflows.
    pub fn bytes_for(self, elements: u64) -> Option<u64> {
        let block = self.block_elements() as u64;
        elements
            .is_multiple_of(block)
            .then_some(elements / block)?
            .checked_mul(self.block_bytes() as u64)
    }

    /// The name in the file format, such as `BF16`, `F8_E4M3` or `Q4_K`.
    pub const fn name(self) -> &'static str {
        use Dtype::*;
        match self {
            F64 => "F64",
            F32 => "F32",
            F16 => "F16",
            BF16 => "BF16",
            F8E4M3 => "F8_E4M3",
            F8E5M2 => "F8_E5M2",
            F8E8M0 => "F8_E8M0",
            F4 => "F4",
            I64 => "I64",
            I32 => "I32",
            I16 => "I16",
            I8 => "I8",
            U64 => "U64",
            U32 => "U32",
            U16 => "U16",
            U8 => "U8",
            Bool => "BOOL",
            Q8_0 => "Q8_0",
            Q4_0 => "Q4_0",
            Q4_1 => "Q4_1",
            Q5_0 => "Q5_0",
            Q5_1 => "Q5_1",
            Q4K => "Q4_K",
            Q5K => "Q5_K",
            Q6K => "Q6_K",
            Mxfp4 => "MXFP4",
        }
    }

    /// The dtype with this name in a safetensors header; `None` for names that are not supported.
    /// The names are those of `Dtype` in the `safetensors` crate 0.8, except for types that no
    /// model uses for weights.
    pub fn from_safetensors(name: &str) -> Option<Self> {
        use Dtype::*;
        const KNOWN: [Dtype; 17] = [
            BF16, F16, F32, U8, F8E4M3, F8E5M2, F8E8M0, F4, F64, I64, I32, I16, I8, U64, U32, U16,
            Bool,
        ];
        KNOWN.into_iter().find(|dtype| dtype.name() == name)
    }

    /// Whether the engine supports weights of this type.
    pub const fn is_weight(self) -> bool {
        use Dtype::*;
        matches!(self, F32 | F16 | BF16) || self.is_quantized()
    }

    /// Whether the type is one of GGUF's quantized types.
    pub const fn is_quantized(self) -> bool {
        self.block_elements() >= 32
    }
}

impl std::fmt::Display for Dtype {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

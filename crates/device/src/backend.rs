//! [`Backend`]: the operations of a transformer's forward pass. [`Cpu`](crate::cpu::Cpu) and
//! [`Gpu`](crate::cuda::Gpu) implement it; layers and model families are generic over it and
//! monomorphized for each, so that a forward pass has no dynamic dispatch.

use std::fmt::Debug;
use std::ops::Range;

use checkpoint::{Activation, ClampedSwiglu, Dtype, Routing};

use crate::DeviceError;

/// Precision of activations in linear layers. Accumulation is in f32 in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// f32 activations: the reference mode.
    F32,
    /// Activations are rounded to bf16 for bf16 weights and quantized to 16 bits in blocks of 32
    /// for quantized weights; they stay f32 for f16 and f32 weights.
    Native,
    /// As `Native`, but quantized to 8 bits for quantized weights: half the multiplications, at the
    /// cost of a measurable error in log-probabilities.
    Int8,
}

/// A device's memory and kernels.
///
/// Activations are row-major f32, `[rows, features]`. A buffer has a capacity and a length; every
/// operation takes its number of rows from the length of its input and resizes its output.
///
/// A row of a result depends only on the operands of that row and on the device's kernels: not on
/// the other rows of the batch, their number, or the number of threads.
pub trait Backend: Sized {
    /// The bytes of a loaded tensor.
    type TensorData: Clone + Debug;
    /// A weight matrix, `[out_features, in_features]`.
    type Matrix;
    /// A norm's weight or a bias, in f32.
    type Vector;
    /// Activations.
    type Buffer;
    /// Set of dtypes in which activations are packed for one or more linear layers.
    type ActivationDtypes: Copy;
    /// Activations packed in these dtypes, in the layout that [`Backend::linear`] reads.
    type PackedActivations;
    /// KV cache of one layer.
    type KvLayer;
    /// Cosines and sines of RoPE for all positions.
    type RopeTable<'a>: Copy;
    /// Tokens, positions and block tables of a forward pass: a [`PassInput`] in the device's
    /// memory.
    type PassInput<'a>;
    /// The experts of the rows of a pass. Each chosen expert of a row is a slot; slots are sorted
    /// by expert and then by row.
    type ExpertRoutes: Default;

    /// A view of rows `rows` of the matrix of shape `shape` that is stored in `data`, without a
    /// copy.
    fn matrix(
        dtype: Dtype,
        shape: [usize; 2],
        data: &Self::TensorData,
        rows: Range<usize>,
    ) -> Result<Self::Matrix, DeviceError>;

    /// A view of rows `rows` of the matrix of shape `shape` whose E4M3 elements are stored in
    /// `data`, without a copy. `scales` are the factors of its blocks of 128 rows and columns,
    /// row-major.
    fn block_fp8_matrix(
        shape: [usize; 2],
        data: &Self::TensorData,
        scales: (Dtype, &Self::TensorData),
        rows: Range<usize>,
    ) -> Result<Self::Matrix, DeviceError> {
        let _ = (shape, data, scales, rows);
        Err(DeviceError::OperationUnsupported { operation: "block FP8 weights", device: "a GPU" })
    }

    /// A view of rows `rows` of the matrix of shape `shape` of 4-bit floats (E2M1), two in a byte
    /// of `data`, with an E8M0 byte of `scales` for each 32 of a row; without a copy.
    fn fp4_matrix(
        shape: [usize; 2],
        data: &Self::TensorData,
        scales: &Self::TensorData,
        rows: Range<usize>,
    ) -> Result<Self::Matrix, DeviceError>;

    /// Elements `elements` of the vector of length `len` that is stored in `data`, in f32.
    /// `dtype` is f64, f32, f16 or bf16.
    fn vector_part(
        dtype: Dtype,
        len: usize,
        data: &Self::TensorData,
        elements: Range<usize>,
    ) -> Result<Self::Vector, DeviceError>;

    /// The vector stored in `data`, in f32. `dtype` is f64, f32, f16 or bf16.
    fn vector(
        dtype: Dtype,
        len: usize,
        data: &Self::TensorData,
    ) -> Result<Self::Vector, DeviceError>;

    /// A buffer of `len` zeros.
    fn buffer(&self, len: usize) -> Result<Self::Buffer, DeviceError>;

    /// Bytes of memory of a buffer.
    fn buffer_bytes(buffer: &Self::Buffer) -> u64;

    /// The activation dtypes for multiplication with weights of the dtypes `weights`.
    fn activation_dtypes(
        precision: Precision,
        weights: impl IntoIterator<Item = Dtype>,
    ) -> Self::ActivationDtypes;

    /// Packed activations with capacity for `[rows_max, cols_max]`.
    fn packed_activations(
        &self,
        rows_max: usize,
        cols_max: usize,
        dtypes: Self::ActivationDtypes,
    ) -> Result<Self::PackedActivations, DeviceError>;

    /// Bytes of memory of packed activations.
    fn packed_bytes(packed: &Self::PackedActivations) -> u64;

    /// Packs `x`, `[rows, cols]`, into the buffer of `epilogue`, for [`Backend::linear`].
    fn pack(&self, x: &Self::Buffer, epilogue: Epilogue<Self>) -> Result<(), DeviceError>;

    /// Multiplies the same activations with several weight matrices, in one kernel launch (GPU) or
    /// one fork and join (CPU).
    fn linear<const N: usize>(
        &self,
        inputs: &Self::PackedActivations,
        products: [Product<Self>; N],
    ) -> Result<(), DeviceError>;

    /// `out = x / rms(x) * weight` for every row. A row has as many elements as `weight`.
    fn rms_norm(
        &self,
        x: &Self::Buffer,
        norm: NormWeights<Self>,
        out: &mut Self::Buffer,
        epilogue: Option<Epilogue<Self>>,
    ) -> Result<(), DeviceError>;

    /// `x += y`, then [`Backend::rms_norm`] of `x`.
    fn add_rms_norm(
        &self,
        x: &mut Self::Buffer,
        y: &Self::Buffer,
        norm: NormWeights<Self>,
        out: &mut Self::Buffer,
        epilogue: Option<Epilogue<Self>>,
    ) -> Result<(), DeviceError> {
        self.add(x, y)?;
        self.rms_norm(x, norm, out, epilogue)
    }

    /// [`Backend::rms_norm`] in place.
    fn rms_norm_inplace(
        &self,
        x: &mut Self::Buffer,
        norm: NormWeights<Self>,
    ) -> Result<(), DeviceError>;

    /// `out = (x - mean) / deviation * weight + bias` for every row. A row has as many elements as
    /// `weight`.
    fn layer_norm(
        &self,
        x: &Self::Buffer,
        norm: NormWeights<Self>,
        out: &mut Self::Buffer,
        epilogue: Option<Epilogue<Self>>,
    ) -> Result<(), DeviceError>;

    /// Applies RoPE to queries `[rows, heads, head_dim]` and keys `[rows, kv_heads, head_dim]` at
    /// the positions of their rows.
    fn rope(
        &self,
        q: &mut Self::Buffer,
        k: &mut Self::Buffer,
        head_dim: usize,
        input: &Self::PassInput<'_>,
        table: Self::RopeTable<'_>,
    ) -> Result<(), DeviceError>;

    /// `x = activation(x)`.
    fn activate(
        &self,
        activation: Activation,
        x: &mut Self::Buffer,
        epilogue: Epilogue<Self>,
    ) -> Result<(), DeviceError>;

    /// `gate = activation(gate) * up`.
    fn activate_and_multiply(
        &self,
        activation: Activation,
        gate: &mut Self::Buffer,
        up: &Self::Buffer,
        epilogue: Epilogue<Self>,
    ) -> Result<(), DeviceError>;

    /// Chooses the experts of each row of `logits`, `[rows, experts]`. Experts with equal scores
    /// are chosen in ascending order. A row with a NaN gets weights of NaN.
    fn route(
        &self,
        logits: &Self::Buffer,
        router: &RouterOptions,
        routes: &mut Self::ExpertRoutes,
    ) -> Result<(), DeviceError>;

    /// Packs the rows of `x`, `[rows, cols]`, for the experts that they use.
    fn pack_for_experts(
        &self,
        x: &Self::Buffer,
        routes: &Self::ExpertRoutes,
        epilogue: Epilogue<Self>,
    ) -> Result<(), DeviceError>;

    /// Multiplies the slots of every expert with that expert's weights, for several weights of an
    /// expert at once. Reads the weights of the chosen experts only, and each of them once. A
    /// multiplication may be done in parts, each with the weights of some experts.
    fn expert_linear<const N: usize>(
        &self,
        inputs: &Self::PackedActivations,
        routes: &Self::ExpertRoutes,
        products: [ExpertProduct<Self>; N],
    ) -> Result<(), DeviceError>;

    /// `gate = activation(gate) * up`, both `[slots, width]` but for
    /// [`ExpertActivation::ClampedPairs`]; the epilogue packs the result for
    /// [`Self::expert_linear`].
    fn activate_experts(
        &self,
        activation: &ExpertActivation,
        gate: &mut Self::Buffer,
        up: &Self::Buffer,
        routes: &Self::ExpertRoutes,
        epilogue: Epilogue<Self>,
    ) -> Result<(), DeviceError>;

    /// `out[row] = sum over the row's experts of weight * outputs[slot]`, in the order of the
    /// choice, plus the output of the shared experts. `outputs` is `[slots, width]`, `out` is
    /// `[rows, width]`.
    fn combine_experts(
        &self,
        outputs: &Self::Buffer,
        routes: &Self::ExpertRoutes,
        shared: SharedOutput<Self>,
        width: usize,
        out: &mut Self::Buffer,
    ) -> Result<(), DeviceError>;

    /// `x += y`.
    fn add(&self, x: &mut Self::Buffer, y: &Self::Buffer) -> Result<(), DeviceError>;

    /// Copies the rows of `x`, `[rows, width]`, that are listed in [`PassInput::output_rows`] to
    /// `out`.
    fn gather(
        &self,
        x: &Self::Buffer,
        width: usize,
        input: &Self::PassInput<'_>,
        out: &mut Self::Buffer,
    ) -> Result<(), DeviceError>;

    /// `out[i, :] = table[tokens[i], :]`, in f32.
    fn embed(
        &self,
        table: &Self::Matrix,
        input: &Self::PassInput<'_>,
        out: &mut Self::Buffer,
    ) -> Result<(), DeviceError>;

    /// Normalizes the latents and rotates the keys of latent attention in `kv`, `[rows, latent_dim
    /// + rope_dim]`, in place.
    fn latent_keys(
        &self,
        shape: &LatentShape,
        kv: &mut Self::Buffer,
        norm: NormWeights<Self>,
        input: &Self::PassInput<'_>,
        table: Self::RopeTable<'_>,
    ) -> Result<(), DeviceError> {
        let _ = (shape, kv, norm, input, table);
        Err(DeviceError::OperationUnsupported { operation: "latent attention", device: "a GPU" })
    }

    /// Projects the first `nope_dim` elements of each head's query, `[rows, heads, nope_dim +
    /// rope_dim]`, into the space of the latents, and rotates the last `rope_dim`: `out` is `[rows,
    /// heads, latent_dim + rope_dim]`.
    fn absorb_queries(
        &self,
        shape: &LatentShape,
        up: &KvUpProjection<Self>,
        q: &Self::Buffer,
        input: &Self::PassInput<'_>,
        table: Self::RopeTable<'_>,
        out: &mut Self::Buffer,
    ) -> Result<(), DeviceError> {
        let _ = (shape, up, q, input, table, out);
        Err(DeviceError::OperationUnsupported { operation: "latent attention", device: "a GPU" })
    }

    /// Projects each head's weighted latents, `[rows, heads, latent_dim]`, to values: `out` is
    /// `[rows, heads, value_dim]`.
    fn expand_values(
        &self,
        shape: &LatentShape,
        up: &KvUpProjection<Self>,
        x: &Self::Buffer,
        out: &mut Self::Buffer,
        epilogue: Epilogue<Self>,
    ) -> Result<(), DeviceError> {
        let _ = (shape, up, x, out, epilogue);
        Err(DeviceError::OperationUnsupported { operation: "latent attention", device: "a GPU" })
    }

    /// Writes keys and values, both `[rows, kv_heads, head_dim]`, to the rows' slots in the cache.
    /// `v` is empty if the cache's values are parts of its keys.
    fn write_kv(
        &self,
        kv: &mut Self::KvLayer,
        input: &Self::PassInput<'_>,
        k: &Self::Buffer,
        v: &Self::Buffer,
    ) -> Result<(), DeviceError>;

    /// Causal attention of queries, `[rows, heads, head_dim]`, over their sequences' cached keys
    /// and values: `out = softmax(q k^T * scale) v`.
    fn attention(
        &self,
        kv: &Self::KvLayer,
        input: &mut Self::PassInput<'_>,
        options: &AttentionOptions<Self>,
        q: &Self::Buffer,
        out: &mut Self::Buffer,
        epilogue: Epilogue<Self>,
    ) -> Result<(), DeviceError>;
}

/// One matrix multiplication: `out = inputs * weight^T + bias`.
pub struct Product<'a, B: Backend> {
    /// `[out_features, in_features]`
    pub weight: &'a B::Matrix,
    /// `[out_features]`
    pub bias: Option<&'a B::Vector>,
    /// `[rows, out_features]`
    pub out: &'a mut B::Buffer,
}

/// One matrix multiplication of experts: `out[slot] = inputs[slot] * weight^T + bias` with the
/// weights of the slot's expert.
pub struct ExpertProduct<'a, B: Backend> {
    pub weights: ExpertWeights<'a, B>,
    /// `[slots, out_features]`
    pub out: &'a mut B::Buffer,
}

/// The weights of one linear layer of experts.
pub enum ExpertWeights<'a, B: Backend> {
    All {
        /// `[out_features, in_features]` of each expert.
        weights: &'a [B::Matrix],
        /// `[out_features]` of each expert, or none at all.
        biases: &'a [B::Vector],
    },
    /// Those of some experts, for a part of a multiplication: the other experts' slots of the
    /// output keep their values.
    Some {
        /// Number of experts of the layer.
        experts: usize,
        /// The experts that take part, ascending.
        of: Vec<ExpertOperand<'a, B>>,
    },
}

/// The weights of one expert in a linear layer.
pub struct ExpertOperand<'a, B: Backend> {
    pub expert: usize,
    /// `[out_features, in_features]`
    pub weight: &'a B::Matrix,
    /// `[out_features]`
    pub bias: Option<&'a B::Vector>,
}

impl<B: Backend> ExpertWeights<'_, B> {
    /// Number of experts of the layer.
    pub fn experts(&self) -> usize {
        match self {
            ExpertWeights::All { weights, .. } => weights.len(),
            ExpertWeights::Some { experts, .. } => *experts,
        }
    }

    /// The weights of an expert; `None` if it takes no part.
    pub fn get(&self, expert: usize) -> Option<ExpertOperand<'_, B>> {
        match self {
            ExpertWeights::All { weights, biases } => {
                let weight = weights.get(expert)?;
                Some(ExpertOperand { expert, weight, bias: biases.get(expert) })
            }
            ExpertWeights::Some { of, .. } => {
                let at = of.binary_search_by_key(&expert, |operand| operand.expert).ok()?;
                let ExpertOperand { expert, weight, bias } = of[at];
                Some(ExpertOperand { expert, weight, bias })
            }
        }
    }
}

/// How a router chooses the experts of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RouterOptions {
    pub experts: usize,
    /// At most `experts`; with groups, at most the experts of the kept groups.
    pub experts_per_token: usize,
    pub routing: Routing,
}

/// The function of an expert's gate and up projections.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ExpertActivation {
    /// `activation(gate) * up`
    Plain(Activation),
    Clamped(ClampedSwiglu),
    /// As `Clamped`, but `up` is `[slots, 2 * width]` and has gate and up in turns (gpt-oss's
    /// `gate_up_proj`); what `gate` contains is not read.
    ClampedPairs(ClampedSwiglu),
}

/// The output of the shared experts, `[rows, width]`, which `out` of [`Backend::combine_experts`]
/// contains.
pub enum SharedOutput<'a, B: Backend> {
    /// There are none.
    None,
    Plain,
    /// It is multiplied with the sigmoid of a gate, `[rows]`.
    Gated(&'a B::Buffer),
}

/// Second output of an operation: its result, `[rows, cols]`, packed for the linear layers that
/// read it next. The packed values equal those of [`Backend::pack`], but a GPU writes them in the
/// kernel that computes the result. Where a result has slots of experts, `rows` is nevertheless the
/// number of rows of the pass.
pub struct Epilogue<'a, B: Backend> {
    pub packed: &'a mut B::PackedActivations,
    pub rows: usize,
    pub cols: usize,
    pub dtypes: B::ActivationDtypes,
}

/// The weights of a norm, `[features]`.
pub struct NormWeights<'a, B: Backend> {
    pub weight: &'a B::Vector,
    /// Bias of a LayerNorm; `None` for an RMSNorm.
    pub bias: Option<&'a B::Vector>,
    /// Added to the variance before the square root is taken.
    pub eps: f32,
}

/// The shape of multi-head latent attention (DeepSeek-V2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LatentShape {
    pub heads: usize,
    /// Elements of a head's query and key that are not rotated.
    pub nope_dim: usize,
    /// Elements of a head's query, and of the key of all heads, that are rotated.
    pub rope_dim: usize,
    /// Elements of a head's value.
    pub value_dim: usize,
    /// Elements of a latent, from which the keys and values of all heads are projected.
    pub latent_dim: usize,
}

impl LatentShape {
    /// Elements of a head's query.
    pub fn query_dim(&self) -> usize {
        self.nope_dim + self.rope_dim
    }

    /// Elements of a cached key: a latent and a rotated key.
    pub fn key_dim(&self) -> usize {
        self.latent_dim + self.rope_dim
    }
}

/// The matrices that project latents to the keys and values of all heads.
pub enum KvUpProjection<'a, B: Backend> {
    /// `[heads * (nope_dim + value_dim), latent_dim]`: each head's rows of keys, then of values.
    Joint(&'a B::Matrix),
    /// Two matrices, as newer GGUF files have them: `[heads * latent_dim, nope_dim]`, each head's
    /// part transposed, and `[heads * value_dim, latent_dim]`.
    Split { keys: &'a B::Matrix, values: &'a B::Matrix },
}

/// How queries attend to keys.
pub struct AttentionOptions<'a, B: Backend> {
    /// Query heads; a multiple of the cache's KV heads.
    pub heads: usize,
    /// Factor of the scores, usually 1 / sqrt(head_dim).
    pub scale: f32,
    /// A token attends to itself and the `window - 1` tokens before it; to all of them if `None`.
    pub window: Option<usize>,
    /// Attention sinks (gpt-oss), `[heads]`: a logit for each head that takes part in the softmax
    /// but has no value vector.
    pub sinks: Option<&'a B::Vector>,
}

/// New tokens of one sequence in a forward pass.
#[derive(Debug, Clone)]
pub struct AttentionSequence<'a> {
    /// Block table: ids of the KV blocks of all positions up to the last new token.
    pub blocks: &'a [u32],
    /// Rows of the new tokens in q, k, v and out.
    pub rows: Range<usize>,
    /// Position of the first new token: the number of cached tokens.
    pub first_position: usize,
}

/// Input of a forward pass, in host memory.
#[derive(Clone, Copy, Debug)]
pub struct PassInput<'a> {
    /// Token id of each row.
    pub tokens: &'a [u32],
    /// Position of each row in its sequence.
    pub positions: &'a [u32],
    pub sequences: &'a [AttentionSequence<'a>],
    /// Rows whose hidden states or logits are read afterwards.
    pub output_rows: &'a [usize],
}

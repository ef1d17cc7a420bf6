//! Where a model computes. Layers and families are written once, over [`Compute`], and compiled for
//! each kind of device: no call is decided while a token waits.

mod cpu;
mod gpu;
mod sites;

use std::fmt::Debug;
use std::ops::Range;

use checkpoint::{Activation, Dtype};
use device::DeviceError;
use device::cpu::Precision;

pub(crate) use cpu::HostRows;
pub(crate) use gpu::{GpuData, GpuRows};
pub(crate) use sites::{GpuSlot, Placed, Route, Site, Sites, gpu_deadline};

use crate::load::tensors::Stored;

/// A device's memory and kernels. Buffers are row-major f32, `[rows_max, width]`; a pass uses their
/// first numbers.
///
/// Results obey the same rules everywhere: a row's numbers depend on its own operands, on the
/// device's kernels and on nothing else.
pub(crate) trait Compute: Sized {
    /// A weight's bytes, all of them there.
    type Bytes: Clone + Debug;
    /// A weight matrix, `[out, in]`.
    type Matrix;
    /// A norm's weight or a bias, as f32.
    type Vector;
    /// Activations.
    type Buffer;
    /// Which forms of activations some products read.
    type Forms: Copy;
    /// Activations in these forms.
    type Inputs;
    /// One layer's keys and values.
    type Kv;
    /// Cosines and sines of all positions.
    type Rope;
    /// What a pass's rows are: their tokens, positions, sequences' blocks, and which of them are
    /// wanted.
    type Rows<'a>;

    /// Rows `part` of a stored matrix of `cols` columns, on the same memory.
    fn matrix(
        stored: &Stored<Self>,
        cols: usize,
        part: Range<usize>,
    ) -> Result<Self::Matrix, DeviceError>;

    /// A stored vector as f32. Its dtype is a plain one.
    fn vector(stored: &Stored<Self>) -> Result<Self::Vector, DeviceError>;

    /// A buffer of zeros.
    fn buffer(&self, numbers: usize) -> Result<Self::Buffer, DeviceError>;

    /// The forms that weights of these dtypes read.
    fn forms(precision: Precision, dtypes: impl IntoIterator<Item = Dtype>) -> Self::Forms;

    /// Room for the inputs of products, `[rows_max, cols_max]`.
    fn inputs(
        &self,
        rows_max: usize,
        cols_max: usize,
        forms: Self::Forms,
    ) -> Result<Self::Inputs, DeviceError>;

    /// Bytes of a buffer.
    fn buffer_bytes(buffer: &Self::Buffer) -> u64;

    /// Bytes of the inputs of products.
    fn inputs_bytes(inputs: &Self::Inputs) -> u64;

    /// Takes `x`, `[rows, cols]`, in the given forms.
    fn prepare(
        &self,
        inputs: &mut Self::Inputs,
        x: &Self::Buffer,
        rows: usize,
        cols: usize,
        forms: Self::Forms,
    ) -> Result<(), DeviceError>;

    /// Computes all products of the same inputs, together where that is faster.
    fn linear<const N: usize>(
        &self,
        inputs: &Self::Inputs,
        products: [Product<'_, Self>; N],
    ) -> Result<(), DeviceError>;

    /// `out = x / rms(x) * weight` over rows as long as `weight`.
    fn rms_norm(
        &self,
        x: &Self::Buffer,
        numbers: usize,
        weight: &Self::Vector,
        eps: f32,
        out: &mut Self::Buffer,
        feed: Option<Feed<'_, Self>>,
    ) -> Result<(), DeviceError>;

    /// `x += y`, then [`Compute::rms_norm`].
    fn add_rms_norm(
        &self,
        (x, y): (&mut Self::Buffer, &Self::Buffer),
        numbers: usize,
        weight: &Self::Vector,
        eps: f32,
        out: &mut Self::Buffer,
        feed: Option<Feed<'_, Self>>,
    ) -> Result<(), DeviceError> {
        self.add(x, y, numbers)?;
        self.rms_norm(x, numbers, weight, eps, out, feed)
    }

    /// [`Compute::rms_norm`] in place.
    fn rms_norm_inplace(
        &self,
        x: &mut Self::Buffer,
        numbers: usize,
        weight: &Self::Vector,
        eps: f32,
    ) -> Result<(), DeviceError>;

    /// `out = (x - mean) / deviation * weight + bias` over rows as long as `weight`.
    fn layer_norm(
        &self,
        x: &Self::Buffer,
        numbers: usize,
        weights: (&Self::Vector, Option<&Self::Vector>),
        eps: f32,
        out: &mut Self::Buffer,
        feed: Option<Feed<'_, Self>>,
    ) -> Result<(), DeviceError>;

    /// Rotates queries and keys, each `[rows, width]`, heads of `head_dim`, by the rows' positions.
    fn rope(
        &self,
        x: [(&mut Self::Buffer, usize); 2],
        head_dim: usize,
        rows: &Self::Rows<'_>,
        table: &Self::Rope,
    ) -> Result<(), DeviceError>;

    /// `x = activation(x)`.
    fn activate(
        &self,
        activation: Activation,
        x: &mut Self::Buffer,
        numbers: usize,
        feed: Feed<'_, Self>,
    ) -> Result<(), DeviceError>;

    /// `gate = activation(gate) * up`.
    fn activate_and_multiply(
        &self,
        activation: Activation,
        gate: &mut Self::Buffer,
        up: &Self::Buffer,
        numbers: usize,
        feed: Feed<'_, Self>,
    ) -> Result<(), DeviceError>;

    /// `x += y`.
    fn add(
        &self,
        x: &mut Self::Buffer,
        y: &Self::Buffer,
        numbers: usize,
    ) -> Result<(), DeviceError>;

    /// The rows of `x` whose logits are wanted, one after the other; all of `width` numbers.
    fn gather(
        &self,
        x: &Self::Buffer,
        width: usize,
        rows: &Self::Rows<'_>,
        out: &mut Self::Buffer,
    ) -> Result<(), DeviceError>;

    /// Row `i` of `out` is the row of token `i` in `table`, as f32.
    fn embed(
        &self,
        table: &Self::Matrix,
        rows: &Self::Rows<'_>,
        out: &mut Self::Buffer,
    ) -> Result<(), DeviceError>;

    /// Stores the rows' keys and values, both `[rows, kv_heads, head_dim]`.
    fn write_kv(
        &self,
        kv: &mut Self::Kv,
        rows: &Self::Rows<'_>,
        k: &Self::Buffer,
        v: &Self::Buffer,
    ) -> Result<(), DeviceError>;

    /// What each row's queries, `[rows, heads, head_dim]`, gather from its sequence.
    fn attention(
        &self,
        kv: &Self::Kv,
        rows: &mut Self::Rows<'_>,
        heads: &Heads,
        q: &Self::Buffer,
        out: &mut Self::Buffer,
        feed: Feed<'_, Self>,
    ) -> Result<(), DeviceError>;
}

/// Inputs of the next products, which an operation makes of its result, `[rows, cols]`: as
/// [`Compute::prepare`] would, and on a GPU in the same kernel.
pub(crate) struct Feed<'a, C: Compute> {
    pub inputs: &'a mut C::Inputs,
    pub rows: usize,
    pub cols: usize,
    pub forms: C::Forms,
}

impl<C: Compute> Feed<'_, C> {
    /// Makes them of `result` now.
    pub fn prepare(self, compute: &C, result: &C::Buffer) -> Result<(), DeviceError> {
        compute.prepare(self.inputs, result, self.rows, self.cols, self.forms)
    }
}

/// How queries attend.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heads {
    /// Query heads; a multiple of the cache's heads.
    pub count: usize,
    /// Factor of the scores.
    pub scale: f32,
    /// A token sees itself and so many less one before it; all if `None`.
    pub window: Option<usize>,
}

/// One product: `out = inputs weight^T + bias`.
pub(crate) struct Product<'a, C: Compute> {
    pub weight: &'a C::Matrix,
    pub bias: Option<&'a C::Vector>,
    /// `[rows, weight's rows]`
    pub out: &'a mut C::Buffer,
}

/// Whether numbers of this dtype can be had as f32 one by one: norms and biases are kept so.
pub(crate) fn is_plain(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16)
}

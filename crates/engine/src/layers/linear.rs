//! Linear layers: `y = x W^T (+ b)`.

use std::ops::Range;

use checkpoint::Dtype;
use device::DeviceError;
use device::backend::{Backend, Epilogue, Precision, Product};

use crate::weights::{TensorView, WeightError};

/// A weight matrix `[out_features, in_features]` and an optional bias `[out_features]`.
pub(crate) struct Linear<B: Backend> {
    weight: B::Matrix,
    bias: Option<B::Vector>,
    dtype: Dtype,
    in_features: usize,
}

impl<B: Backend> Linear<B> {
    /// Takes the tensor `weight` and, if the argument `bias` is true, the tensor `bias`.
    pub fn new(
        tensors: &TensorView<B>,
        out_features: usize,
        in_features: usize,
        bias: bool,
    ) -> Result<Self, WeightError> {
        let shape = [out_features, in_features];
        let (weight, dtype) = tensors.matrix_rows("weight", shape, 0..out_features)?;
        let bias = if bias { Some(tensors.vector("bias", out_features)?) } else { None };
        Ok(Linear { weight, bias, dtype, in_features })
    }

    /// Takes rows `rows` of the fused matrix `weight`, which has the shape `shape`, without a copy
    /// and without a bias.
    pub fn from_fused(
        tensors: &TensorView<B>,
        shape: [usize; 2],
        rows: Range<usize>,
    ) -> Result<Self, WeightError> {
        let (weight, dtype) = tensors.matrix_rows("weight", shape, rows)?;
        Ok(Linear { weight, bias: None, dtype, in_features: shape[1] })
    }

    /// The dtype of the weights in memory.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    pub fn in_features(&self) -> usize {
        self.in_features
    }

    fn product<'a>(&'a self, out: &'a mut B::Buffer) -> Product<'a, B> {
        Product { weight: &self.weight, bias: self.bias.as_ref(), out }
    }
}

/// The device that computes matrix multiplications, and their precision.
pub(crate) struct Matmul<'a, B> {
    pub backend: &'a B,
    pub precision: Precision,
}

impl<B: Backend> Matmul<'_, B> {
    /// The epilogue that packs an operation's result, `[rows, in_features]`, as the input of
    /// `linears`.
    pub fn epilogue<'a, const N: usize>(
        &self,
        packed: &'a mut B::PackedActivations,
        rows: usize,
        linears: [&Linear<B>; N],
    ) -> Epilogue<'a, B> {
        let cols = linears.first().map_or(0, |linear| linear.in_features);
        self.epilogue_of(packed, rows, cols, linears.iter().map(|linear| linear.dtype))
    }

    /// The epilogue that packs an operation's result, `[rows, cols]`, as the input of linear layers
    /// with weights of these dtypes.
    pub fn epilogue_of<'a>(
        &self,
        packed: &'a mut B::PackedActivations,
        rows: usize,
        cols: usize,
        weights: impl IntoIterator<Item = Dtype>,
    ) -> Epilogue<'a, B> {
        Epilogue { packed, rows, cols, dtypes: B::activation_dtypes(self.precision, weights) }
    }

    /// Computes several linear layers of the same packed input.
    pub fn forward<const N: usize>(
        &self,
        input: &B::PackedActivations,
        products: [(&Linear<B>, &mut B::Buffer); N],
    ) -> Result<(), DeviceError> {
        self.backend.linear(input, products.map(|(linear, out)| linear.product(out)))
    }

    /// Packs `x`, `[rows, in_features]`, then computes `out = linear(x)`.
    pub fn pack_and_forward(
        &self,
        linear: &Linear<B>,
        packed: &mut B::PackedActivations,
        x: &B::Buffer,
        rows: usize,
        out: &mut B::Buffer,
    ) -> Result<(), DeviceError> {
        self.backend.pack(x, self.epilogue(packed, rows, [linear]))?;
        self.forward(packed, [(linear, out)])
    }
}

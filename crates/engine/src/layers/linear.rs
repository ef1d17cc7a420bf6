//! y = x W^T (+ b).

use std::ops::Range;

use checkpoint::Dtype;
use device::DeviceError;
use device::cpu::Precision;

use crate::compute::{Compute, Feed, Product};
use crate::load::LoadError;
use crate::load::tensors::Under;

/// A weight matrix `[out, in]` and perhaps a bias `[out]`.
pub(crate) struct Linear<C: Compute> {
    weight: C::Matrix,
    bias: Option<C::Vector>,
    dtype: Dtype,
    out: usize,
    input: usize,
}

impl<C: Compute> Linear<C> {
    /// The tensors `name.weight` and, where `bias` says so, `name.bias`.
    pub fn new(
        tensors: &Under<C>,
        name: &str,
        out: usize,
        input: usize,
        bias: bool,
    ) -> Result<Self, LoadError> {
        let part = tensors.under(&format!("{name}."));
        let (weight, dtype) = part.rows_of("weight", out, input, 0..out)?;
        let bias = if bias { Some(part.vector("bias", out)?) } else { None };
        Ok(Linear { weight, bias, dtype, out, input })
    }

    /// Rows `part` of the fused weights `name.weight`, `[outs, in]`, on the same memory.
    pub fn part(
        tensors: &Under<C>,
        name: &str,
        outs: usize,
        input: usize,
        part: Range<usize>,
    ) -> Result<Self, LoadError> {
        let out = part.len();
        let (weight, dtype) =
            tensors.under(&format!("{name}.")).rows_of("weight", outs, input, part)?;
        Ok(Linear { weight, bias: None, dtype, out, input })
    }

    /// Output features.
    pub fn out(&self) -> usize {
        self.out
    }

    fn product<'a>(&'a self, out: &'a mut C::Buffer) -> Product<'a, C> {
        Product { weight: &self.weight, bias: self.bias.as_ref(), out }
    }
}

/// Where and how exactly products are computed.
pub(crate) struct Arithmetic<'a, C> {
    pub compute: &'a C,
    pub precision: Precision,
}

impl<C: Compute> Arithmetic<'_, C> {
    /// `rows` rows of inputs for these, to be fed by the operation that makes them.
    pub fn feed<'a, const N: usize>(
        &self,
        inputs: &'a mut C::Inputs,
        rows: usize,
        linears: [&Linear<C>; N],
    ) -> Feed<'a, C> {
        let cols = linears.first().map_or(0, |linear| linear.input);
        let forms = C::forms(self.precision, linears.iter().map(|linear| linear.dtype));
        Feed { inputs, rows, cols, forms }
    }

    /// Computes products of inputs that were fed, in one go.
    pub fn multiply_fed<const N: usize>(
        &self,
        inputs: &C::Inputs,
        products: [(&Linear<C>, &mut C::Buffer); N],
    ) -> Result<(), DeviceError> {
        self.compute.linear(inputs, products.map(|(linear, out)| linear.product(out)))
    }

    /// Computes products of the same `x`, `[rows, in]`, in one go: `inputs` holds it in the forms
    /// that their weights need.
    pub fn multiply<const N: usize>(
        &self,
        inputs: &mut C::Inputs,
        x: &C::Buffer,
        rows: usize,
        products: [(&Linear<C>, &mut C::Buffer); N],
    ) -> Result<(), DeviceError> {
        self.feed(inputs, rows, products.each_ref().map(|(linear, _)| *linear))
            .prepare(self.compute, x)?;
        self.multiply_fed(inputs, products)
    }
}

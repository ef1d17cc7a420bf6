//! y = x W^T (+ b).

use std::ops::Range;

use device::DeviceError;
use device::cpu::{Cpu, Forms, Inputs, Matrix, Precision, Product};

use crate::load::LoadError;
use crate::load::tensors::Under;

/// A weight matrix `[out, in]` and perhaps a bias `[out]`.
#[derive(Debug)]
pub(crate) struct Linear {
    weight: Matrix,
    bias: Option<Vec<f32>>,
}

impl Linear {
    /// The tensors `name.weight` and, where `bias` says so, `name.bias`.
    pub fn new(tensors: &Under, name: &str, out: usize, input: usize, bias: bool) -> Result<Self, LoadError> {
        let part = tensors.under(&format!("{name}."));
        let weight = part.matrix("weight", out, input)?;
        let bias = if bias { Some(part.vector("bias", out)?) } else { None };
        Ok(Linear { weight, bias })
    }

    /// A product without a bias.
    pub fn of(weight: Matrix) -> Self {
        Linear { weight, bias: None }
    }

    /// Rows `part` of the fused weights `name.weight`, `[outs, in]`, on the same memory.
    pub fn part(tensors: &Under, name: &str, outs: usize, input: usize, part: Range<usize>) -> Result<Self, LoadError> {
        let fused = tensors.under(&format!("{name}.")).matrix("weight", outs, input)?;
        let weight = fused.rows_from(part.start, part.len());
        weight.map(Linear::of).map_err(|cause| LoadError::Device { what: format!("rows {part:?} of {name}"), cause })
    }

    /// Output features.
    pub fn out(&self) -> usize {
        self.weight.rows
    }

    /// Input features.
    pub fn input(&self) -> usize {
        self.weight.cols
    }

    /// This product, written to `out`, `[tokens, self.out()]`.
    pub fn product<'a>(&'a self, out: &'a mut [f32]) -> Product<'a> {
        Product { weight: &self.weight, bias: self.bias.as_deref(), out }
    }

    /// Prepares `x`, `[tokens, in]`, and computes this one product.
    pub fn run(&self, step: &Arithmetic, inputs: &mut Inputs, x: &[f32], out: &mut [f32]) -> Result<(), DeviceError> {
        let tokens = x.len() / self.input();
        inputs.prepare(step.cpu, x, tokens, self.input(), step.forms(&[self]))?;
        step.cpu.linear(inputs, &mut [self.product(out)])
    }
}

/// Where and how exactly products are computed.
#[derive(Clone, Copy)]
pub(crate) struct Arithmetic<'a> {
    pub cpu: &'a Cpu,
    pub precision: Precision,
}

impl Arithmetic<'_> {
    /// The forms of the inputs that these products need.
    pub fn forms(&self, linears: &[&Linear]) -> Forms {
        Forms::for_weights(self.precision, linears.iter().map(|linear| linear.weight.dtype))
    }
}

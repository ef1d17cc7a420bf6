//! The CPU: each operation is the kernel of that name.

use std::ops::Range;

use checkpoint::{Activation, Dtype};
use device::DeviceError;
use device::cpu::attention::{AttentionOptions, AttentionSequence, KvLayer};
use device::cpu::{self, ActivationDtypes, Cpu, Matrix, PackedActivations, Precision};
use device::memory::Bytes;

use super::{Compute, Feed, Heads, Product};
use crate::layers::Rope;
use crate::load::convert::widen;
use crate::load::tensors::Stored;

/// What a pass's rows are, in host memory.
#[derive(Clone, Copy)]
pub(crate) struct HostRows<'a> {
    /// Token of each row.
    pub tokens: &'a [u32],
    /// Position of each row.
    pub positions: &'a [u32],
    pub sequences: &'a [AttentionSequence<'a>],
    /// Rows whose logits are wanted.
    pub wanted: &'a [usize],
}

impl Compute for Cpu {
    type Bytes = Bytes;
    type Matrix = Matrix;
    type Vector = Vec<f32>;
    type Buffer = Vec<f32>;
    type Forms = ActivationDtypes;
    type Inputs = PackedActivations;
    type Kv = KvLayer;
    type Rope = Rope;
    type Rows<'a> = HostRows<'a>;

    fn matrix(
        stored: &Stored<Self>,
        cols: usize,
        part: Range<usize>,
    ) -> Result<Matrix, DeviceError> {
        let rows = stored.shape.first().copied().unwrap_or(0);
        let whole = Matrix::new(stored.dtype, rows, cols, stored.data.clone())?;
        whole.rows_from(part.start, part.len())
    }

    fn vector(stored: &Stored<Self>) -> Result<Vec<f32>, DeviceError> {
        let mut numbers = vec![0.0; stored.shape.iter().product()];
        widen(stored.dtype, &stored.data, &mut numbers);
        Ok(numbers)
    }

    fn buffer(&self, numbers: usize) -> Result<Vec<f32>, DeviceError> {
        Ok(vec![0.0; numbers])
    }

    fn forms(precision: Precision, dtypes: impl IntoIterator<Item = Dtype>) -> ActivationDtypes {
        ActivationDtypes::for_weights(precision, dtypes)
    }

    /// They grow to what the products of a pass need.
    fn inputs(
        &self,
        _: usize,
        _: usize,
        _: ActivationDtypes,
    ) -> Result<PackedActivations, DeviceError> {
        Ok(PackedActivations::new())
    }

    fn buffer_bytes(buffer: &Vec<f32>) -> u64 {
        4 * buffer.len() as u64
    }

    fn inputs_bytes(inputs: &PackedActivations) -> u64 {
        inputs.capacity_bytes() as u64
    }

    fn prepare(
        &self,
        inputs: &mut PackedActivations,
        x: &Vec<f32>,
        rows: usize,
        cols: usize,
        forms: ActivationDtypes,
    ) -> Result<(), DeviceError> {
        inputs.pack(self, &x[..rows * cols], rows, cols, forms)
    }

    fn linear<const N: usize>(
        &self,
        inputs: &PackedActivations,
        products: [Product<'_, Self>; N],
    ) -> Result<(), DeviceError> {
        let mut products = products.map(|Product { weight, bias, out }| {
            let out = &mut out[..inputs.tokens() * weight.rows];
            cpu::Product { weight, bias: bias.map(Vec::as_slice), out }
        });
        Cpu::linear(self, inputs, &mut products)
    }

    fn rms_norm(
        &self,
        x: &Vec<f32>,
        numbers: usize,
        weight: &Vec<f32>,
        eps: f32,
        out: &mut Vec<f32>,
        feed: Option<Feed<Self>>,
    ) -> Result<(), DeviceError> {
        Cpu::rms_norm(self, &x[..numbers], weight, eps, &mut out[..numbers])?;
        feed.map_or(Ok(()), |feed| feed.prepare(self, out))
    }

    fn rms_norm_inplace(
        &self,
        x: &mut Vec<f32>,
        numbers: usize,
        weight: &Vec<f32>,
        eps: f32,
    ) -> Result<(), DeviceError> {
        Cpu::rms_norm_inplace(self, &mut x[..numbers], weight, eps)
    }

    fn layer_norm(
        &self,
        x: &Vec<f32>,
        numbers: usize,
        (weight, bias): (&Vec<f32>, Option<&Vec<f32>>),
        eps: f32,
        out: &mut Vec<f32>,
        feed: Option<Feed<Self>>,
    ) -> Result<(), DeviceError> {
        Cpu::layer_norm(
            self,
            &x[..numbers],
            weight,
            bias.map(Vec::as_slice),
            eps,
            &mut out[..numbers],
        )?;
        feed.map_or(Ok(()), |feed| feed.prepare(self, out))
    }

    fn rope(
        &self,
        x: [(&mut Vec<f32>, usize); 2],
        head_dim: usize,
        rows: &HostRows,
        table: &Rope,
    ) -> Result<(), DeviceError> {
        x.into_iter().try_for_each(|(x, width)| {
            Cpu::rope(
                self,
                &mut x[..rows.positions.len() * width],
                head_dim,
                rows.positions,
                &table.table(),
            )
        })
    }

    fn activate(
        &self,
        activation: Activation,
        x: &mut Vec<f32>,
        numbers: usize,
        feed: Feed<Self>,
    ) -> Result<(), DeviceError> {
        let activated = &mut x[..numbers];
        match activation {
            Activation::Silu => self.silu(activated),
            Activation::Gelu => self.gelu(activated),
            Activation::GeluTanh => self.gelu_tanh(activated),
        }?;
        feed.prepare(self, x)
    }

    fn activate_and_multiply(
        &self,
        activation: Activation,
        gate: &mut Vec<f32>,
        up: &Vec<f32>,
        numbers: usize,
        feed: Feed<Self>,
    ) -> Result<(), DeviceError> {
        let (activated, up) = (&mut gate[..numbers], &up[..numbers]);
        match activation {
            Activation::Silu => self.silu_mul(activated, up),
            Activation::Gelu => self.gelu_mul(activated, up),
            Activation::GeluTanh => self.gelu_tanh_mul(activated, up),
        }?;
        feed.prepare(self, gate)
    }

    fn add(&self, x: &mut Vec<f32>, y: &Vec<f32>, numbers: usize) -> Result<(), DeviceError> {
        Cpu::add(self, &mut x[..numbers], &y[..numbers])
    }

    fn gather(
        &self,
        x: &Vec<f32>,
        width: usize,
        rows: &HostRows,
        out: &mut Vec<f32>,
    ) -> Result<(), DeviceError> {
        for (out, row) in out.chunks_exact_mut(width).zip(rows.wanted) {
            out.copy_from_slice(&x[row * width..][..width]);
        }
        Ok(())
    }

    fn embed(
        &self,
        table: &Matrix,
        rows: &HostRows,
        out: &mut Vec<f32>,
    ) -> Result<(), DeviceError> {
        Cpu::embed(self, table, rows.tokens, &mut out[..rows.tokens.len() * table.cols])
    }

    fn write_kv(
        &self,
        kv: &mut KvLayer,
        rows: &HostRows,
        k: &Vec<f32>,
        v: &Vec<f32>,
    ) -> Result<(), DeviceError> {
        let (shape, count) = (*kv.shape(), rows.positions.len());
        let (keys, values) =
            (count * shape.kv_heads * shape.key_dim, count * shape.kv_heads * shape.value_dim);
        Cpu::write_kv(self, kv, rows.sequences, &k[..keys], &v[..values])
    }

    fn attention(
        &self,
        kv: &KvLayer,
        rows: &mut HostRows,
        heads: &Heads,
        q: &Vec<f32>,
        out: &mut Vec<f32>,
        feed: Feed<Self>,
    ) -> Result<(), DeviceError> {
        let Heads { count, scale, window } = *heads;
        let (shape, all) = (kv.shape(), rows.positions.len() * count);
        let options = AttentionOptions { heads: count, scale, window, sinks: None };
        let gathered = &mut out[..all * shape.value_dim];
        Cpu::attention(self, kv, rows.sequences, &options, &q[..all * shape.key_dim], gathered)?;
        feed.prepare(self, out)
    }
}

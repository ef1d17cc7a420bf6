//! A GPU: each operation is queued on its stream of kernels, in the order in which it is called.

use std::ops::Range;
use std::sync::Arc;

use checkpoint::{Activation, Dtype};
use device::DeviceError;
use device::cpu::Precision;
use device::cuda::{
    AttentionMetadata, BatchShape, Buffer, Gpu, GpuActivationDtypes, GpuAttentionOptions, GpuBytes,
    GpuEpilogue, GpuIndices, GpuKvLayer, GpuMatrix, GpuPackedActivations, GpuProduct, GpuRopeTable,
};

use super::{Compute, Feed, Heads, HostRows, Product, gpu_deadline};
use crate::load::tensors::Stored;

/// A weight on a GPU.
#[derive(Clone, Debug)]
pub(crate) enum GpuData {
    Matrix(GpuBytes),
    /// As f32.
    Vector(Arc<Buffer<f32>>),
}

/// What a pass's rows are, on a GPU. Set once a pass.
pub(crate) struct GpuRows {
    tokens: GpuIndices,
    /// Rows whose logits are wanted.
    wanted: GpuIndices,
    pass: AttentionMetadata,
}

impl GpuRows {
    /// Room for passes of this shape.
    pub fn new(gpu: &Gpu, shape: BatchShape) -> Result<Self, DeviceError> {
        let (tokens, wanted) =
            (GpuIndices::new(gpu, shape.tokens)?, GpuIndices::new(gpu, shape.tokens)?);
        Ok(GpuRows { tokens, wanted, pass: AttentionMetadata::new(gpu, shape)? })
    }

    /// Copies a pass's rows to the GPU.
    pub fn set(&mut self, rows: &HostRows) -> Result<(), DeviceError> {
        let wanted: Vec<u32> = rows.wanted.iter().map(|&row| row as u32).collect();
        self.tokens.set(rows.tokens, gpu_deadline())?;
        self.wanted.set(&wanted, gpu_deadline())?;
        self.pass.begin(rows.sequences, gpu_deadline())
    }

    /// Bytes taken for passes of this shape.
    pub fn bytes(&self) -> u64 {
        let shape = self.pass.shape();
        (AttentionMetadata::bytes(shape) + 2 * shape.tokens * size_of::<u32>()) as u64
    }
}

impl Compute for Gpu {
    type Bytes = GpuData;
    type Matrix = GpuMatrix;
    type Vector = Arc<Buffer<f32>>;
    type Buffer = Buffer<f32>;
    type Forms = GpuActivationDtypes;
    type Inputs = GpuPackedActivations;
    type Kv = GpuKvLayer;
    type Rope = GpuRopeTable;
    type Rows<'a> = &'a mut GpuRows;

    fn matrix(
        stored: &Stored<Self>,
        cols: usize,
        part: Range<usize>,
    ) -> Result<GpuMatrix, DeviceError> {
        let GpuData::Matrix(data) = &stored.data else {
            return Err(DeviceError::Shape {
                what: "dimensions of a matrix on a GPU",
                expected: 2,
                found: 1,
            });
        };
        let rows = stored.shape.first().copied().unwrap_or(0);
        GpuMatrix::new(stored.dtype, rows, cols, data.clone())?.rows_from(part.start, part.len())
    }

    fn vector(stored: &Stored<Self>) -> Result<Arc<Buffer<f32>>, DeviceError> {
        match &stored.data {
            GpuData::Vector(numbers) => Ok(numbers.clone()),
            GpuData::Matrix(_) => Err(DeviceError::Shape {
                what: "dimensions of a vector on a GPU",
                expected: 1,
                found: 2,
            }),
        }
    }

    fn buffer(&self, numbers: usize) -> Result<Buffer<f32>, DeviceError> {
        Ok(Buffer::new(self, numbers)?)
    }

    fn forms(precision: Precision, dtypes: impl IntoIterator<Item = Dtype>) -> GpuActivationDtypes {
        GpuActivationDtypes::for_weights(precision, dtypes)
    }

    fn inputs(
        &self,
        rows_max: usize,
        cols_max: usize,
        forms: GpuActivationDtypes,
    ) -> Result<GpuPackedActivations, DeviceError> {
        let numbers = GpuPackedActivations::numbers(rows_max, cols_max);
        let room = |wanted: bool| if wanted { numbers } else { 0 };
        GpuPackedActivations::new(self, room(forms.is_exact()), room(forms.is_rounded()))
    }

    fn buffer_bytes(buffer: &Buffer<f32>) -> u64 {
        4 * buffer.capacity() as u64
    }

    fn inputs_bytes(inputs: &GpuPackedActivations) -> u64 {
        inputs.capacity_bytes() as u64
    }

    fn prepare(
        &self,
        inputs: &mut GpuPackedActivations,
        x: &Buffer<f32>,
        rows: usize,
        cols: usize,
        forms: GpuActivationDtypes,
    ) -> Result<(), DeviceError> {
        inputs.prepare(self, x, rows, cols, forms)
    }

    fn linear<const N: usize>(
        &self,
        inputs: &GpuPackedActivations,
        mut products: [Product<'_, Self>; N],
    ) -> Result<(), DeviceError> {
        for product in &mut products {
            product.out.resize(inputs.tokens() * product.weight.rows)?;
        }
        let mut products = products.map(|Product { weight, bias, out }| {
            let bias = bias.map(Arc::as_ref);
            GpuProduct { weight, bias, out }
        });
        Gpu::linear(self, inputs, &mut products)
    }

    fn rms_norm(
        &self,
        x: &Buffer<f32>,
        numbers: usize,
        weight: &Arc<Buffer<f32>>,
        eps: f32,
        out: &mut Buffer<f32>,
        feed: Option<Feed<Self>>,
    ) -> Result<(), DeviceError> {
        out.resize(numbers)?;
        Gpu::rms_norm(self, x, weight, eps, out, feed.map(on_gpu))
    }

    fn add_rms_norm(
        &self,
        (x, y): (&mut Buffer<f32>, &Buffer<f32>),
        numbers: usize,
        weight: &Arc<Buffer<f32>>,
        eps: f32,
        out: &mut Buffer<f32>,
        feed: Option<Feed<Self>>,
    ) -> Result<(), DeviceError> {
        out.resize(numbers)?;
        Gpu::add_rms_norm(self, x, y, weight, eps, out, feed.map(on_gpu))
    }

    fn rms_norm_inplace(
        &self,
        x: &mut Buffer<f32>,
        _: usize,
        weight: &Arc<Buffer<f32>>,
        eps: f32,
    ) -> Result<(), DeviceError> {
        Gpu::rms_norm_inplace(self, x, weight, eps)
    }

    fn layer_norm(
        &self,
        x: &Buffer<f32>,
        numbers: usize,
        (weight, bias): (&Arc<Buffer<f32>>, Option<&Arc<Buffer<f32>>>),
        eps: f32,
        out: &mut Buffer<f32>,
        feed: Option<Feed<Self>>,
    ) -> Result<(), DeviceError> {
        out.resize(numbers)?;
        Gpu::layer_norm(self, x, weight, bias.map(Arc::as_ref), eps, out, feed.map(on_gpu))
    }

    fn rope(
        &self,
        x: [(&mut Buffer<f32>, usize); 2],
        head_dim: usize,
        rows: &&mut GpuRows,
        table: &GpuRopeTable,
    ) -> Result<(), DeviceError> {
        Gpu::rope(self, x.map(|(x, _)| x), head_dim, &rows.pass, table)
    }

    fn activate(
        &self,
        activation: Activation,
        x: &mut Buffer<f32>,
        _: usize,
        feed: Feed<Self>,
    ) -> Result<(), DeviceError> {
        let feed = Some(on_gpu(feed));
        match activation {
            Activation::Silu => self.silu(x, feed),
            Activation::Gelu => self.gelu(x, feed),
            Activation::GeluTanh => self.gelu_tanh(x, feed),
        }
    }

    fn activate_and_multiply(
        &self,
        activation: Activation,
        gate: &mut Buffer<f32>,
        up: &Buffer<f32>,
        _: usize,
        feed: Feed<Self>,
    ) -> Result<(), DeviceError> {
        let feed = Some(on_gpu(feed));
        match activation {
            Activation::Silu => self.silu_mul(gate, up, feed),
            Activation::Gelu => self.gelu_mul(gate, up, feed),
            Activation::GeluTanh => self.gelu_tanh_mul(gate, up, feed),
        }
    }

    fn add(&self, x: &mut Buffer<f32>, y: &Buffer<f32>, _: usize) -> Result<(), DeviceError> {
        Gpu::add(self, x, y)
    }

    fn gather(
        &self,
        x: &Buffer<f32>,
        width: usize,
        rows: &&mut GpuRows,
        out: &mut Buffer<f32>,
    ) -> Result<(), DeviceError> {
        out.resize(rows.wanted.len() * width)?;
        self.gather_rows(x, width, &rows.wanted, out)
    }

    fn embed(
        &self,
        table: &GpuMatrix,
        rows: &&mut GpuRows,
        out: &mut Buffer<f32>,
    ) -> Result<(), DeviceError> {
        out.resize(rows.tokens.len() * table.cols)?;
        Gpu::embed(self, table, &rows.tokens, out)
    }

    fn write_kv(
        &self,
        kv: &mut GpuKvLayer,
        rows: &&mut GpuRows,
        k: &Buffer<f32>,
        v: &Buffer<f32>,
    ) -> Result<(), DeviceError> {
        Gpu::write_kv(self, kv, &rows.pass, k, v)
    }

    fn attention(
        &self,
        kv: &GpuKvLayer,
        rows: &mut &mut GpuRows,
        heads: &Heads,
        q: &Buffer<f32>,
        out: &mut Buffer<f32>,
        feed: Feed<Self>,
    ) -> Result<(), DeviceError> {
        let Heads { count, scale, window } = *heads;
        out.resize(rows.pass.tokens() * count * kv.shape().value_dim)?;
        let options = GpuAttentionOptions { heads: count, scale, window, sinks: None };
        Gpu::attention(self, kv, &mut rows.pass, &options, q, out, Some(on_gpu(feed)))
    }
}

fn on_gpu(Feed { inputs, rows, cols, forms }: Feed<'_, Gpu>) -> GpuEpilogue<'_> {
    GpuEpilogue { inputs, tokens: rows, cols, forms }
}

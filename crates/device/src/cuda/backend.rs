//! [`Backend`] for a GPU: every operation is queued on its stream of kernels, in the order of the
//! calls.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use checkpoint::{Activation, Dtype};

use super::{
    AttentionMetadata, BatchShape, Buffer, Gpu, GpuActivationDtypes, GpuAttentionOptions, GpuBytes,
    GpuEpilogue, GpuIndices, GpuKvLayer, GpuMatrix, GpuPackedActivations, GpuProduct, GpuRopeTable,
};
use crate::DeviceError;
use crate::backend::{
    AttentionOptions, Backend, Epilogue, NormWeights, PassInput, Precision, Product,
};

/// The data of a tensor on a GPU.
#[derive(Clone, Debug)]
pub enum GpuTensorData {
    /// A matrix in its stored dtype.
    Matrix(GpuBytes),
    /// A norm's weight or a bias, in f32.
    Vector(Arc<Buffer<f32>>),
}

/// A [`PassInput`] in a GPU's memory: allocated once, uploaded once a pass.
pub struct GpuPassInput {
    tokens: GpuIndices,
    output_rows: GpuIndices,
    metadata: AttentionMetadata,
}

impl GpuPassInput {
    /// Memory for passes of up to this shape.
    ///
    /// # Errors
    /// Those of [`Buffer::new`] and [`AttentionMetadata::new`].
    pub fn new(gpu: &Gpu, shape: BatchShape) -> Result<Self, DeviceError> {
        let tokens = GpuIndices::new(gpu, shape.tokens)?;
        let output_rows = GpuIndices::new(gpu, shape.tokens)?;
        Ok(Self { tokens, output_rows, metadata: AttentionMetadata::new(gpu, shape)? })
    }

    /// Uploads a pass's input; `deadline` is for each of the three copies.
    ///
    /// # Errors
    /// Those of [`AttentionMetadata::begin`] and [`Buffer::upload`].
    pub fn upload(&mut self, input: &PassInput, deadline: Instant) -> Result<(), DeviceError> {
        let output_rows: Vec<u32> = input.output_rows.iter().map(|&row| row as u32).collect();
        self.tokens.set(input.tokens, deadline)?;
        self.output_rows.set(&output_rows, deadline)?;
        self.metadata.begin(input.sequences, deadline)
    }

    /// Bytes on the GPU.
    pub fn bytes(&self) -> u64 {
        let shape = self.metadata.shape();
        (AttentionMetadata::bytes(shape) + 2 * shape.tokens * size_of::<u32>()) as u64
    }
}

impl Backend for Gpu {
    type TensorData = GpuTensorData;
    type Matrix = GpuMatrix;
    type Vector = Arc<Buffer<f32>>;
    type Buffer = Buffer<f32>;
    type ActivationDtypes = GpuActivationDtypes;
    type PackedActivations = GpuPackedActivations;
    type KvLayer = GpuKvLayer;
    type RopeTable<'a> = &'a GpuRopeTable;
    type PassInput<'a> = &'a mut GpuPassInput;

    fn matrix(
        dtype: Dtype,
        shape: [usize; 2],
        data: &GpuTensorData,
        rows: Range<usize>,
    ) -> Result<GpuMatrix, DeviceError> {
        let GpuTensorData::Matrix(data) = data else {
            return Err(DeviceError::Shape {
                what: "dimensions of a matrix on a GPU",
                expected: 2,
                found: 1,
            });
        };
        GpuMatrix::new(dtype, shape[0], shape[1], data.clone())?.rows_from(rows.start, rows.len())
    }

    fn vector(_: Dtype, len: usize, data: &GpuTensorData) -> Result<Arc<Buffer<f32>>, DeviceError> {
        match data {
            GpuTensorData::Vector(vector) => {
                crate::cpu::expect("a vector on a GPU", len, vector.len())?;
                Ok(vector.clone())
            }
            GpuTensorData::Matrix(_) => Err(DeviceError::Shape {
                what: "dimensions of a vector on a GPU",
                expected: 1,
                found: 2,
            }),
        }
    }

    fn buffer(&self, len: usize) -> Result<Buffer<f32>, DeviceError> {
        Ok(Buffer::new(self, len)?)
    }

    fn buffer_bytes(buffer: &Buffer<f32>) -> u64 {
        4 * buffer.capacity() as u64
    }

    fn activation_dtypes(
        precision: Precision,
        weights: impl IntoIterator<Item = Dtype>,
    ) -> GpuActivationDtypes {
        GpuActivationDtypes::for_weights(precision, weights)
    }

    fn packed_activations(
        &self,
        rows_max: usize,
        cols_max: usize,
        dtypes: GpuActivationDtypes,
    ) -> Result<GpuPackedActivations, DeviceError> {
        let len = GpuPackedActivations::numbers(rows_max, cols_max);
        let capacity = |needed: bool| if needed { len } else { 0 };
        GpuPackedActivations::new(self, capacity(dtypes.is_exact()), capacity(dtypes.is_rounded()))
    }

    fn packed_bytes(packed: &GpuPackedActivations) -> u64 {
        packed.capacity_bytes() as u64
    }

    fn pack(&self, x: &Buffer<f32>, epilogue: Epilogue<Self>) -> Result<(), DeviceError> {
        let Epilogue { packed, rows, cols, dtypes } = epilogue;
        packed.prepare(self, x, rows, cols, dtypes)
    }

    fn linear<const N: usize>(
        &self,
        inputs: &GpuPackedActivations,
        mut products: [Product<Self>; N],
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
        norm: NormWeights<Self>,
        out: &mut Buffer<f32>,
        epilogue: Option<Epilogue<Self>>,
    ) -> Result<(), DeviceError> {
        out.resize(x.len())?;
        Gpu::rms_norm(self, x, norm.weight, norm.eps, out, epilogue.map(gpu_epilogue))
    }

    fn add_rms_norm(
        &self,
        x: &mut Buffer<f32>,
        y: &Buffer<f32>,
        norm: NormWeights<Self>,
        out: &mut Buffer<f32>,
        epilogue: Option<Epilogue<Self>>,
    ) -> Result<(), DeviceError> {
        out.resize(x.len())?;
        Gpu::add_rms_norm(self, x, y, norm.weight, norm.eps, out, epilogue.map(gpu_epilogue))
    }

    fn rms_norm_inplace(
        &self,
        x: &mut Buffer<f32>,
        norm: NormWeights<Self>,
    ) -> Result<(), DeviceError> {
        Gpu::rms_norm_inplace(self, x, norm.weight, norm.eps)
    }

    fn layer_norm(
        &self,
        x: &Buffer<f32>,
        norm: NormWeights<Self>,
        out: &mut Buffer<f32>,
        epilogue: Option<Epilogue<Self>>,
    ) -> Result<(), DeviceError> {
        let NormWeights { weight, bias, eps } = norm;
        out.resize(x.len())?;
        let epilogue = epilogue.map(gpu_epilogue);
        Gpu::layer_norm(self, x, weight, bias.map(Arc::as_ref), eps, out, epilogue)
    }

    fn rope(
        &self,
        q: &mut Buffer<f32>,
        k: &mut Buffer<f32>,
        head_dim: usize,
        input: &&mut GpuPassInput,
        table: &GpuRopeTable,
    ) -> Result<(), DeviceError> {
        Gpu::rope(self, [q, k], head_dim, &input.metadata, table)
    }

    fn activate(
        &self,
        activation: Activation,
        x: &mut Buffer<f32>,
        epilogue: Epilogue<Self>,
    ) -> Result<(), DeviceError> {
        let epilogue = Some(gpu_epilogue(epilogue));
        match activation {
            Activation::Silu => self.silu(x, epilogue),
            Activation::Gelu => self.gelu(x, epilogue),
            Activation::GeluTanh => self.gelu_tanh(x, epilogue),
        }
    }

    fn activate_and_multiply(
        &self,
        activation: Activation,
        gate: &mut Buffer<f32>,
        up: &Buffer<f32>,
        epilogue: Epilogue<Self>,
    ) -> Result<(), DeviceError> {
        let epilogue = Some(gpu_epilogue(epilogue));
        match activation {
            Activation::Silu => self.silu_mul(gate, up, epilogue),
            Activation::Gelu => self.gelu_mul(gate, up, epilogue),
            Activation::GeluTanh => self.gelu_tanh_mul(gate, up, epilogue),
        }
    }

    fn add(&self, x: &mut Buffer<f32>, y: &Buffer<f32>) -> Result<(), DeviceError> {
        Gpu::add(self, x, y)
    }

    fn gather(
        &self,
        x: &Buffer<f32>,
        width: usize,
        input: &&mut GpuPassInput,
        out: &mut Buffer<f32>,
    ) -> Result<(), DeviceError> {
        out.resize(input.output_rows.len() * width)?;
        self.gather_rows(x, width, &input.output_rows, out)
    }

    fn embed(
        &self,
        table: &GpuMatrix,
        input: &&mut GpuPassInput,
        out: &mut Buffer<f32>,
    ) -> Result<(), DeviceError> {
        out.resize(input.tokens.len() * table.cols)?;
        Gpu::embed(self, table, &input.tokens, out)
    }

    fn write_kv(
        &self,
        kv: &mut GpuKvLayer,
        input: &&mut GpuPassInput,
        k: &Buffer<f32>,
        v: &Buffer<f32>,
    ) -> Result<(), DeviceError> {
        Gpu::write_kv(self, kv, &input.metadata, k, v)
    }

    fn attention(
        &self,
        kv: &GpuKvLayer,
        input: &mut &mut GpuPassInput,
        options: &AttentionOptions<Self>,
        q: &Buffer<f32>,
        out: &mut Buffer<f32>,
        epilogue: Epilogue<Self>,
    ) -> Result<(), DeviceError> {
        let AttentionOptions { heads, scale, window, sinks } = *options;
        out.resize(input.metadata.tokens() * heads * kv.shape().value_dim)?;
        let options = GpuAttentionOptions { heads, scale, window, sinks: sinks.map(Arc::as_ref) };
        let epilogue = Some(gpu_epilogue(epilogue));
        Gpu::attention(self, kv, &mut input.metadata, &options, q, out, epilogue)
    }
}

fn gpu_epilogue(epilogue: Epilogue<'_, Gpu>) -> GpuEpilogue<'_> {
    let Epilogue { packed, rows, cols, dtypes } = epilogue;
    GpuEpilogue { inputs: packed, tokens: rows, cols, forms: dtypes }
}

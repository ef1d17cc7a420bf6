//! [`Backend`] for a GPU: every operation is queued on the GPU's compute stream, in call order.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use checkpoint::{Activation, Dtype};

use super::ops::attention::{AttentionOperands, Splits};
use super::ops::{attention, elementwise, embed, kv, linear, norm, rope};
use super::{
    AttentionMetadata, BatchShape, Buffer, Gpu, GpuActivationDtypes, GpuBytes, GpuKvLayer,
    GpuMatrix, GpuPackedActivations, GpuRopeTable, IndexList,
};
use crate::DeviceError;
use crate::backend::{
    AttentionOptions, Backend, Epilogue, ExpertActivation, ExpertProduct, NormWeights, PassInput,
    Precision, Product, RouterOptions, SharedOutput,
};

/// The data of a tensor on a GPU.
#[derive(Clone, Debug)]
pub enum GpuTensorData {
    /// A matrix in its stored dtype.
    Matrix(GpuBytes),
    /// A norm's weight or a bias, in f32.
    Vector(Arc<Buffer<f32>>),
}

impl GpuTensorData {
    fn wrong_rank(what: &'static str, expected: usize, found: usize) -> DeviceError {
        DeviceError::Shape { what, expected, found }
    }
}

/// A [`PassInput`] in GPU memory: allocated once, uploaded once per pass.
pub struct GpuPassInput {
    tokens: IndexList,
    output_rows: IndexList,
    attention: AttentionMetadata,
}

impl GpuPassInput {
    /// Allocates GPU memory for batches of up to this shape.
    ///
    /// # Errors
    /// Those of [`Buffer::new`] and [`AttentionMetadata::new`].
    pub fn new(gpu: &Gpu, shape: BatchShape) -> Result<Self, DeviceError> {
        let tokens = IndexList::new(gpu, shape.tokens)?;
        let output_rows = IndexList::new(gpu, shape.tokens)?;
        Ok(Self { tokens, output_rows, attention: AttentionMetadata::new(gpu, shape)? })
    }

    /// Uploads the input of a pass in three copies; `deadline` limits each of them.
    ///
    /// # Errors
    /// Those of [`AttentionMetadata::set_batch`] and [`Buffer::upload`].
    pub fn upload(&mut self, input: &PassInput, deadline: Instant) -> Result<(), DeviceError> {
        let output_rows: Vec<u32> = input.output_rows.iter().map(|&row| row as u32).collect();
        self.tokens.set(input.tokens, deadline)?;
        self.output_rows.set(&output_rows, deadline)?;
        self.attention.set_batch(input.sequences, deadline)
    }

    /// Bytes of GPU memory that the input occupies.
    pub fn bytes(&self) -> u64 {
        let shape = self.attention.shape();
        (AttentionMetadata::bytes(shape) + 2 * shape.tokens * size_of::<u32>()) as u64
    }
}

/// The loader places mixtures of experts on the CPU, so no pass gets here.
const NO_EXPERTS: DeviceError =
    DeviceError::OperationUnsupported { operation: "a mixture of experts", device: "GPUs" };

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
    type ExpertRoutes = ();

    fn matrix(
        dtype: Dtype,
        shape: [usize; 2],
        data: &GpuTensorData,
        rows: Range<usize>,
    ) -> Result<GpuMatrix, DeviceError> {
        let GpuTensorData::Matrix(data) = data else {
            return Err(GpuTensorData::wrong_rank("dimensions of a matrix on a GPU", 2, 1));
        };
        GpuMatrix::new(dtype, shape[0], shape[1], data.clone())?.rows_from(rows.start, rows.len())
    }

    fn fp4_matrix(
        _: [usize; 2],
        _: &GpuTensorData,
        _: &GpuTensorData,
        _: Range<usize>,
    ) -> Result<GpuMatrix, DeviceError> {
        Err(NO_EXPERTS)
    }

    fn vector_part(
        _: Dtype,
        _: usize,
        _: &GpuTensorData,
        _: Range<usize>,
    ) -> Result<Arc<Buffer<f32>>, DeviceError> {
        Err(NO_EXPERTS)
    }

    fn vector(_: Dtype, len: usize, data: &GpuTensorData) -> Result<Arc<Buffer<f32>>, DeviceError> {
        let GpuTensorData::Vector(vector) = data else {
            return Err(GpuTensorData::wrong_rank("dimensions of a vector on a GPU", 1, 2));
        };
        crate::cpu::expect("a vector on a GPU", len, vector.len())?;
        Ok(vector.clone())
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
        let len = GpuPackedActivations::elements(rows_max, cols_max);
        let capacity = |included: bool| if included { len } else { 0 };
        let (f32, bf16) = (capacity(dtypes.includes_f32()), capacity(dtypes.includes_bf16()));
        GpuPackedActivations::new(self, f32, bf16)
    }

    fn packed_bytes(packed: &GpuPackedActivations) -> u64 {
        packed.capacity_bytes() as u64
    }

    fn pack(&self, x: &Buffer<f32>, epilogue: Epilogue<Self>) -> Result<(), DeviceError> {
        let Epilogue { packed, rows, cols, dtypes } = epilogue;
        packed.pack(self, x, rows, cols, dtypes)
    }

    fn linear<const N: usize>(
        &self,
        inputs: &GpuPackedActivations,
        mut products: [Product<Self>; N],
    ) -> Result<(), DeviceError> {
        linear::linear(self, inputs, &mut products)
    }

    fn rms_norm(
        &self,
        x: &Buffer<f32>,
        norm: NormWeights<Self>,
        out: &mut Buffer<f32>,
        epilogue: Option<Epilogue<Self>>,
    ) -> Result<(), DeviceError> {
        norm::rms_norm(self, x, norm, out, epilogue)
    }

    fn add_rms_norm(
        &self,
        x: &mut Buffer<f32>,
        y: &Buffer<f32>,
        norm: NormWeights<Self>,
        out: &mut Buffer<f32>,
        epilogue: Option<Epilogue<Self>>,
    ) -> Result<(), DeviceError> {
        norm::add_rms_norm(self, x, y, norm, out, epilogue)
    }

    fn rms_norm_inplace(
        &self,
        x: &mut Buffer<f32>,
        norm: NormWeights<Self>,
    ) -> Result<(), DeviceError> {
        norm::rms_norm_inplace(self, x, norm)
    }

    fn layer_norm(
        &self,
        x: &Buffer<f32>,
        norm: NormWeights<Self>,
        out: &mut Buffer<f32>,
        epilogue: Option<Epilogue<Self>>,
    ) -> Result<(), DeviceError> {
        norm::layer_norm(self, x, norm, out, epilogue)
    }

    fn rope(
        &self,
        q: &mut Buffer<f32>,
        k: &mut Buffer<f32>,
        head_dim: usize,
        input: &&mut GpuPassInput,
        table: &GpuRopeTable,
    ) -> Result<(), DeviceError> {
        rope::rope(self, [q, k], head_dim, &input.attention, table)
    }

    fn activate(
        &self,
        activation: Activation,
        x: &mut Buffer<f32>,
        epilogue: Epilogue<Self>,
    ) -> Result<(), DeviceError> {
        elementwise::activate(self, activation, x, epilogue)
    }

    fn activate_and_multiply(
        &self,
        activation: Activation,
        gate: &mut Buffer<f32>,
        up: &Buffer<f32>,
        epilogue: Epilogue<Self>,
    ) -> Result<(), DeviceError> {
        elementwise::activate_and_multiply(self, activation, gate, up, epilogue)
    }

    fn route(&self, _: &Buffer<f32>, _: &RouterOptions, _: &mut ()) -> Result<(), DeviceError> {
        Err(NO_EXPERTS)
    }

    fn pack_for_experts(
        &self,
        _: &Buffer<f32>,
        _: &(),
        _: Epilogue<Self>,
    ) -> Result<(), DeviceError> {
        Err(NO_EXPERTS)
    }

    fn expert_linear<const N: usize>(
        &self,
        _: &GpuPackedActivations,
        _: &(),
        _: [ExpertProduct<Self>; N],
    ) -> Result<(), DeviceError> {
        Err(NO_EXPERTS)
    }

    fn activate_experts(
        &self,
        _: &ExpertActivation,
        _: &mut Buffer<f32>,
        _: &Buffer<f32>,
        _: &(),
        _: Epilogue<Self>,
    ) -> Result<(), DeviceError> {
        Err(NO_EXPERTS)
    }

    fn combine_experts(
        &self,
        _: &Buffer<f32>,
        _: &(),
        _: SharedOutput<Self>,
        _: usize,
        _: &mut Buffer<f32>,
    ) -> Result<(), DeviceError> {
        Err(NO_EXPERTS)
    }

    fn add(&self, x: &mut Buffer<f32>, y: &Buffer<f32>) -> Result<(), DeviceError> {
        elementwise::add(self, x, y)
    }

    fn gather(
        &self,
        x: &Buffer<f32>,
        width: usize,
        input: &&mut GpuPassInput,
        out: &mut Buffer<f32>,
    ) -> Result<(), DeviceError> {
        elementwise::gather_rows(self, x, width, &input.output_rows, out)
    }

    fn embed(
        &self,
        table: &GpuMatrix,
        input: &&mut GpuPassInput,
        out: &mut Buffer<f32>,
    ) -> Result<(), DeviceError> {
        embed::embed(self, table, &input.tokens, out)
    }

    fn write_kv(
        &self,
        kv: &mut GpuKvLayer,
        input: &&mut GpuPassInput,
        k: &Buffer<f32>,
        v: &Buffer<f32>,
    ) -> Result<(), DeviceError> {
        kv::write_kv(self, kv, &input.attention, k, v)
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
        let metadata = &mut input.attention;
        let operands = AttentionOperands { layer: kv, metadata, options, q };
        attention::attention(self, operands, Splits::Auto, out, Some(epilogue))
    }
}

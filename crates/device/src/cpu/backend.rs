//! [`Backend`] of the CPU: each operation sizes its output, calls the kernel of the same name and
//! packs the result.

use std::ops::{Deref, DerefMut, Range};

use checkpoint::{Activation, Dtype};

use super::attention::KvLayer;
use super::{ActivationDtypes, Cpu, ExpertRoutes, Matrix, PackedActivations, RopeTable, widen};
use crate::DeviceError;
use crate::backend::{
    AttentionOptions, Backend, Epilogue, ExpertActivation, ExpertProduct, KvUpProjection,
    LatentShape, NormWeights, PassInput, Precision, Product, RouterOptions, SharedOutput,
};
use crate::memory::Bytes;

/// Activations in host memory, `[rows, width]`. Has a length within a capacity, like a `Vec`, but
/// keeps the values beyond its length initialized.
#[derive(Default)]
pub struct HostBuffer {
    values: Vec<f32>,
    len: usize,
}

impl HostBuffer {
    /// A buffer of `len` zeros.
    pub fn new(len: usize) -> Self {
        Self { values: vec![0.0; len], len }
    }

    /// Sets the length, and grows the capacity if needed. The values are unspecified: old values or
    /// zeros.
    pub fn resize(&mut self, len: usize) {
        if len > self.values.len() {
            self.values.resize(len, 0.0);
        }
        self.len = len;
    }

    /// Maximum length without an allocation.
    pub fn capacity(&self) -> usize {
        self.values.len()
    }
}

impl Deref for HostBuffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.values[..self.len]
    }
}

impl DerefMut for HostBuffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.values[..self.len]
    }
}

impl Backend for Cpu {
    type TensorData = Bytes;
    type Matrix = Matrix;
    type Vector = Vec<f32>;
    type Buffer = HostBuffer;
    type ActivationDtypes = ActivationDtypes;
    type PackedActivations = PackedActivations;
    type KvLayer = KvLayer;
    type RopeTable<'a> = RopeTable<'a>;
    type PassInput<'a> = PassInput<'a>;
    type ExpertRoutes = ExpertRoutes;

    fn matrix(
        dtype: Dtype,
        shape: [usize; 2],
        data: &Bytes,
        rows: Range<usize>,
    ) -> Result<Matrix, DeviceError> {
        Matrix::new(dtype, shape[0], shape[1], data.clone())?.rows_from(rows.start, rows.len())
    }

    fn block_fp8_matrix(
        shape: [usize; 2],
        data: &Bytes,
        (scales_dtype, scales): (Dtype, &Bytes),
        rows: Range<usize>,
    ) -> Result<Matrix, DeviceError> {
        let mut factors = vec![0.0; scales.len() / scales_dtype.block_bytes()];
        widen(scales_dtype, scales, &mut factors);
        Matrix::block_fp8(shape[0], shape[1], data.clone(), &factors)?
            .rows_from(rows.start, rows.len())
    }

    fn fp4_matrix(
        shape: [usize; 2],
        data: &Bytes,
        scales: &Bytes,
        rows: Range<usize>,
    ) -> Result<Matrix, DeviceError> {
        let [all_rows, cols] = shape;
        Matrix::fp4(all_rows, cols, data.clone(), scales.clone())?.rows_from(rows.start, rows.len())
    }

    fn vector_part(
        dtype: Dtype,
        len: usize,
        data: &Bytes,
        elements: Range<usize>,
    ) -> Result<Vec<f32>, DeviceError> {
        let size = dtype.block_bytes();
        super::expect("the bytes of a vector", len * size, data.len())?;
        let part = data.slice(elements.start * size..elements.end * size)?;
        let mut values = vec![0.0; elements.len()];
        widen(dtype, &part, &mut values);
        Ok(values)
    }

    fn vector(dtype: Dtype, len: usize, data: &Bytes) -> Result<Vec<f32>, DeviceError> {
        let mut values = vec![0.0; len];
        widen(dtype, data, &mut values);
        Ok(values)
    }

    fn buffer(&self, len: usize) -> Result<HostBuffer, DeviceError> {
        Ok(HostBuffer::new(len))
    }

    fn buffer_bytes(buffer: &HostBuffer) -> u64 {
        4 * buffer.capacity() as u64
    }

    fn activation_dtypes(
        precision: Precision,
        weights: impl IntoIterator<Item = Dtype>,
    ) -> ActivationDtypes {
        ActivationDtypes::for_weights(precision, weights)
    }

    /// Empty: the buffers grow when activations are packed.
    fn packed_activations(
        &self,
        _: usize,
        _: usize,
        _: ActivationDtypes,
    ) -> Result<PackedActivations, DeviceError> {
        Ok(PackedActivations::new())
    }

    fn packed_bytes(packed: &PackedActivations) -> u64 {
        packed.capacity_bytes() as u64
    }

    fn pack(&self, x: &HostBuffer, epilogue: Epilogue<Self>) -> Result<(), DeviceError> {
        let Epilogue { packed, rows, cols, dtypes } = epilogue;
        packed.pack(self, x, rows, cols, dtypes)
    }

    fn linear<const N: usize>(
        &self,
        inputs: &PackedActivations,
        mut products: [Product<Self>; N],
    ) -> Result<(), DeviceError> {
        Cpu::linear(self, inputs, &mut products)
    }

    fn rms_norm(
        &self,
        x: &HostBuffer,
        norm: NormWeights<Self>,
        out: &mut HostBuffer,
        epilogue: Option<Epilogue<Self>>,
    ) -> Result<(), DeviceError> {
        out.resize(x.len());
        Cpu::rms_norm(self, x, norm.weight, norm.eps, out)?;
        epilogue.map_or(Ok(()), |epilogue| self.pack(out, epilogue))
    }

    fn rms_norm_inplace(
        &self,
        x: &mut HostBuffer,
        norm: NormWeights<Self>,
    ) -> Result<(), DeviceError> {
        Cpu::rms_norm_inplace(self, x, norm.weight, norm.eps)
    }

    fn layer_norm(
        &self,
        x: &HostBuffer,
        norm: NormWeights<Self>,
        out: &mut HostBuffer,
        epilogue: Option<Epilogue<Self>>,
    ) -> Result<(), DeviceError> {
        let NormWeights { weight, bias, eps } = norm;
        out.resize(x.len());
        Cpu::layer_norm(self, x, weight, bias.map(Vec::as_slice), eps, out)?;
        epilogue.map_or(Ok(()), |epilogue| self.pack(out, epilogue))
    }

    fn rope(
        &self,
        q: &mut HostBuffer,
        k: &mut HostBuffer,
        head_dim: usize,
        input: &PassInput,
        table: RopeTable,
    ) -> Result<(), DeviceError> {
        Cpu::rope(self, q, head_dim, input.positions, &table)?;
        Cpu::rope(self, k, head_dim, input.positions, &table)
    }

    fn activate(
        &self,
        activation: Activation,
        x: &mut HostBuffer,
        epilogue: Epilogue<Self>,
    ) -> Result<(), DeviceError> {
        match activation {
            Activation::Silu => self.silu(x),
            Activation::Gelu => self.gelu(x),
            Activation::GeluTanh => self.gelu_tanh(x),
        }?;
        self.pack(x, epilogue)
    }

    fn activate_and_multiply(
        &self,
        activation: Activation,
        gate: &mut HostBuffer,
        up: &HostBuffer,
        epilogue: Epilogue<Self>,
    ) -> Result<(), DeviceError> {
        match activation {
            Activation::Silu => self.silu_mul(gate, up),
            Activation::Gelu => self.gelu_mul(gate, up),
            Activation::GeluTanh => self.gelu_tanh_mul(gate, up),
        }?;
        self.pack(gate, epilogue)
    }

    fn route(
        &self,
        logits: &HostBuffer,
        router: &RouterOptions,
        routes: &mut ExpertRoutes,
    ) -> Result<(), DeviceError> {
        Cpu::route(self, logits, router, routes)
    }

    fn pack_for_experts(
        &self,
        x: &HostBuffer,
        routes: &ExpertRoutes,
        epilogue: Epilogue<Self>,
    ) -> Result<(), DeviceError> {
        Cpu::pack_for_experts(self, x, routes, epilogue)
    }

    fn expert_linear<const N: usize>(
        &self,
        inputs: &PackedActivations,
        routes: &ExpertRoutes,
        mut products: [ExpertProduct<Self>; N],
    ) -> Result<(), DeviceError> {
        Cpu::expert_linear(self, inputs, routes, &mut products)
    }

    fn activate_experts(
        &self,
        activation: &ExpertActivation,
        gate: &mut HostBuffer,
        up: &HostBuffer,
        routes: &ExpertRoutes,
        epilogue: Epilogue<Self>,
    ) -> Result<(), DeviceError> {
        Cpu::activate_experts(self, activation, gate, up, routes, epilogue)
    }

    fn combine_experts(
        &self,
        outputs: &HostBuffer,
        routes: &ExpertRoutes,
        shared: SharedOutput<Self>,
        width: usize,
        out: &mut HostBuffer,
    ) -> Result<(), DeviceError> {
        out.resize(routes.rows() * width);
        Cpu::combine_experts(self, outputs, routes, &shared, out)
    }

    fn add(&self, x: &mut HostBuffer, y: &HostBuffer) -> Result<(), DeviceError> {
        Cpu::add(self, x, y)
    }

    fn gather(
        &self,
        x: &HostBuffer,
        width: usize,
        input: &PassInput,
        out: &mut HostBuffer,
    ) -> Result<(), DeviceError> {
        out.resize(input.output_rows.len() * width);
        for (out, row) in out.chunks_exact_mut(width).zip(input.output_rows) {
            out.copy_from_slice(&x[row * width..][..width]);
        }
        Ok(())
    }

    fn embed(
        &self,
        table: &Matrix,
        input: &PassInput,
        out: &mut HostBuffer,
    ) -> Result<(), DeviceError> {
        out.resize(input.tokens.len() * table.cols);
        Cpu::embed(self, table, input.tokens, out)
    }

    fn latent_keys(
        &self,
        shape: &LatentShape,
        kv: &mut HostBuffer,
        norm: NormWeights<Self>,
        input: &PassInput,
        table: RopeTable,
    ) -> Result<(), DeviceError> {
        Cpu::latent_keys(self, shape, kv, norm.weight, norm.eps, input.positions, &table)
    }

    fn absorb_queries(
        &self,
        shape: &LatentShape,
        up: &KvUpProjection<Self>,
        q: &HostBuffer,
        input: &PassInput,
        table: RopeTable,
        out: &mut HostBuffer,
    ) -> Result<(), DeviceError> {
        out.resize(input.positions.len() * shape.heads * shape.key_dim());
        Cpu::absorb_queries(self, shape, up, q, input.positions, &table, out)
    }

    fn expand_values(
        &self,
        shape: &LatentShape,
        up: &KvUpProjection<Self>,
        x: &HostBuffer,
        out: &mut HostBuffer,
        epilogue: Epilogue<Self>,
    ) -> Result<(), DeviceError> {
        out.resize(x.len() / shape.latent_dim.max(1) * shape.value_dim);
        Cpu::expand_values(self, shape, up, x, out)?;
        self.pack(out, epilogue)
    }

    fn write_kv(
        &self,
        kv: &mut KvLayer,
        input: &PassInput,
        k: &HostBuffer,
        v: &HostBuffer,
    ) -> Result<(), DeviceError> {
        Cpu::write_kv(self, kv, input.sequences, k, v)
    }

    fn attention(
        &self,
        kv: &KvLayer,
        input: &mut PassInput,
        options: &AttentionOptions<Self>,
        q: &HostBuffer,
        out: &mut HostBuffer,
        epilogue: Epilogue<Self>,
    ) -> Result<(), DeviceError> {
        out.resize(input.positions.len() * options.heads * kv.shape().value_dim);
        Cpu::attention(self, kv, input.sequences, options, q, out)?;
        self.pack(out, epilogue)
    }
}

//! Tests that operands which do not fit are rejected before a kernel runs.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use checkpoint::{Dtype, Pairing};
use device::DeviceError;
use device::backend::{
    AttentionOptions, AttentionSequence, Backend, Epilogue, NormWeights, PassInput, Precision,
    Product,
};
use device::cpu::RopeTable;
use device::cpu::attention::KvShape;
use device::cuda::{
    AttentionMetadata, BatchShape, Buffer, CudaError, Driver, Gpu, GpuActivationDtypes, GpuArena,
    GpuKvLayer, GpuMatrix, GpuPackedActivations, GpuPassInput, GpuRopeTable,
};
use placement::KvDtype;

use crate::{gpu, on_fake_gpus};

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

fn matrix(gpu: &Gpu, dtype: Dtype, rows: usize, cols: usize) -> GpuMatrix {
    let bytes = rows * cols / dtype.block_elements() * dtype.block_bytes();
    let mut region = GpuArena::new(gpu, bytes).unwrap().region(bytes).unwrap();
    region.whole().unwrap().fill(|to| gpu.fill_random(dtype, to, 1.0, 1)).unwrap();
    GpuMatrix::new(dtype, rows, cols, region.finish(soon()).unwrap()).unwrap()
}

fn zeros(gpu: &Gpu, len: usize) -> Buffer<f32> {
    Buffer::new(gpu, len).unwrap()
}

fn vector(gpu: &Gpu, len: usize) -> Arc<Buffer<f32>> {
    Arc::new(zeros(gpu, len))
}

fn packed(gpu: &Gpu) -> GpuPackedActivations {
    GpuPackedActivations::new(gpu, 0, 0).unwrap()
}

/// An epilogue of `[rows, cols]` for weights of `dtype`.
fn epilogue(
    packed: &mut GpuPackedActivations,
    rows: usize,
    cols: usize,
    dtype: Dtype,
) -> Epilogue<'_, Gpu> {
    let dtypes = GpuActivationDtypes::for_weights(Precision::Native, [dtype]);
    Epilogue { packed, rows, cols, dtypes }
}

/// A norm with this weight and without a bias.
fn norm(weight: &Arc<Buffer<f32>>) -> NormWeights<'_, Gpu> {
    NormWeights { weight, bias: None, eps: 1e-5 }
}

#[track_caller]
fn shape_error<T>(result: Result<T, DeviceError>) {
    let error = result.err().expect("refused");
    assert!(matches!(error, DeviceError::Shape { .. }), "{error}");
}

#[track_caller]
fn index_error<T>(result: Result<T, DeviceError>) {
    let error = result.err().expect("refused");
    assert!(matches!(error, DeviceError::Index { .. }), "{error}");
}

#[test]
fn products_with_unfitting_operands_are_refused() {
    let test = "refusals::products_with_unfitting_operands_are_refused";
    on_fake_gpus(test, &[("FAKE_GPUS", "64MiB,64MiB")], || {
        let gpu = gpu();
        let weight = matrix(&gpu, Dtype::BF16, 4, 64);
        let (x, mut out) = (zeros(&gpu, 128), zeros(&gpu, 7));
        let mut inputs = packed(&gpu);
        shape_error(gpu.pack(&x, epilogue(&mut inputs, 3, 64, Dtype::BF16)));
        gpu.pack(&x, epilogue(&mut inputs, 2, 64, Dtype::F16)).unwrap();
        let missing = gpu.linear(&inputs, [Product { weight: &weight, bias: None, out: &mut out }]);
        assert!(matches!(
            missing,
            Err(DeviceError::ActivationDtypeMissing { activations: "bf16", .. })
        ));
        gpu.pack(&x, epilogue(&mut inputs, 2, 64, Dtype::BF16)).unwrap();
        let narrow = matrix(&gpu, Dtype::BF16, 4, 32);
        shape_error(gpu.linear(&inputs, [Product { weight: &narrow, bias: None, out: &mut out }]));
        let long = vector(&gpu, 128);
        let product = Product { weight: &weight, bias: Some(&long), out: &mut out };
        shape_error(gpu.linear(&inputs, [product]));
        let other = Gpu::open(&Driver::open().unwrap(), 1, u64::MAX).unwrap();
        let mut elsewhere = zeros(&other, 8);
        let product = Product { weight: &weight, bias: None, out: &mut elsewhere };
        assert!(matches!(
            gpu.linear(&inputs, [product]),
            Err(DeviceError::Cuda(CudaError::WrongGpu { expected: 0, found: 1, .. }))
        ));
        gpu.linear(&inputs, [Product { weight: &weight, bias: None, out: &mut out }]).unwrap();
        assert_eq!(out.len(), 8, "an output is resized");
        gpu.synchronize(soon()).unwrap();
    });
}

#[test]
fn matrices_with_unfitting_bytes_are_refused() {
    let test = "refusals::matrices_with_unfitting_bytes_are_refused";
    on_fake_gpus(test, &[("FAKE_GPUS", "64MiB")], || {
        let gpu = gpu();
        let matrix = matrix(&gpu, Dtype::BF16, 4, 64);
        shape_error(GpuMatrix::new(Dtype::BF16, 5, 64, matrix.data.clone()));
        shape_error(GpuMatrix::new(Dtype::Q4K, 1, 128, matrix.data.slice(0..72).unwrap()));
        shape_error(GpuMatrix::new(Dtype::BF16, 1, 4, matrix.data.slice(1..9).unwrap()));
        let integers = GpuMatrix::new(Dtype::I32, 1, 16, matrix.data.slice(0..64).unwrap());
        assert!(matches!(integers, Err(DeviceError::DtypeUnsupported { .. })));
        assert!(matrix.rows_from(3, 2).is_err() && matrix.rows_from(2, 2).is_ok());
    });
}

#[test]
fn norms_and_sums_of_unfitting_operands_are_refused() {
    let test = "refusals::norms_and_sums_of_unfitting_operands_are_refused";
    on_fake_gpus(test, &[("FAKE_GPUS", "64MiB")], || {
        let gpu = gpu();
        let (mut x, y, mut out) = (zeros(&gpu, 128), zeros(&gpu, 8), zeros(&gpu, 0));
        let (weight, long) = (vector(&gpu, 64), vector(&gpu, 100));
        shape_error(gpu.rms_norm(&x, norm(&long), &mut out, None));
        let mut packed = packed(&gpu);
        let wrong = Some(epilogue(&mut packed, 2, 32, Dtype::BF16));
        shape_error(gpu.rms_norm(&x, norm(&weight), &mut out, wrong));
        shape_error(gpu.add_rms_norm(&mut x, &y, norm(&weight), &mut out, None));
        shape_error(gpu.layer_norm(
            &x,
            NormWeights { bias: Some(&long), ..norm(&weight) },
            &mut out,
            None,
        ));
        shape_error(gpu.add(&mut x, &y));
        gpu.rms_norm(&x, norm(&weight), &mut out, None).unwrap();
        assert_eq!(out.len(), 128, "an output is resized");
        gpu.synchronize(soon()).unwrap();
    });
}

/// Shape of the KV cache, and limits of a batch, in the tests of this file.
const KV: KvShape = KvShape {
    kv_heads: 2,
    key_dim: 8,
    value_dim: 8,
    block_tokens: 16,
    dtype: KvDtype::Bf16,
    values_in_keys: false,
};
const BATCH: BatchShape =
    BatchShape { tokens: 20, sequences: 2, entries: 4, group: 2, block_tokens: 16, blocks: 4 };

fn sequence(rows: Range<usize>, blocks: &[u32]) -> AttentionSequence<'_> {
    AttentionSequence { blocks, rows, first_position: 0 }
}

#[test]
fn batches_that_exceed_their_shape_are_refused() {
    let test = "refusals::batches_that_exceed_their_shape_are_refused";
    on_fake_gpus(test, &[("FAKE_GPUS", "64MiB")], || {
        let gpu = gpu();
        shape_error(AttentionMetadata::new(&gpu, BatchShape { block_tokens: 24, ..BATCH }));
        let mut metadata = AttentionMetadata::new(&gpu, BATCH).unwrap();
        let mut set = |sequences: &[AttentionSequence]| metadata.set_batch(sequences, soon());
        shape_error(set(&[sequence(0..21, &[0, 1])]));
        shape_error(set(&[sequence(0..1, &[0]), sequence(1..2, &[1]), sequence(2..3, &[2])]));
        shape_error(set(&[sequence(0..1, &[0, 1, 2, 3, 0])]));
        index_error(set(&[sequence(0..20, &[0])]));
        index_error(set(&[sequence(0..20, &[0, 4])]));
        shape_error(set(&[sequence(0..10, &[0]), sequence(5..15, &[1])]));
        set(&[sequence(0..20, &[3, 1])]).unwrap();
    });
}

#[test]
fn token_ids_and_rows_past_their_tables_are_refused() {
    let test = "refusals::token_ids_and_rows_past_their_tables_are_refused";
    on_fake_gpus(test, &[("FAKE_GPUS", "64MiB")], || {
        let gpu = gpu();
        let (table, x) = (matrix(&gpu, Dtype::BF16, 4, 64), zeros(&gpu, 128));
        let mut input = GpuPassInput::new(&gpu, BATCH).unwrap();
        let mut out = zeros(&gpu, 0);
        let sequences = [sequence(0..2, &[0])];
        let pass = |tokens, output_rows| PassInput {
            tokens,
            positions: &[0, 1],
            sequences: &sequences,
            output_rows,
        };
        input.upload(&pass(&[3, 4], &[3, 4]), soon()).unwrap();
        index_error(gpu.embed(&table, &&mut input, &mut out));
        index_error(gpu.gather(&x, 32, &&mut input, &mut out));
        input.upload(&pass(&[3, 0], &[3, 0]), soon()).unwrap();
        gpu.embed(&table, &&mut input, &mut out).unwrap();
        assert_eq!(out.len(), 128);
        gpu.gather(&x, 32, &&mut input, &mut out).unwrap();
        assert_eq!(out.len(), 64);
        gpu.synchronize(soon()).unwrap();
    });
}

#[test]
fn attention_with_unfitting_operands_is_refused() {
    let test = "refusals::attention_with_unfitting_operands_is_refused";
    on_fake_gpus(test, &[("FAKE_GPUS", "64MiB")], || {
        let gpu = gpu();
        let arena = GpuArena::new(&gpu, 1 << 20).unwrap();
        let mut layer = GpuKvLayer::new(&arena, KV, 4).unwrap();
        let mut input = uploaded_input(&gpu);
        let mut input = &mut input;
        let (k, q) = (zeros(&gpu, 20 * 16), zeros(&gpu, 20 * 32));
        shape_error(gpu.write_kv(&mut layer, &input, &k, &zeros(&gpu, 19 * 16)));
        gpu.write_kv(&mut layer, &input, &k, &k).unwrap();

        let (mut out, mut packed) = (zeros(&gpu, 0), packed(&gpu));
        let sinks = vector(&gpu, 20);
        let options = |heads, window, sinks| AttentionOptions { heads, scale: 1.0, window, sinks };
        let good = options(4, None, None);
        let mut attend = |layer: &GpuKvLayer, options: &AttentionOptions<Gpu>, q: &Buffer<f32>| {
            let epilogue = epilogue(&mut packed, 20, 32, Dtype::BF16);
            gpu.attention(layer, &mut input, options, q, &mut out, epilogue)
        };
        shape_error(attend(&layer, &options(6, None, None), &q));
        shape_error(attend(&layer, &options(4, Some(0), None), &q));
        shape_error(attend(&layer, &options(4, None, Some(&sinks)), &q));
        shape_error(attend(&layer, &good, &k));
        attend(&layer, &good, &q).unwrap();
        let fewer_blocks = GpuKvLayer::new(&arena, KV, 3).unwrap();
        shape_error(attend(&fewer_blocks, &good, &q));
        index_error(layer.copy_block(0, 4));
        layer.copy_block(0, 3).unwrap();
        gpu.synchronize(soon()).unwrap();
    });
}

/// The input of a pass with 20 tokens of one sequence.
fn uploaded_input(gpu: &Gpu) -> GpuPassInput {
    let mut input = GpuPassInput::new(gpu, BATCH).unwrap();
    let positions: Vec<u32> = (0..20).collect();
    let pass = PassInput {
        tokens: &[0; 20],
        positions: &positions,
        sequences: &[sequence(0..20, &[3, 1])],
        output_rows: &[],
    };
    input.upload(&pass, soon()).unwrap();
    input
}

#[test]
fn rope_with_unfitting_heads_or_positions_is_refused() {
    let test = "refusals::rope_with_unfitting_heads_or_positions_is_refused";
    on_fake_gpus(test, &[("FAKE_GPUS", "64MiB")], || {
        let gpu = gpu();
        let mut input = uploaded_input(&gpu);
        let input = &mut input;
        let table = |cos| RopeTable { cos, sin: cos, rotary_dim: 8, pairing: Pairing::Halves };
        let values = [0.5; 4 * 20];
        let long = GpuRopeTable::new(&gpu, &table(&values), soon()).unwrap();
        let short = GpuRopeTable::new(&gpu, &table(&values[..4 * 19]), soon()).unwrap();
        let (mut q, mut k) = (zeros(&gpu, 20 * 16), zeros(&gpu, 20 * 8));
        let mut ragged = zeros(&gpu, 20 * 9);
        index_error(gpu.rope(&mut q, &mut k, 8, &input, &short));
        shape_error(gpu.rope(&mut q, &mut k, 4, &input, &long));
        shape_error(gpu.rope(&mut q, &mut ragged, 8, &input, &long));
        gpu.rope(&mut q, &mut k, 8, &input, &long).unwrap();
        gpu.synchronize(soon()).unwrap();
    });
}

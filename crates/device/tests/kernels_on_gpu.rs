//! Every kernel on a fake GPU: the checks that `vendomini selftest` runs on a real one. What cannot
//! be seen here: how real hardware rounds inside of a matrix multiplication, races between blocks,
//! and speed.

#[path = "../../../tests/fake_driver/library.rs"]
mod library;

use std::sync::Arc;
use std::time::{Duration, Instant};

use checkpoint::{Dtype, Pairing};
use device::DeviceError;
use device::backend::{AttentionSequence, Precision};
use device::cpu::attention::KvShape;
use device::cpu::{Cpu, KernelSet, RopeTable};
use device::cuda::selftest::{BenchSizes, benches, checks};
use device::cuda::{
    AttentionMetadata, BatchShape, Buffer, CudaError, Driver, Gpu, GpuActivationDtypes, GpuArena,
    GpuAttentionOptions, GpuEpilogue, GpuIndices, GpuKvLayer, GpuMatrix, GpuPackedActivations,
    GpuProduct, GpuRopeTable,
};
use device::pool::Pool;
use library::on_fake_gpus;
use placement::KvDtype;

fn gpu() -> Gpu {
    Gpu::open(&Driver::open().expect("a driver"), 0, u64::MAX).expect("a gpu")
}

/// Runs the checks whose names begin so, with threads and blocks in order or from the last to the
/// first: that shows a barrier which is missing.
fn run(test: &str, beginning: &str, order: &str) {
    let variables = [("FAKE_GPUS", "256MiB"), ("FAKE_GPU_ORDER", order)];
    on_fake_gpus(test, &variables, || {
        let gpu = gpu();
        let cpu =
            Cpu::with(KernelSet::Scalar, Arc::new(Pool::new(1).expect("a pool"))).expect("a CPU");
        let mut failed = Vec::new();
        let mut ran = 0;
        for check in checks().iter().filter(|check| check.name.starts_with(beginning)) {
            let started = std::time::Instant::now();
            let report =
                check.run(&gpu, &cpu).unwrap_or_else(|error| panic!("{}: {error}", check.name));
            println!("{}: {report:?} {:.2?}", check.name, started.elapsed());
            ran += 1;
            if !report.passed() {
                failed.push(format!("{}: {report:?}", check.name));
            }
        }
        assert!(failed.is_empty(), "{failed:#?}");
        assert!(ran > 0, "no check is called {beginning}");
    });
}

macro_rules! in_both_orders {
    ($($forwards:ident, $backwards:ident: $beginning:literal;)*) => {
        $(
            #[test]
            fn $forwards() {
                run(stringify!($forwards), $beginning, "forwards");
            }

            #[test]
            fn $backwards() {
                run(stringify!($backwards), $beginning, "reversed");
            }
        )*

        /// No check is left out above.
        #[test]
        fn every_check_has_a_test() {
            for check in checks() {
                let beginnings = [$($beginning,)*];
                assert!(beginnings.iter().any(|beginning| check.name.starts_with(beginning)), "{}", check.name);
            }
        }
    };
}

in_both_orders! {
    linear_f, linear_f_reversed: "linear f";
    linear_bf16, linear_bf16_reversed: "linear bf16";
    linear_q8_0, linear_q8_0_reversed: "linear q8_0";
    linear_q4, linear_q4_reversed: "linear q4";
    linear_q5, linear_q5_reversed: "linear q5";
    linear_q6, linear_q6_reversed: "linear q6";
    linear_several, linear_several_reversed: "linear, products";
    rms_norm, rms_norm_reversed: "rms_norm";
    layer_norm, layer_norm_reversed: "layer_norm";
    rope, rope_reversed: "rope";
    embed, embed_reversed: "embed";
    gather_rows, gather_rows_reversed: "gather_rows";
    convert, convert_reversed: "convert";
    fill_random, fill_random_reversed: "fill_random";
    silu, silu_reversed: "silu";
    gelu, gelu_reversed: "gelu";
    add, add_reversed: "add";
    attention_bf16, attention_bf16_reversed: "attention bf16";
    attention_int8, attention_int8_reversed: "attention int8";
    attention_f32, attention_f32_reversed: "attention f32";
}

#[test]
fn benchmarks_run() {
    on_fake_gpus("benchmarks_run", &[("FAKE_GPUS", "256MiB")], || {
        let gpu = gpu();
        for bench in benches() {
            let report = bench
                .run(&gpu, &BenchSizes::MINIMAL)
                .unwrap_or_else(|error| panic!("{}: {error}", bench.name));
            assert!(report.seconds > 0.0 && report.bytes > 0, "{}: {report:?}", bench.name);
        }
    });
}

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

#[track_caller]
fn shape<T>(result: Result<T, DeviceError>) {
    let error = result.err().expect("refused");
    assert!(matches!(error, DeviceError::Shape { .. }), "{error}");
}

#[track_caller]
fn index<T>(result: Result<T, DeviceError>) {
    let error = result.err().expect("refused");
    assert!(matches!(error, DeviceError::Index { .. }), "{error}");
}

#[test]
fn products_that_do_not_fit_are_refused() {
    on_fake_gpus("products_that_do_not_fit_are_refused", &[("FAKE_GPUS", "64MiB,64MiB")], || {
        let gpu = gpu();
        let weight = matrix(&gpu, Dtype::BF16, 4, 64);
        let (x, mut out) = (zeros(&gpu, 128), zeros(&gpu, 8));
        let forms = |dtype| GpuActivationDtypes::for_weights(Precision::Native, [dtype]);
        let mut inputs = GpuPackedActivations::new(&gpu, 0, 0).unwrap();
        shape(inputs.prepare(&gpu, &x, 3, 64, forms(Dtype::BF16)));
        inputs.prepare(&gpu, &x, 2, 64, forms(Dtype::F16)).unwrap();
        let missing =
            gpu.linear(&inputs, &mut [GpuProduct { weight: &weight, bias: None, out: &mut out }]);
        assert!(matches!(
            missing,
            Err(DeviceError::ActivationDtypeMissing { activations: "bf16", .. })
        ));
        inputs.prepare(&gpu, &x, 2, 64, forms(Dtype::BF16)).unwrap();
        let narrow = matrix(&gpu, Dtype::BF16, 4, 32);
        shape(
            gpu.linear(&inputs, &mut [GpuProduct { weight: &narrow, bias: None, out: &mut out }]),
        );
        shape(
            gpu.linear(
                &inputs,
                &mut [GpuProduct { weight: &weight, bias: Some(&x), out: &mut out }],
            ),
        );
        let mut short = zeros(&gpu, 7);
        shape(
            gpu.linear(&inputs, &mut [GpuProduct { weight: &weight, bias: None, out: &mut short }]),
        );
        let other = Gpu::open(&Driver::open().unwrap(), 1, u64::MAX).unwrap();
        let mut elsewhere = zeros(&other, 8);
        let wrong = gpu.linear(
            &inputs,
            &mut [GpuProduct { weight: &weight, bias: None, out: &mut elsewhere }],
        );
        assert!(matches!(
            wrong,
            Err(DeviceError::Cuda(CudaError::WrongGpu { expected: 0, found: 1, .. }))
        ));
        gpu.linear(&inputs, &mut [GpuProduct { weight: &weight, bias: None, out: &mut out }])
            .unwrap();

        shape(GpuMatrix::new(Dtype::BF16, 5, 64, weight.data.clone()));
        shape(GpuMatrix::new(Dtype::Q4K, 1, 128, weight.data.slice(0..72).unwrap()));
        shape(GpuMatrix::new(Dtype::BF16, 1, 4, weight.data.slice(1..9).unwrap()));
        let dtype = GpuMatrix::new(Dtype::I32, 1, 16, weight.data.slice(0..64).unwrap());
        assert!(matches!(dtype, Err(DeviceError::DtypeUnsupported { .. })));
        assert!(weight.rows_from(3, 2).is_err() && weight.rows_from(2, 2).is_ok());

        let mut ids = GpuIndices::new(&gpu, 2).unwrap();
        ids.set(&[3, 4], soon()).unwrap();
        let mut rows = zeros(&gpu, 128);
        index(gpu.embed(&weight, &ids, &mut rows));
        index(gpu.gather_rows(&x, 32, &ids, &mut zeros(&gpu, 64)));
        ids.set(&[3, 0], soon()).unwrap();
        shape(gpu.embed(&weight, &ids, &mut out));
        gpu.embed(&weight, &ids, &mut rows).unwrap();
        shape(gpu.rms_norm(&x, &zeros(&gpu, 100), 1e-5, &mut rows, None));
        let feed = Some(GpuEpilogue {
            inputs: &mut inputs,
            tokens: 2,
            cols: 32,
            forms: forms(Dtype::BF16),
        });
        shape(gpu.rms_norm(&x, &zeros(&gpu, 64), 1e-5, &mut rows, feed));
        shape(gpu.add_rms_norm(
            &mut rows,
            &out,
            &zeros(&gpu, 64),
            1e-5,
            &mut zeros(&gpu, 128),
            None,
        ));
        shape(gpu.add(&mut rows, &out));
        gpu.synchronize(soon()).unwrap();
    });
}

#[test]
fn passes_that_do_not_fit_are_refused() {
    on_fake_gpus("passes_that_do_not_fit_are_refused", &[("FAKE_GPUS", "64MiB")], || {
        let gpu = gpu();
        let kv = KvShape {
            kv_heads: 2,
            key_dim: 8,
            value_dim: 8,
            block_tokens: 16,
            dtype: KvDtype::Bf16,
        };
        let pass_shape = BatchShape {
            tokens: 20,
            sequences: 2,
            entries: 4,
            group: 2,
            block_tokens: 16,
            blocks: 4,
        };
        let arena = GpuArena::new(&gpu, 1 << 20).unwrap();
        let mut layer = GpuKvLayer::new(&arena, kv, 4).unwrap();
        let mut pass = AttentionMetadata::new(&gpu, pass_shape).unwrap();
        fn rows(rows: std::ops::Range<usize>, blocks: &[u32]) -> AttentionSequence<'_> {
            AttentionSequence { blocks, rows, first_position: 0 }
        }
        shape(pass.begin(&[rows(0..21, &[0, 1])], soon()));
        shape(pass.begin(&[rows(0..1, &[0]), rows(1..2, &[1]), rows(2..3, &[2])], soon()));
        shape(pass.begin(&[rows(0..1, &[0, 1, 2, 3, 0])], soon()));
        index(pass.begin(&[rows(0..20, &[0])], soon()));
        index(pass.begin(&[rows(0..20, &[0, 4])], soon()));
        shape(pass.begin(&[rows(0..10, &[0]), rows(5..15, &[1])], soon()));
        shape(AttentionMetadata::new(&gpu, BatchShape { block_tokens: 24, ..pass_shape }));
        pass.begin(&[rows(0..20, &[3, 1])], soon()).unwrap();

        let (k, q) = (zeros(&gpu, 20 * 16), zeros(&gpu, 20 * 32));
        shape(gpu.write_kv(&mut layer, &pass, &k, &zeros(&gpu, 19 * 16)));
        gpu.write_kv(&mut layer, &pass, &k, &k).unwrap();
        let options = GpuAttentionOptions { heads: 4, scale: 1.0, window: None, sinks: None };
        let mut out = zeros(&gpu, 20 * 32);
        shape(gpu.attention(
            &layer,
            &mut pass,
            &GpuAttentionOptions { heads: 6, ..options },
            &q,
            &mut out,
            None,
        ));
        shape(gpu.attention(
            &layer,
            &mut pass,
            &GpuAttentionOptions { window: Some(0), ..options },
            &q,
            &mut out,
            None,
        ));
        shape(gpu.attention(
            &layer,
            &mut pass,
            &GpuAttentionOptions { sinks: Some(&k), ..options },
            &q,
            &mut out,
            None,
        ));
        shape(gpu.attention(&layer, &mut pass, &options, &k, &mut out, None));
        gpu.attention(&layer, &mut pass, &options, &q, &mut out, None).unwrap();
        // A layer of fewer blocks than the pass was checked for.
        let small = GpuKvLayer::new(&arena, kv, 3).unwrap();
        shape(gpu.attention(&small, &mut pass, &options, &q, &mut out, None));
        index(layer.copy_block(0, 4));
        layer.copy_block(0, 3).unwrap();

        let table = |cos| RopeTable { cos, sin: cos, rotary_dim: 8, pairing: Pairing::Halves };
        let numbers = [0.5; 4 * 20];
        let long = GpuRopeTable::new(&gpu, &table(&numbers), soon()).unwrap();
        let short = GpuRopeTable::new(&gpu, &table(&numbers[..4 * 19]), soon()).unwrap();
        let (mut x, mut y, mut wrong) =
            (zeros(&gpu, 20 * 16), zeros(&gpu, 20 * 8), zeros(&gpu, 20 * 9));
        index(gpu.rope([&mut x, &mut y], 8, &pass, &short));
        shape(gpu.rope([&mut x, &mut y], 4, &pass, &long));
        shape(gpu.rope([&mut x, &mut wrong], 8, &pass, &long));
        gpu.rope([&mut x, &mut y], 8, &pass, &long).unwrap();
        gpu.synchronize(soon()).unwrap();
    });
}

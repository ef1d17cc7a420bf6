//! Tests of every kernel on a fake GPU: the checks that `vendomini selftest` runs on a real GPU,
//! and the rejection of operands that do not fit. Not covered: how the hardware rounds inside a
//! matrix multiplication, races between thread blocks, and speed.
#![allow(clippy::print_stdout, reason = "a test")]

#[path = "../../../../tests/fake_driver/library.rs"]
mod library;

mod refusals;

use std::sync::Arc;
use std::time::Instant;

use device::cpu::{Cpu, KernelSet};
use device::cuda::selftest::{BenchSizes, benches, checks};
use device::cuda::{Driver, Gpu};
use device::pool::Pool;
use library::on_fake_gpus;

fn gpu() -> Gpu {
    Gpu::open(&Driver::open().expect("a driver"), 0, u64::MAX).expect("a GPU")
}

/// Runs the checks whose names start with `prefix`, with threads and blocks in the order `order`
/// (`forwards` or `reversed`): a result that differs reveals a missing barrier.
fn run(test: &str, prefix: &str, order: &str) {
    let variables = [("FAKE_GPUS", "256MiB"), ("FAKE_GPU_ORDER", order)];
    on_fake_gpus(test, &variables, || {
        let gpu = gpu();
        let cpu =
            Cpu::with(KernelSet::Scalar, Arc::new(Pool::new(1).expect("a pool"))).expect("a CPU");
        let mut failed = Vec::new();
        let mut count = 0;
        for check in checks().iter().filter(|check| check.name.starts_with(prefix)) {
            let started = Instant::now();
            let report =
                check.run(&gpu, &cpu).unwrap_or_else(|error| panic!("{}: {error}", check.name));
            println!("{}: {report:?} {:.2?}", check.name, started.elapsed());
            count += 1;
            if !report.passed() {
                failed.push(format!("{}: {report:?}", check.name));
            }
        }
        assert!(failed.is_empty(), "{failed:#?}");
        assert!(count > 0, "no check starts with {prefix}");
    });
}

macro_rules! in_both_orders {
    ($($forwards:ident, $reversed:ident: $prefix:literal;)*) => {
        $(
            #[test]
            fn $forwards() {
                run(stringify!($forwards), $prefix, "forwards");
            }

            #[test]
            fn $reversed() {
                run(stringify!($reversed), $prefix, "reversed");
            }
        )*

        #[test]
        fn every_check_has_a_test() {
            for check in checks() {
                let prefixes = [$($prefix,)*];
                let covered = prefixes.iter().any(|prefix| check.name.starts_with(prefix));
                assert!(covered, "{}", check.name);
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

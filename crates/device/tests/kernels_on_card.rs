//! Every kernel on a virtual card: the checks that `vendomini selftest` runs on a real one. What cannot be seen here: how real hardware
//! rounds inside of a matrix multiplication, races between blocks, and speed.

#[path = "../../../tests/virtual_card/library.rs"]
mod library;

use std::sync::Arc;

use device::cpu::{Cpu, KernelSet};
use device::cuda::selftest::{BenchSizes, benches, checks};
use device::cuda::{Card, Driver};
use device::pool::Pool;
use library::on_virtual_cards;

fn card() -> Card {
    Card::open(&Driver::open().expect("a driver"), 0, u64::MAX).expect("a card")
}

/// Runs the checks whose names begin so, with threads and blocks in order or from the last to the first: that shows a barrier which is
/// missing.
fn run(test: &str, beginning: &str, order: &str) {
    let variables = [("VIRTUAL_CARDS", "256MiB"), ("VIRTUAL_CARD_ORDER", order)];
    on_virtual_cards(test, &variables, || {
        let card = card();
        let cpu = Cpu::with(KernelSet::Scalar, Arc::new(Pool::new(1).expect("a pool"))).expect("a CPU");
        let mut failed = Vec::new();
        let mut ran = 0;
        for check in checks().iter().filter(|check| check.name.starts_with(beginning)) {
            let started = std::time::Instant::now();
            let report = check.run(&card, &cpu).unwrap_or_else(|error| panic!("{}: {error}", check.name));
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
    on_virtual_cards("benchmarks_run", &[("VIRTUAL_CARDS", "256MiB")], || {
        let card = card();
        for bench in benches() {
            let report = bench.run(&card, &BenchSizes::LEAST).unwrap_or_else(|error| panic!("{}: {error}", bench.name));
            assert!(report.seconds > 0.0 && report.bytes > 0, "{}: {report:?}", bench.name);
        }
    });
}

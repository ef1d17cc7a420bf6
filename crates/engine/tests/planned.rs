//! Tests that a load allocates the planned bytes of weights, KV cache and buffers of the largest
//! pass.
mod common;

use checkpoint::Checkpoint;
use common::{TestLoad, logits_in_chunks, tokens};
use placement::{CHUNK_TOKENS, DtypeChoice, KvDtype, Tier};
use std::path::{Path, PathBuf};

fn golden(model: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(model)
}

/// Loads a model, computes a chunk of the maximum size and returns the `(planned, used)` bytes of
/// weights, KV cache and activations.
fn planned_and_used(model: &str, dtype: DtypeChoice, kv_dtype: Option<KvDtype>) -> [(u64, u64); 3] {
    let context = Checkpoint::open(&golden(model))
        .expect("load a golden model")
        .config
        .max_positions
        .min(2 * CHUNK_TOKENS);
    let test_load = TestLoad { dtype, kv_dtype, context, concurrency: 1, ..TestLoad::default() };
    let mut loaded = test_load.load(&golden(model)).expect("load a golden model");
    let rows = CHUNK_TOKENS.min(context);
    let tokens: Vec<u32> = tokens(rows, 7).iter().map(|token| token % 100).collect();
    logits_in_chunks(&mut loaded, &tokens, &[rows]);
    let cpu = loaded
        .report
        .tiers
        .iter()
        .find(|tier| tier.tier == Tier::Cpu)
        .expect("find the CPU tier")
        .clone();
    let activations = loaded.scratch.bytes() + loaded.model.tables_bytes();
    [
        (cpu.weights_planned_bytes, cpu.weights_bytes),
        (cpu.kv_planned_bytes, loaded.kv.bytes()),
        (cpu.activations_planned_bytes, activations),
    ]
}

#[test]
fn every_family_allocates_the_planned_bytes() {
    for model in [
        "llama-gqa",
        "llama-tied-f16",
        "llama-head-dim",
        "olmo2",
        "phi2",
        "phi3-longrope-short",
        "qwen2",
        "qwen3",
        "deepseek2",
    ] {
        for (dtype, kv_dtype) in [
            (DtypeChoice::Auto, None),
            (DtypeChoice::F32, None),
            (DtypeChoice::Int8, None),
            (DtypeChoice::Auto, Some(KvDtype::Int8)),
        ] {
            let [weights, kv, activations] = planned_and_used(model, dtype, kv_dtype);
            // Tensors are aligned to cache lines, which adds up to 1% in tiny models.
            assert!(
                weights.0 <= weights.1 && weights.1 <= weights.0 + weights.0 / 100,
                "{model} {dtype:?}: {weights:?}"
            );
            assert_eq!(kv.0, kv.1, "{model} {dtype:?}: KV cache");
            // Some matrices of tiny models cannot be quantized, so activations are packed in two
            // dtypes.
            let activations_max = if dtype == DtypeChoice::Int8 {
                activations.0 + activations.0 / 20
            } else {
                activations.0
            };
            assert!(
                activations.1 <= activations_max,
                "{model} {dtype:?}: activations {activations:?}"
            );
            // Packed activations take the planned bytes only if matrix multiplications are computed
            // in f32; in other dtypes they take less.
            let share = if dtype == DtypeChoice::F32 { 0.99 } else { 0.8 };
            let used = activations.1 as f64 / activations.0 as f64;
            assert!(used >= share, "{model} {dtype:?}: activations {activations:?}, {used:.3}");
        }
    }
}

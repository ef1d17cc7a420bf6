//! What was planned is what a load takes: weights, keys and values, and the buffers of the largest
//! pass.
mod common;

use checkpoint::Checkpoint;
use common::{Wish, logits_in_chunks, tokens};
use placement::{CHUNK_TOKENS, DtypeChoice, KvDtype, Tier};
use std::path::{Path, PathBuf};

fn golden(model: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(model)
}

/// Loads a model and computes a whole chunk with it: `(planned, used)` bytes of weights, KV cache
/// and activations.
fn planned_and_used(model: &str, dtype: DtypeChoice, kv_dtype: Option<KvDtype>) -> [(u64, u64); 3] {
    let context = Checkpoint::open(&golden(model))
        .expect("a good model")
        .config
        .max_positions
        .min(2 * CHUNK_TOKENS);
    let wish = Wish { dtype, kv_dtype, context, concurrency: 1, ..Wish::default() };
    let mut loaded = wish.load(&golden(model)).expect("a good model");
    let rows = CHUNK_TOKENS.min(context);
    let tokens: Vec<u32> = tokens(rows, 7).iter().map(|token| token % 100).collect();
    logits_in_chunks(&mut loaded, &tokens, &[rows]);
    let cpu =
        loaded.report.tiers.iter().find(|tier| tier.tier == Tier::Cpu).expect("the host").clone();
    let activations = loaded.scratch.bytes() + loaded.model.tables_bytes();
    [
        (cpu.weights_planned_bytes, cpu.weights_bytes),
        (cpu.kv_planned_bytes, loaded.kv.bytes()),
        (cpu.activations_planned_bytes, activations),
    ]
}

#[test]
fn every_family_takes_what_was_planned() {
    for model in [
        "llama-gqa",
        "llama-tied-f16",
        "llama-head-dim",
        "olmo2",
        "phi2",
        "phi3-longrope-short",
        "qwen2",
        "qwen3",
    ] {
        for (dtype, kv_dtype) in [
            (DtypeChoice::Auto, None),
            (DtypeChoice::F32, None),
            (DtypeChoice::Int8, None),
            (DtypeChoice::Auto, Some(KvDtype::Int8)),
        ] {
            let [weights, kv, activations] = planned_and_used(model, dtype, kv_dtype);
            // Each tensor starts at a cache line; of tiny models that is seen.
            assert!(
                weights.0 <= weights.1 && weights.1 <= weights.0 + weights.0 / 100,
                "{model} {dtype:?}: {weights:?}"
            );
            assert_eq!(kv.0, kv.1, "{model} {dtype:?}: KV cache");
            // Tiny models have matrices that are no whole blocks and stay as stored: inputs are
            // then held in two forms.
            let most = if dtype == DtypeChoice::Int8 {
                activations.0 + activations.0 / 20
            } else {
                activations.0
            };
            assert!(activations.1 <= most, "{model} {dtype:?}: activations {activations:?}");
            // The copy of a product's inputs is as wide as f32 only where products are computed in
            // f32.
            let share = if dtype == DtypeChoice::F32 { 0.99 } else { 0.8 };
            let used = activations.1 as f64 / activations.0 as f64;
            assert!(used >= share, "{model} {dtype:?}: activations {activations:?}, {used:.3}");
        }
    }
}

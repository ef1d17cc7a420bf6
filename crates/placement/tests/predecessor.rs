//! The case on which the predecessor of this program failed: Llama-70B on two GPUs of 79.25 GiB,
//! where the unit of `--max-memory` decided whether the load finished.
//!
//! The modules off the GPUs, compared with the device map of accelerate 1.15 for the same model and
//! GPUs:
//!
//! | limit per GPU | accelerate | this planner |
//! |---|---|---|
//! | 67GB | layers 75-79, norm, head: 10 657 906 688 bytes | two layers, embedding, head: 7 625 310 208 bytes |
//! | 67GiB | the head | nothing |
//! | 71GB | the head | nothing |
//! | 71GiB | nothing | nothing |
mod common;

use common::{config, inventory, machine};
use error_kind::{ErrorKind, HasKind};
use placement::{ChangeKind, DeviceMapMode, Limits, MaxMemory, Plan, PlanError, Tier, plan};

const TWO_GPUS: &str = "gpus: [{name: A100-80GB, memory: 79.25GiB}, {name: A100-80GB, memory: 79.25GiB}]\n\
                         host: {memory: 128GB, cores: 16, read: 150GB/s}\ndisk: {free: 1TB, read: 2GB/s}\n";

fn planned(max_memory: &str, mode: DeviceMapMode) -> Result<Plan, PlanError> {
    let config = config("llama-3.3-70b");
    let limits = Limits {
        max_memory: MaxMemory::parse(max_memory).unwrap(),
        mode,
        ..Limits::for_model(&config)
    };
    plan(&config, &inventory(&config), &machine(TWO_GPUS), &limits)
}

fn off(plan: &Plan) -> Vec<&str> {
    plan.device_map
        .iter()
        .filter(|(_, tier)| !tier.is_gpu())
        .map(|(name, _)| name.as_str())
        .collect()
}

#[test]
fn the_model_has_the_predecessors_bytes() {
    let config = config("llama-3.3-70b");
    let inventory = inventory(&config);
    assert_eq!(inventory.tensors.len(), 723);
    assert_eq!(inventory.weights_bytes(), 141_107_412_992);
}

#[test]
fn at_67_gb_a_gpu_it_spills_and_says_that_the_unit_does_it() {
    let plan = planned("0=67GB,1=67GB", DeviceMapMode::Auto).unwrap();
    let spill = plan.spill.as_ref().expect("a spill");
    // The fewest bytes that two budgets of 67e9 bytes leave off the GPUs: two layers, the embedding
    // and the head.
    assert_eq!(spill.modules, 4, "{:?}", off(&plan));
    assert_eq!(spill.bytes, 2 * 1_711_308_800 + 2 * 2_101_346_304);
    // accelerate leaves five layers, the norm and the head off the GPUs.
    assert!(spill.bytes < 5 * 1_711_308_800 + 16_384 + 2_101_346_304);
    assert_eq!(spill.changes[0].kind, ChangeKind::BinaryUnits);
    assert_eq!(spill.changes[1].kind, ChangeKind::GpuBudgets { more_bytes: 4 << 30 });
    assert_eq!(spill.changes[2].kind, ChangeKind::WithoutMaxMemory);
    let warning = plan.warnings.iter().find(|w| w.contains("unit alone")).expect("a warning");
    for words in ["0=67GB is 67000000000 bytes (67.00 GB, 62.40 GiB)", "0=67GiB,1=67GiB"] {
        assert!(warning.contains(words), "{warning}");
    }
    let text = plan.describe();
    for words in [
        "CPU: used for 4 modules, 7.63 GB, 7.10 GiB",
        "4 modules are off the GPUs with 7625310208 bytes",
        "the smallest change that keeps all on the GPUs: --max-memory 0=67GiB,1=67GiB",
        "max_memory of 0",
        "warning: the unit alone",
        "max_memory: 0=67GB is 67000000000 bytes",
    ] {
        assert!(text.contains(words), "{text}");
    }
}

#[test]
fn at_67_gib_71_gb_and_71_gib_nothing_leaves_the_gpus() {
    for limit in ["67GiB", "71GB", "71GiB"] {
        let plan = planned(&format!("0={limit},1={limit}"), DeviceMapMode::Auto).unwrap();
        assert_eq!(off(&plan), [""; 0], "{limit}");
        assert!(plan.spill.is_none() && plan.warnings.is_empty(), "{:?}", plan.warnings);
        let cuts = plan.device_map.windows(2).filter(|pair| pair[0].1 != pair[1].1).count();
        assert_eq!(cuts, 1, "{}", plan.runs());
        let text = plan.describe();
        assert!(
            text.contains("CPU: not used for weights") && text.contains("model.layers.0-"),
            "{text}"
        );
    }
}

#[test]
fn the_smallest_budget_without_a_spill_is_the_computed_one() {
    // Bytes of the embedding and 40 layers on one GPU; 40 layers, norm and head on the other have
    // 16384 bytes more.
    let half = 40 * 1_711_308_800u64 + 2_101_346_304;
    let fits = planned(&format!("0={},1={}", half, half + 16384), DeviceMapMode::Auto).unwrap();
    assert!(fits.spill.is_none(), "{}", fits.runs());
    let spills = planned(&format!("0={},1={}", half, half + 16383), DeviceMapMode::Auto).unwrap();
    assert_eq!(spills.spill.map(|spill| spill.bytes), Some(16384));
    // 70.6e9 bytes per GPU are slightly more than the larger half, and are enough.
    assert!(planned("0=70.6GB,1=70.6GB", DeviceMapMode::Auto).unwrap().spill.is_none());
}

#[test]
fn sequential_fills_the_first_gpu_first() {
    let plan = planned("0=71GiB,1=71GiB", DeviceMapMode::Sequential).unwrap();
    assert_eq!(
        plan.runs(),
        "model.embed_tokens -> 0, model.layers.0-42 -> 0, model.layers.43-79 -> 1, model.norm -> 1, lm_head -> 1"
    );
    let balanced = planned("0=71GiB,1=71GiB", DeviceMapMode::Balanced).unwrap();
    let (first, second) = (balanced.weights_on(Tier::Gpu(0)), balanced.weights_on(Tier::Gpu(1)));
    assert!(first.abs_diff(second) <= 1_711_308_800, "{first} {second}");
}

#[test]
fn every_byte_has_a_tier_and_stays_within_it() {
    let plan = planned("0=71GiB,1=71GiB", DeviceMapMode::Auto).unwrap();
    assert_eq!(plan.tiers.iter().map(|tier| tier.weights_bytes).sum::<u64>(), 141_107_412_992);
    for tier in plan.tiers.iter().filter(|tier| tier.tier != Tier::Disk) {
        assert!(
            tier.total_bytes() <= tier.available_bytes && tier.weights_bytes <= tier.budget_bytes,
            "{tier:?}"
        );
    }
    // KV cache: 80 layers x 8192 positions x 8 heads x (128 + 128) elements x 2 bytes.
    assert_eq!(plan.tiers.iter().map(|tier| tier.kv_bytes).sum::<u64>(), 80 * 8192 * 8 * 256 * 2);
    assert!(
        plan.predicted_load_s.is_some_and(|s| (70.0..71.0).contains(&s)),
        "{:?}",
        plan.predicted_load_s
    );
    let rate = plan.predicted_decode_tok_s.expect("rates are known");
    assert!((13.0..15.0).contains(&rate), "{rate}");
}

#[test]
fn a_host_budget_above_available_memory_is_a_warning() {
    let config = config("llama-3.3-70b");
    let job = machine(&TWO_GPUS.replace("memory: 128GB", "memory: 128GB, limit: 8GiB"));
    let max_memory = MaxMemory::parse("0=67GB,1=67GB,cpu=120GB").unwrap();
    let limits = Limits { max_memory, ..Limits::for_model(&config) };
    let error = plan(&config, &inventory(&config), &job, &limits).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutOfMemory);
    let text = error.to_string();
    for words in ["cpu", "the host's limit", "short", "smallest change that fits"] {
        assert!(text.contains(words), "{text}");
    }
    let job = machine(&TWO_GPUS.replace("memory: 128GB", "memory: 128GB, limit: 64GiB"));
    let plan = plan(&config, &inventory(&config), &job, &limits).unwrap();
    assert!(
        plan.warnings.iter().any(|w| w.contains("cpu=120GB") && w.contains("the host's limit")),
        "{:?}",
        plan.warnings
    );
}

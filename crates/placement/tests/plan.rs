//! Tests of plans for the models of the study on the machines in `machines/`.
#![allow(clippy::print_stdout, reason = "a test")]

mod common;

use checkpoint::PRESETS;
use common::{config, inventory, machine, shipped};
use error_kind::{ErrorKind, HasKind};
use placement::{
    DeviceMapMode, DtypeChoice, Fallback, KvDtype, Limits, MaxMemory, Plan, PlanError, Planner,
    Rung, Tier, ladder, plan,
};
use std::time::Instant;

const MACHINES: [&str; 6] = ["a100-80gb-x2", "a100-80gb-x4", "h100", "h200", "l40s", "laptop"];

fn planned(model: &str, on: &str, change: impl Fn(&mut Limits)) -> Result<Plan, PlanError> {
    let config = config(model);
    let mut limits = Limits::for_model(&config);
    change(&mut limits);
    plan(&config, &inventory(&config), &shipped(on), &limits)
}

#[test]
fn every_model_on_every_machine_is_planned_to_the_byte() {
    for (model, _) in PRESETS {
        let config = config(model);
        let inventory = inventory(&config);
        let planner = Planner::new(&config, &inventory);
        for name in MACHINES {
            let limits = Limits { disk: true, ..Limits::for_model(&config) };
            let plan = match planner.plan(&shipped(name), &limits) {
                Ok(plan) => plan,
                // The buffers for two of the model's layers, 16 GB, exceed the memory of the
                // laptop.
                Err(error) if (model, name) == ("deepseek-v2.5", "laptop") => {
                    assert_eq!(error.kind(), ErrorKind::OutOfMemory);
                    continue;
                }
                Err(error) => panic!("{model} on {name}: {error}"),
            };
            assert_eq!(plan.weights_bytes, inventory.weights_bytes(), "{model}");
            assert_eq!(
                plan.tiers.iter().map(|tier| tier.weights_bytes).sum::<u64>(),
                plan.weights_bytes,
                "{model} on {name}"
            );
            let split = plan.modules.iter().filter(|m| m.name.ends_with(".experts")).count();
            assert_eq!(plan.modules.len(), config.layers + 3 + split);
            assert!(plan.modules.iter().all(|module| !module.reason.text.is_empty()));
            for tier in plan.tiers.iter().filter(|tier| tier.tier != Tier::Disk) {
                assert!(tier.total_bytes() <= tier.available_bytes, "{model} on {name}: {tier:?}");
                assert!(tier.weights_bytes <= tier.budget_bytes, "{model} on {name}: {tier:?}");
            }
            let kv: u64 = plan.tiers.iter().map(|tier| tier.kv_bytes).sum();
            assert_eq!(
                kv,
                plan.modules.iter().map(|module| module.kv_bytes).sum::<u64>(),
                "{model} on {name}"
            );
        }
    }
}

#[test]
fn tied_weights_count_once_and_stay_together() {
    let plan = planned("llama-3.2-1b", "h100", |_| {}).unwrap();
    assert_eq!(plan.modules.last().map(|module| module.weights_bytes), Some(0));
    assert_eq!(plan.weights_bytes, 2_471_628_800);
    assert_eq!(
        plan.runs(),
        "model.embed_tokens -> 0, model.layers.0-15 -> 0, model.norm -> 0, lm_head -> 0"
    );
}

#[test]
fn latent_attention_caches_one_latent_a_position() {
    let plan = planned("deepseek-v2.5", "a100-80gb-x4", |limits| limits.disk = true).unwrap();
    let kv: u64 = plan.tiers.iter().map(|tier| tier.kv_bytes).sum();
    assert_eq!(kv, 60 * 8192 * (512 + 64) * 2);
    // The model has 160 experts, of which a token uses 6.
    let config = config("deepseek-v2.5");
    let inventory = inventory(&config);
    let planner = Planner::new(&config, &inventory);
    let active: u64 =
        planner.weights(DtypeChoice::Auto).modules.iter().map(|module| module.active_bytes).sum();
    assert!((40e9..45e9).contains(&(active as f64)), "{active}");
}

/// GPUs have no kernels for latent attention, so the model stays on the CPU, and the plan says why.
#[test]
fn latent_attention_is_not_placed_on_gpus() {
    let plan = planned("deepseek-v2.5", "a100-80gb-x4", |limits| limits.disk = true).unwrap();
    assert!(plan.modules.iter().all(|module| !module.tier.is_gpu()));
    let says_why = |note: &String| note.contains("no GPU kernel computes latent attention");
    assert!(plan.notes.iter().any(says_why), "{:?}", plan.notes);
    let mapped = planned("deepseek-v2.5", "a100-80gb-x4", |limits| {
        limits.mode = DeviceMapMode::Explicit(vec![(String::new(), Tier::Gpu(0))]);
    });
    let error = mapped.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(error.to_string().contains("latent attention"), "{error}");
}

#[test]
fn int8_takes_34_bytes_for_32_weights() {
    let plan = planned("llama-3.3-70b", "h100", |limits| limits.dtype = DtypeChoice::Int8).unwrap();
    let vectors = 161 * 8192 * 2;
    assert_eq!(plan.weights_bytes, (141_107_412_992 - vectors) / 2 / 32 * 34 + vectors);
    assert_eq!(plan.stored_bytes, 141_107_412_992);
}

#[test]
fn f32_computes_from_stored_weights_and_keeps_keys_in_f32() {
    let bf16 = planned("llama-3.1-8b", "h100", |_| {}).unwrap();
    let f32 = planned("llama-3.1-8b", "h100", |limits| limits.dtype = DtypeChoice::F32).unwrap();
    assert_eq!(f32.weights_bytes, bf16.weights_bytes);
    assert_eq!(f32.tiers[0].kv_bytes, 2 * bf16.tiers[0].kv_bytes);
    assert_eq!((bf16.kv_dtype, f32.kv_dtype), ("bf16", "f32"));
}

#[test]
fn int8_keys_and_values_take_34_bytes_for_32_numbers() {
    let bf16 = planned("llama-3.1-8b", "h100", |_| {}).unwrap();
    let int8 =
        planned("llama-3.1-8b", "h100", |limits| limits.kv_dtype = Some(KvDtype::Int8)).unwrap();
    assert_eq!((int8.kv_dtype, int8.weights_bytes), ("int8", bf16.weights_bytes));
    assert_eq!(int8.tiers[0].kv_bytes * 64, bf16.tiers[0].kv_bytes * 34);
}

#[test]
fn no_staging_is_planned_when_nothing_is_offloaded() {
    let plan = planned("llama-3.1-8b", "h100", |_| {}).unwrap();
    let host = plan.tiers.iter().find(|tier| tier.tier == Tier::Cpu).unwrap();
    assert_eq!((host.weights_bytes, host.kv_bytes), (0, 0));
    // The hidden states and positions of a chunk of 512 tokens, and 64 rows of logits.
    assert_eq!(host.activations_bytes, 4 * (512 * 4097 + 64 * 128_256));
    assert!(host.total_bytes() < 512 << 20, "{host:?}");
}

#[test]
fn a_model_that_fits_one_gpu_stays_on_it() {
    let plan = planned("qwen3-32b", "a100-80gb-x4", |_| {}).unwrap();
    assert!(plan.device_map.iter().all(|(_, tier)| *tier == Tier::Gpu(0)), "{}", plan.runs());
    let balanced =
        planned("qwen3-32b", "a100-80gb-x4", |limits| limits.mode = DeviceMapMode::Balanced)
            .unwrap();
    let weights: Vec<u64> = (0..4).map(|gpu| balanced.weights_on(Tier::Gpu(gpu))).collect();
    assert!(weights.iter().all(|bytes| (12..21).contains(&(bytes >> 30))), "{weights:?}");
}

#[test]
fn a_device_map_in_accelerates_names_is_followed_or_refused() {
    let map = |pairs: &[(&str, &str)]| {
        let mode = DeviceMapMode::explicit(pairs.iter().copied()).unwrap();
        planned("llama-3.2-1b", "a100-80gb-x2", |limits| limits.mode = mode.clone())
    };
    let plan = map(&[
        ("", "0"),
        ("model.layers.1", "1"),
        ("model.layers.10", "cpu"),
        ("lm_head", "1"),
        ("model.norm", "disk"),
    ])
    .unwrap();
    let tier = |name: &str| {
        plan.device_map.iter().find(|(module, _)| module == name).map(|(_, tier)| *tier)
    };
    assert_eq!(tier("model.layers.1"), Some(Tier::Gpu(1)));
    assert_eq!(tier("model.layers.10"), Some(Tier::Cpu));
    assert_eq!(tier("model.layers.11"), Some(Tier::Gpu(0)));
    assert_eq!(tier("model.norm"), Some(Tier::Cpu));
    assert_eq!(tier("lm_head"), Some(Tier::Gpu(0)));
    assert_eq!(plan.notes.len(), 3, "{:?}", plan.notes);
    for (pairs, words) in [
        (vec![("model.layers", "0")], "tier for every module"),
        (vec![("", "0"), ("model.layer.3", "1")], "did you mean model.layers.3?"),
        (vec![("", "0"), ("model.layers.3.mlp", "1")], "whole layers"),
        (vec![("", "2")], "of 2 GPUs"),
    ] {
        let error = map(&pairs).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
        assert!(error.to_string().contains(words), "{error}");
    }
    assert_eq!(DeviceMapMode::explicit([("model", "gpu")]).unwrap_err().kind(), ErrorKind::Usage);
}

#[test]
fn a_map_that_does_not_fit_is_71() {
    let mode = DeviceMapMode::explicit([("", "0")]).unwrap();
    let error =
        planned("llama-3.3-70b", "a100-80gb-x2", |limits| limits.mode = mode.clone()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutOfMemory);
    assert!(
        error.to_string().contains("bytes short") || error.to_string().contains("short"),
        "{error}"
    );
}

#[test]
fn cpu_and_disk_modes_use_no_gpu() {
    let cpu =
        planned("llama-3.1-8b", "a100-80gb-x2", |limits| limits.mode = DeviceMapMode::Cpu).unwrap();
    assert!(cpu.device_map.iter().all(|(_, tier)| *tier == Tier::Cpu));
    let disk = planned("llama-3.1-8b", "a100-80gb-x2", |limits| limits.mode = DeviceMapMode::Disk)
        .unwrap();
    let blocks = disk.device_map.iter().filter(|(name, _)| name.starts_with("model.layers."));
    assert!(blocks.clone().count() == 32 && blocks.clone().all(|(_, tier)| *tier == Tier::Disk));
    assert!(disk.warnings.iter().any(|w| w.contains("lustre")), "{:?}", disk.warnings);
}

#[test]
fn virtual_gpus_are_host_memory() {
    let config = config("smollm2-135m");
    let inventory = inventory(&config);
    let text = |gib: &str| {
        format!(
            "gpus: [{{name: v, memory: 200MiB, virtual: true}}, {{name: v, memory: 200MiB, virtual: true}}]\nhost: {{memory: {gib}, cores: 2}}\n"
        )
    };
    let limits = Limits { context: 512, ..Limits::for_model(&config) };
    let plan = plan(&config, &inventory, &machine(&text("2GiB")), &limits).unwrap();
    assert!(
        plan.spill.is_none() && plan.uses(Tier::Gpu(0)) && plan.uses(Tier::Gpu(1)),
        "{}",
        plan.describe()
    );
    let error =
        placement::plan(&config, &inventory, &machine(&text("400MiB")), &limits).unwrap_err();
    assert!(
        error.kind() == ErrorKind::OutOfMemory && error.to_string().contains("virtual devices"),
        "{error}"
    );
}

#[test]
fn the_json_plan_has_accelerates_device_map() {
    let plan = planned("llama-3.3-70b", "a100-80gb-x2", |limits| {
        limits.max_memory = MaxMemory::parse("0=67GB,1=67GB").unwrap();
    })
    .unwrap();
    let json = serde_json::to_value(&plan).unwrap();
    let map = json["device_map"].as_object().unwrap();
    assert_eq!(map.len(), 83);
    assert!(
        map.values().any(|tier| *tier == 0)
            && map.values().any(|tier| *tier == 1)
            && map.values().any(|tier| *tier == "cpu")
    );
    assert_eq!(map.keys().next().map(String::as_str), Some("model.embed_tokens"));
    assert!(
        json["modules"][0]["bound_by"]
            .as_str()
            .is_some_and(|limit| limit.contains("max_memory of"))
    );
    assert!(json["modules"][0]["short_bytes"].as_u64().is_some_and(|bytes| bytes > 0));
    assert_eq!(
        plan,
        planned("llama-3.3-70b", "a100-80gb-x2", |l| l.max_memory =
            MaxMemory::parse("0=67GB,1=67GB").unwrap())
        .unwrap()
    );
}

/// The limits are generous, for unoptimized builds on busy machines: the optimized planner is more
/// than ten times faster.
#[test]
fn planning_takes_less_than_its_limit() {
    for (model, limit_ms) in [("llama-3.3-70b", 500), ("deepseek-v2.5", 5000)] {
        let config = config(model);
        let inventory = inventory(&config);
        for name in ["a100-80gb-x2", "a100-80gb-x4"] {
            let start = Instant::now();
            let limits = Limits { disk: true, ..Limits::for_model(&config) };
            let plan = plan(&config, &inventory, &shipped(name), &limits).unwrap();
            let took = start.elapsed();
            println!(
                "{model} on {name}: {} tensors, {took:?}, spill {}",
                inventory.tensors.len(),
                plan.spill.is_some()
            );
            assert!(took.as_millis() < limit_ms, "{model}: {took:?}");
        }
    }
}

/// Checks the rung and the tiers in use that `load` would choose for the 70B model on each machine
/// in `machines/`.
#[test]
fn the_70b_on_each_shipped_machine() {
    let config = config("llama-3.3-70b");
    let inventory = inventory(&config);
    let limits = Limits::for_model(&config);
    let on =
        |name: &str| ladder(&config, &inventory, &shipped(name), &limits, Fallback::AUTO).unwrap();
    for (name, rung, gpus, cpu, disk) in [
        ("a100-80gb-x2", Rung::AsConfigured, 2, false, false),
        ("a100-80gb-x4", Rung::AsConfigured, 2, false, false),
        ("h100", Rung::AsConfigured, 1, true, false),
        ("h200", Rung::AsConfigured, 1, true, false),
        ("l40s", Rung::AsConfigured, 1, true, false),
        ("laptop", Rung::DiskTier, 0, true, true),
    ] {
        let ladder = on(name);
        let plan = &ladder.plan;
        let used = (0..8).filter(|gpu| plan.uses(Tier::Gpu(*gpu))).count();
        let found = (name, ladder.rung, used, plan.uses(Tier::Cpu), plan.uses(Tier::Disk));
        assert_eq!(found, (name, rung, gpus, cpu, disk), "{}", plan.describe());
        assert!(
            plan.predicted_load_s.is_some() && plan.predicted_decode_tok_s.is_some(),
            "{}",
            plan.describe()
        );
        assert_eq!(plan.spill.is_some(), cpu && gpus > 0, "{}", plan.describe());
        assert_eq!(plan.disk_spill.is_some(), disk);
    }
    let spill = |name: &str| on(name).plan.spill.map(|spill| spill.bytes).unwrap();
    // 90% of an H200's memory is slightly less than the model's weights; 90% of an H100's is about
    // half of them.
    assert!(
        spill("h200") < 10 << 30 && spill("h200") < spill("h100") && spill("h100") < spill("l40s")
    );
}

/// A GPU without a described or measured rate has the data-sheet rate for its name, and the plan
/// labels it as a default.
#[test]
fn a_default_rate_is_labeled_as_a_default() {
    let config = config("llama-3.1-8b");
    let inventory = inventory(&config);
    for (name, gb_per_s) in
        [("A100-80GB", 2039.0), ("H100-80GB", 3350.0), ("H200", 4800.0), ("L40S", 864.0)]
    {
        let machine =
            machine(&format!("gpus: [{{name: {name}, memory: 44GiB}}]\nhost: {{memory: 32GiB}}\n"));
        let plan = plan(&config, &inventory, &machine, &Limits::for_model(&config)).unwrap();
        let words = format!("0 at {gb_per_s:.1} GB/s (default for the GPU's name)");
        assert!(plan.describe().contains(&words), "{}", plan.describe());
        let json = serde_json::to_value(&plan).unwrap();
        assert_eq!(json["rates"][0]["source"], "default");
        assert!(plan.predicted_decode_tok_s.is_some());
        assert!(
            plan.predicted_load_s.is_none()
                && plan.describe().contains("the disk's rate is not known")
        );
    }
}

#[test]
fn balanced_low_0_spares_the_first_gpu() {
    let plan =
        planned("qwen3-32b", "a100-80gb-x4", |limits| limits.mode = DeviceMapMode::BalancedLow0)
            .unwrap();
    let weights: Vec<u64> = (0..4).map(|gpu| plan.weights_on(Tier::Gpu(gpu)) >> 30).collect();
    assert!(
        weights[0] == 0 && weights[1..].iter().all(|gib| (18..24).contains(gib)),
        "{weights:?}"
    );
    // If the other GPUs cannot hold all modules, the first GPU holds only the rest.
    let plan = planned("llama-3.3-70b", "a100-80gb-x2", |limits| {
        limits.mode = DeviceMapMode::BalancedLow0
    })
    .unwrap();
    assert!(
        plan.spill.is_none() && plan.weights_on(Tier::Gpu(0)) < plan.weights_on(Tier::Gpu(1)),
        "{}",
        plan.runs()
    );
}

#[test]
fn a_misspelled_option_gets_the_nearest_valid_one() {
    for (word, meant) in
        [("balance", "balanced"), ("sequental", "sequential"), ("balanced_low_1", "balanced_low_0")]
    {
        let error = DeviceMapMode::parse(word).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
        assert!(error.to_string().contains(&format!("did you mean {meant}?")), "{error}");
    }
    for (name, meant) in [
        ("model.layer.3", "model.layers.3"),
        ("model.layers.16", "model.layers.1"),
        ("lmhead", "lm_head"),
        ("transformer.norm", "model.norm"),
    ] {
        let mode = DeviceMapMode::explicit([("", "0"), (name, "cpu")]).unwrap();
        let error =
            planned("llama-3.2-1b", "h100", |limits| limits.mode = mode.clone()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
        assert!(
            error.to_string().contains(name)
                && error.to_string().contains(&format!("did you mean {meant}")),
            "{error}"
        );
    }
}

#[test]
fn the_printed_plan_is_a_table_with_ranges_and_reasons() {
    let plan = planned("llama-3.3-70b", "a100-80gb-x2", |limits| {
        limits.max_memory = MaxMemory::parse("0=67GB,1=67GB").unwrap();
    })
    .unwrap();
    let text = plan.describe();
    for words in [
        "weights      KV activations  staging  reserve    total     free  weights may take",
        "0 A100-80GB    62.16    1.22        0.27     0.00     0.75    64.40    14.85  62.40: max_memory of 0",
        "model.layers.2-40 (39 modules, 62.16 GiB): fits; 0 has 247.0 MiB left under max_memory of 0",
        "model.embed_tokens, lm_head (2 modules, 3.91 GiB): no GPU has room: 0 is the nearest and 1.72 GiB short",
        "predicted: loads in 70.6 s",
        "0, 1 at 2039.0 GB/s (described); cpu at 200.0 GB/s (described); disk at 2.0 GB/s (described)",
        "or: no --max-memory",
        "note: 5.14 GiB of weights off the GPUs are computed on the CPU: 0.028 s a token at 200.0 GB/s (described)",
    ] {
        assert!(text.contains(words), "{words}:\n{text}");
    }
    assert!(text.lines().count() < 31, "{text}");
}

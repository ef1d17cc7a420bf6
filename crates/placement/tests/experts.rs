//! Tests of plans that place the routed experts of a layer apart from the rest of it.
mod common;

use common::{config, inventory, machine};
use error_kind::{ErrorKind, HasKind};
use placement::{DeviceMapMode, Limits, MaxMemory, Plan, PlanError, Tier, plan};

fn planned(
    model: &str,
    machine_text: &str,
    change: impl Fn(&mut Limits),
) -> Result<Plan, PlanError> {
    let config = config(model);
    let mut limits = Limits::for_model(&config);
    change(&mut limits);
    plan(&config, &inventory(&config), &machine(machine_text), &limits)
}

fn contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part}:\n{text}");
    }
}

/// Of a host with 48 GiB the attention of all layers stays in memory, and experts go to disk, of
/// which a token reads 8 of 128. What is left is a cache of the experts of all layers.
#[test]
fn attention_stays_in_memory_before_experts() {
    let text = "host: {memory: 48GiB, cores: 8, read: 60GB/s}\ndisk: {read: 2GB/s}\n";
    let plan = planned("qwen3-30b-a3b", text, |limits| limits.disk = true).unwrap();
    assert_eq!(
        plan.runs(),
        "model.embed_tokens -> disk, model.layers.0-47 -> cpu, model.norm -> cpu, lm_head -> cpu, \
         model.layers.0-47.mlp.experts -> disk"
    );
    contains(
        &plan.describe(),
        &[
            "  disk: model.layers.0-47.mlp.experts (48 modules, 54.00 GiB): host memory is full; what it has \
             left is a cache of the most used; a token uses 72.0 MiB",
            "of host memory 42718448843 bytes (42.72 GB, 39.78 GiB) are a cache of the experts on disk",
            "49 modules are on disk, read again for every token (of routed experts the chosen ones), with",
            "predicted: decodes one sequence at up to 1.8 tok/s",
        ],
    );
    // 48 layers of 8 experts with three matrices of 2048 x 768 in bf16. The cache holds 39.78 of
    // 54 GiB, as many of the 8 come from memory, and the others from disk at 2 GB/s.
    let missed = 1.0 - plan.expert_cache_bytes() as f64 / (54u64 << 30) as f64;
    let disk_s = 48.0 * 8.0 * (3 * 2048 * 768 * 2) as f64 * missed / 2e9;
    assert!((1.0 / plan.predicted_decode_tok_s.unwrap() - disk_s - 0.08).abs() < 0.06);
    let json = serde_json::to_value(&plan).unwrap();
    let map = json["device_map"].as_object().unwrap();
    assert_eq!(map.len(), 48 + 3 + 48);
    assert_eq!(
        (&map["model.layers.33"], &map["model.layers.33.mlp.experts"]),
        (&"cpu".into(), &"disk".into())
    );
    let cpu = &json["tiers"][0];
    assert_eq!(cpu["expert_cache_bytes"], plan.expert_cache_bytes());
    let parts =
        ["weights_bytes", "kv_bytes", "activations_bytes", "staging_bytes", "reserve_bytes"];
    let parts: u64 = parts.iter().map(|part| cpu[*part].as_u64().unwrap()).sum();
    assert!(parts + plan.expert_cache_bytes() <= cpu["available_bytes"].as_u64().unwrap());
}

/// One GPU of 24 GiB holds the attention of all layers of a model of 57 GiB; the CPU computes the
/// routed experts.
#[test]
fn all_attention_goes_to_a_gpu_of_24_gib() {
    let text = "gpus: [{name: G, memory: 24GiB, read: 1000GB/s, link: 25GB/s}]\n\
                host: {memory: 128GiB, cores: 16, read: 80GB/s}\ndisk: {read: 2GB/s}\n";
    let plan = planned("qwen3-30b-a3b", text, |_| {}).unwrap();
    assert_eq!(
        plan.runs(),
        "model.embed_tokens -> 0, model.layers.0-47 -> 0, model.norm -> 0, lm_head -> 0, \
         model.layers.0-47.mlp.experts -> cpu"
    );
    assert!(plan.spill.is_none() && plan.disk_spill.is_none());
    contains(&plan.describe(), &["note: routed experts stay off the GPUs"]);
    // Of a host with 40 GiB a part of the experts goes to disk, and nothing leaves the GPU.
    let small =
        planned("qwen3-30b-a3b", &text.replace("128GiB", "40GiB"), |limits| limits.disk = true)
            .unwrap();
    assert!(small.runs().starts_with(
        "model.embed_tokens -> 0, model.layers.0-47 -> 0, model.norm -> 0, lm_head -> 0, model.layers.0-"
    ));
    assert!(small.uses(Tier::Disk) && small.spill.is_none());
    for mode in [DeviceMapMode::Sequential, DeviceMapMode::Balanced] {
        let other = planned("qwen3-30b-a3b", text, |limits| limits.mode = mode.clone()).unwrap();
        assert_eq!(other.device_map, plan.device_map);
    }
    let whole = |map: &[(&str, Tier)]| {
        let map = map.iter().map(|(module, tier)| ((*module).to_owned(), *tier)).collect();
        planned("qwen3-30b-a3b", text, |limits| {
            limits.mode = DeviceMapMode::Explicit(Clone::clone(&map))
        })
    };
    let error = whole(&[("", Tier::Gpu(0))]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    contains(
        &error.to_string(),
        &["model.layers.0.mlp.experts", "no GPU kernel computes routed experts"],
    );
    assert!(
        whole(&[
            ("", Tier::Cpu),
            ("model.layers.7", Tier::Gpu(0)),
            ("model.layers.7.mlp.experts", Tier::Cpu)
        ])
        .is_ok()
    );
}

/// A GPU that can hold experts (a virtual one) takes all else first.
#[test]
fn experts_fill_what_is_left_on_a_gpu() {
    let text = "gpus: [{name: G, memory: 40GiB, read: 900GB/s, virtual: true}]\n\
                host: {memory: 248GiB, cores: 8, read: 60GB/s}\ndisk: {read: 2GB/s}\n";
    let plan = planned("qwen3-30b-a3b", text, |_| {}).unwrap();
    assert_eq!(
        plan.runs(),
        "model.embed_tokens -> 0, model.layers.0-47 -> 0, model.norm -> 0, lm_head -> 0, \
         model.layers.29-47.mlp.experts -> cpu"
    );
    contains(
        &plan.describe(),
        &[
            "   cpu: model.layers.29-47.mlp.experts (19 modules, 21.38 GiB): no GPU has room: 0 is the nearest",
            "19 modules are off the GPUs",
            "note: routed experts are read only in part for a token",
        ],
    );
    contains(
        &plan.summary().join("\n"),
        &["  GPU 0: 35.50 GiB in 51 modules; cpu: 21.38 GiB in 19 modules"],
    );
}

/// A layer whose parts are on one tier has one entry, as before.
#[test]
fn a_layer_on_one_tier_is_one_module() {
    let text = "host: {memory: 128GiB, cores: 8, read: 60GB/s}\n";
    let plan = planned("qwen3-30b-a3b", text, |_| {}).unwrap();
    assert_eq!((plan.device_map.len(), plan.modules.len()), (51, 51));
    let layers = plan.modules.iter().filter(|module| module.name.starts_with("model.layers."));
    let bytes: u64 = layers.map(|module| module.weights_bytes).sum();
    assert_eq!(bytes + 2 * 151_936 * 2048 * 2 + 2048 * 2, plan.weights_bytes);
}

#[test]
fn a_map_names_layers_or_their_experts() {
    let text = "host: {memory: 128GiB, cores: 8, read: 60GB/s}\n";
    let mapped = |map: &[(&str, Tier)]| {
        let map = map.iter().map(|(module, tier)| ((*module).to_owned(), *tier)).collect();
        planned("qwen3-30b-a3b", text, |limits| {
            limits.mode = DeviceMapMode::Explicit(Clone::clone(&map))
        })
    };
    let (cpu, disk) = (Tier::Cpu, Tier::Disk);
    let plan = mapped(&[("", cpu), ("model.layers.3.mlp.experts", disk)]).unwrap();
    assert_eq!(
        plan.runs(),
        "model.embed_tokens -> cpu, model.layers.0-47 -> cpu, model.norm -> cpu, lm_head -> cpu, \
         model.layers.3.mlp.experts -> disk"
    );
    // The longest prefix decides, and a whole layer is still one entry.
    let plan = mapped(&[("", cpu), ("model.layers.3", disk)]).unwrap();
    assert_eq!(plan.device_map.len(), 51);
    for (key, words) in [
        ("model.layers.3.mlp", "give model.layers.3 or model.layers.3.mlp.experts a tier"),
        (
            "model.layers.3.mlp.experts.7",
            "give model.layers.3 or model.layers.3.mlp.experts a tier",
        ),
        ("model.layers.48.mlp.experts", "no such module"),
    ] {
        let error = mapped(&[("", cpu), (key, disk)]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
        assert!(error.to_string().contains(words), "{error}");
    }
}

/// A typed limit on host memory and a small disk bound the cache too.
#[test]
fn limits_bound_the_cache() {
    let text = "host: {memory: 48GiB, cores: 8}\n";
    let plan = planned("qwen3-30b-a3b", text, |limits| {
        limits.disk = true;
        limits.max_memory = MaxMemory::parse("cpu=20GiB").unwrap();
    })
    .unwrap();
    let weights = plan.weights_on(Tier::Cpu);
    assert_eq!(weights + plan.expert_cache_bytes(), 20 << 30);
    // A disk for 20 GiB holds no more experts than it must.
    let plan = planned("qwen3-30b-a3b", text, |limits| {
        limits.disk = true;
        limits.max_memory = MaxMemory::parse("disk=20GiB").unwrap();
    })
    .unwrap();
    assert!(plan.weights_on(Tier::Disk) <= 20 << 30);
    let experts = |tier: Tier| {
        plan.modules.iter().filter(|m| m.name.ends_with(".experts") && m.tier == tier).count()
    };
    assert!(experts(Tier::Disk) > 0 && experts(Tier::Disk) < 48);
    assert!(plan.expert_cache_bytes() > 0);
    // A model in memory has no cache.
    let plan = planned("qwen3-30b-a3b", "host: {memory: 96GiB, cores: 8}\n", |_| ()).unwrap();
    assert_eq!(plan.expert_cache_bytes(), 0);
}

/// Eight GPUs that all differ, and experts that host memory cannot hold: whether what is off the
/// GPUs fits is asked once for each of its kinds, not for each of 190,000 candidates.
#[test]
fn many_different_gpus_are_planned_soon() {
    let gpu =
        |gib: u32, rate: u32| format!("  - {{name: G, memory: {gib}GiB, read: {rate}GB/s}}\n");
    let gpus: String =
        [(24, 900), (24, 800), (12, 500), (12, 450), (8, 300), (8, 250), (6, 200), (4, 100)]
            .map(|(gib, rate)| gpu(gib, rate))
            .concat();
    let text = |host: u32| {
        format!(
            "gpus:\n{gpus}host: {{memory: {host}GiB, cores: 16, read: 60GB/s}}\ndisk: {{free: 1TiB, read: 2GB/s}}\n"
        )
    };
    for (model, host, disk) in [
        ("qwen3-30b-a3b", 32, true),
        ("qwen3-30b-a3b", 32, false),
        ("gpt-oss-20b", 6, true),
        ("gpt-oss-20b", 6, false),
        ("qwen3-32b", 8, true),
        ("qwen3-32b", 8, false),
    ] {
        let begun = std::time::Instant::now();
        let planned = planned(model, &text(host), |limits| limits.disk = disk);
        let seconds = begun.elapsed().as_secs_f64();
        assert!(planned.is_ok() || !disk, "{model}: {planned:?}");
        assert!(seconds < 60.0, "{model}, {host} GiB: {seconds} s");
    }
}

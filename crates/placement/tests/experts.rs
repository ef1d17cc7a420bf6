//! Tests of plans that place the routed experts of a layer apart from the rest of it.
mod common;

use common::{config, inventory, machine};
use error_kind::{ErrorKind, HasKind};
use placement::{DeviceMapMode, Limits, Plan, PlanError, Tier, plan};

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
/// which a token reads 8 of 128.
#[test]
fn attention_stays_in_memory_before_experts() {
    let text = "host: {memory: 48GiB, cores: 8, read: 60GB/s}\ndisk: {read: 2GB/s}\n";
    let plan = planned("qwen3-30b-a3b", text, |limits| limits.disk = true).unwrap();
    assert_eq!(
        plan.runs(),
        "model.embed_tokens -> disk, model.layers.0-47 -> cpu, model.norm -> cpu, lm_head -> cpu, \
         model.layers.33-47.mlp.experts -> disk"
    );
    contains(
        &plan.describe(),
        &[
            "  disk: model.layers.33-47.mlp.experts (15 modules, 16.88 GiB): host memory is full; 1.12 GiB \
             more host memory would take one; of one a token reads 72.0 MiB",
            "16 modules are on disk, read again for every token (of routed experts the chosen ones), with",
            "predicted: decodes one sequence at up to 1.5 tok/s",
        ],
    );
    // 15 layers of 8 experts with three matrices of 2048 x 768 in bf16, at 2 GB/s, take 0.57 s.
    let disk_s = 15.0 * 8.0 * (3 * 2048 * 768 * 2) as f64 / 2e9;
    assert!((1.0 / plan.predicted_decode_tok_s.unwrap() - disk_s - 0.06).abs() < 0.06);
    let json = serde_json::to_value(&plan).unwrap();
    let map = json["device_map"].as_object().unwrap();
    assert_eq!(map.len(), 48 + 3 + 15);
    assert_eq!(
        (&map["model.layers.33"], &map["model.layers.33.mlp.experts"]),
        (&"cpu".into(), &"disk".into())
    );
    assert!(!map.contains_key("model.layers.32.mlp.experts"));
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

//! Checkpoints of mixtures of experts that contradict their configuration are refused, with the
//! tensor or the key, the expectation and what was found.

mod support;

use checkpoint::{CheckpointError, DefectKind};
use serde_json::{Value, json};
use support::{Model, llama_config};

fn with(class: &str, kind: &str, more: &Value) -> Value {
    let mut config = llama_config();
    config["architectures"] = json!([class]);
    config["model_type"] = json!(kind);
    for (key, value) in more.as_object().unwrap() {
        config[key] = value.clone();
    }
    config
}

fn qwen3() -> Value {
    let more = json!({
        "head_dim": 8, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16
    });
    with("Qwen3MoeForCausalLM", "qwen3_moe", &more)
}

fn gpt_oss() -> Value {
    let more = json!({
        "head_dim": 8, "intermediate_size": 32, "num_local_experts": 4, "num_experts_per_tok": 2,
        "quantization_config": { "quant_method": "mxfp4" }
    });
    with("GptOssForCausalLM", "gpt_oss", &more)
}

/// The kind and the text of the error of a checkpoint.
#[track_caller]
fn refused(model: &Model) -> (DefectKind, String) {
    match model.open() {
        Err(CheckpointError::Bad(defect)) => (defect.kind, defect.to_string()),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("opened"),
    }
}

#[track_caller]
fn contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
}

fn shard(model: &Model) -> std::path::PathBuf {
    model.path("model.safetensors")
}

#[test]
fn every_family_opens() {
    let experts =
        json!({ "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16 });
    for config in [
        qwen3(),
        gpt_oss(),
        with("Qwen2MoeForCausalLM", "qwen2_moe", &experts),
        with("OlmoeForCausalLM", "olmoe", &experts),
        with("MixtralForCausalLM", "mixtral", &json!({ "num_local_experts": 4 })),
    ] {
        let checkpoint = Model::of(&config, 1).open().unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(checkpoint.config.moe.unwrap().experts, 4);
    }
}

#[test]
fn settings_beside_a_quantization_are_refused() {
    for (key, value) in [
        ("quantization", json!({ "bits": 4, "group_size": 64 })),
        ("compression_config", json!({ "quant_method": "fp8", "weight_block_size": [128, 128] })),
        ("compression_config", json!({ "quant_method": "mxfp4" })),
    ] {
        let model = Model::of(&gpt_oss(), 1);
        model.config(|config| _ = config.insert(key.into(), value));
        let (kind, text) = refused(&model);
        assert_eq!(kind, DefectKind::Quantized);
        contains(&text, &[key, "quantization_config"]);
    }
    for (name, value) in [("weight_block_size", json!([128, 128])), ("block_size", json!(16))] {
        let model = Model::of(&gpt_oss(), 1);
        model.config(|config| {
            config["quantization_config"][name] = value;
        });
        let (kind, text) = refused(&model);
        assert_eq!(kind, DefectKind::Quantized);
        contains(&text, &[name, "quantization_config", "MXFP4"]);
    }
    let model = Model::of(&gpt_oss(), 1);
    model.config(|config| {
        config["quantization_config"]["modules_to_not_convert"] = json!(["lm_head"]);
    });
    model.open().unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn unknown_and_second_quantizations_are_refused() {
    for (key, method) in [("quantization_config", "awq"), ("compression_config", "other")] {
        let model = Model::of(&gpt_oss(), 1);
        model.config(|config| _ = config.insert(key.into(), json!({ "quant_method": method })));
        let (kind, text) = refused(&model);
        assert_eq!(kind, DefectKind::Quantized);
        let expected = if key == "quantization_config" { "MXFP4" } else { "second quantization" };
        contains(&text, &[key, expected]);
    }
}

#[test]
fn variants_that_would_be_computed_wrongly_are_refused() {
    let experts =
        json!({ "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16 });
    for (class, kind, key, value) in [
        ("OlmoeForCausalLM", "olmoe", "clip_qkv", json!(8.0)),
        ("Qwen2MoeForCausalLM", "qwen2_moe", "use_sliding_window", json!(true)),
    ] {
        let mut config = with(class, kind, &experts);
        config["max_window_layers"] = json!(0);
        let model = Model::of(&config, 1);
        model.config(|config| _ = config.insert(key.into(), value));
        let (kind, text) = refused(&model);
        assert_eq!(kind, DefectKind::Unsupported);
        contains(&text, &[key]);
    }
}

#[test]
fn a_misshapen_tensor_of_all_experts_is_refused() {
    let model = Model::of(&qwen3(), 1);
    let name = "model.layers.0.mlp.experts.gate_up_proj";
    model.header(&shard(&model), |header| {
        let entry = header.remove("model.layers.0.mlp.experts.0.gate_proj.weight").unwrap();
        header.insert(name.into(), entry);
    });
    let (kind, text) = refused(&model);
    assert_eq!(kind, DefectKind::ShapeMismatch);
    contains(&text, &[name, "[4, 32, 32]", "[16, 32]"]);
}

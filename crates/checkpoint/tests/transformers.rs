//! Tests that configurations are interpreted as in transformers. `fixtures/make.py` generates the
//! expected values.
use checkpoint::*;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

fn fixtures() -> Value {
    serde_json::from_str(include_str!("fixtures/transformers.json")).unwrap()
}

fn parse(config: &Value) -> ModelConfig {
    let mut notes = Vec::new();
    parse_config(Path::new("config.json"), &config.to_string(), &mut notes)
        .unwrap_or_else(|e| panic!("{e}\n{config}"))
}

fn cases() -> Vec<(String, Value)> {
    let all = fixtures();
    let cases = all["cases"].as_object().unwrap();
    assert!(cases.len() > 30);
    cases.iter().map(|(name, case)| (name.clone(), case.clone())).collect()
}

/// A configuration that transformers loaded and saved, with its current key names, has the same
/// meaning as the original.
#[test]
fn a_saved_configuration_equals_the_original() {
    for (name, case) in cases() {
        let (given, mut saved) = (parse(&case["given"]), parse(&case["saved"]));
        saved.dtype = given.dtype;
        assert_eq!(given, saved, "{name}");
    }
}

#[test]
fn the_expected_tensors_are_those_that_transformers_saves() {
    for (name, case) in cases() {
        let config = parse(&case["given"]);
        let ours: BTreeMap<String, Vec<usize>> = expected_tensors(&config)
            .into_iter()
            .filter(|t| t.requirement == Requirement::Required)
            .map(|t| (t.name, t.shape))
            .collect();
        let theirs: BTreeMap<String, Vec<usize>> =
            serde_json::from_value(case["tensors"].clone()).unwrap();
        assert_eq!(ours, theirs, "{name}");
    }
}

#[test]
fn rotary_frequencies_are_those_of_transformers() {
    let (mut exact, mut all) = (0, 0);
    for (name, case) in cases() {
        let rope = parse(&case["given"]).rope;
        for at in case["rotary"].as_array().unwrap() {
            let context = at["context"].as_u64().unwrap() as usize;
            let theirs: Vec<f32> = serde_json::from_value(at["inv_freq"].clone()).unwrap();
            let ours = rope.inverse_frequencies(context);
            assert_eq!(ours.len(), theirs.len(), "{name}");
            for (a, b) in ours.iter().zip(&theirs) {
                // PyTorch's vectorized pow is occasionally off by one unit in the last place, and
                // scaling can propagate that error.
                assert!(
                    (a - b).abs() <= 4.0 * f32::EPSILON * b.abs(),
                    "{name} at {context}: {a:e} is not {b:e}"
                );
                exact += usize::from(a == b);
                all += 1;
            }
            let scaling = at["attention_scaling"].as_f64().unwrap() as f32;
            assert_eq!(rope.attention_scaling(), scaling, "{name}");
        }
    }
    assert!(exact * 10 > all * 9, "only {exact} of {all} are equal to the last bit");
}

#[test]
fn softmax_scale_is_that_of_transformers() {
    for (name, case) in cases() {
        let (ours, theirs) =
            (parse(&case["given"]).softmax_scale(), case["scaling"].as_f64().unwrap());
        assert!((ours - theirs).abs() < 1e-12, "{name}: {ours} is not {theirs}");
    }
}

/// A configuration that states only its class has the defaults of the class.
#[test]
fn defaults_are_those_of_the_configuration_classes() {
    let all = fixtures();
    for (kind, theirs) in all["defaults"].as_object().unwrap() {
        // `num_experts_per_tok` is required: DeepSeek-V2 has no default for it.
        let config = parse(&serde_json::json!({ "model_type": kind, "num_experts_per_tok": 4 }));
        let number = |key: &str| theirs[key].as_u64().map(|n| n as usize);
        assert_eq!(Some(config.vocab_size), number("vocab_size"), "{kind}");
        assert_eq!(Some(config.hidden_size), number("hidden_size"), "{kind}");
        assert_eq!(Some(config.intermediate_size), number("intermediate_size"), "{kind}");
        assert_eq!(Some(config.layers), number("num_hidden_layers"), "{kind}");
        assert_eq!(Some(config.heads), number("num_attention_heads"), "{kind}");
        assert_eq!(Some(config.kv_heads), number("num_key_value_heads"), "{kind}");
        assert_eq!(Some(config.max_positions), number("max_position_embeddings"), "{kind}");
        assert_eq!(
            Some(config.tie_word_embeddings),
            theirs["tie_word_embeddings"].as_bool(),
            "{kind}"
        );
        assert_eq!(config.bos.map(|n| n as usize), number("bos_token_id"), "{kind}");
        assert_eq!(config.eos.first().map(|n| *n as usize), number("eos_token_id"), "{kind}");
        assert_eq!(config.pad.map(|n| n as usize), number("pad_token_id"), "{kind}");
        assert_eq!(config.rope.theta, theirs["rope"]["rope_theta"].as_f64().unwrap(), "{kind}");
        assert_eq!(config.sliding_window, number("sliding_window"), "{kind}");
        let eps =
            theirs["rms_norm_eps"].as_f64().or(theirs["layer_norm_eps"].as_f64()).unwrap() as f32;
        assert!(
            matches!(config.norm, NormKind::Rms { eps: e } | NormKind::Layer { eps: e } if e == eps),
            "{kind}"
        );
        if config.mla.is_none() {
            let derived = config.hidden_size / config.heads;
            assert_eq!(config.head_dim, number("head_dim").unwrap_or(derived), "{kind}");
        }
    }
}

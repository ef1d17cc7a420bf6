//! Property tests: the readers return without a panic for any bytes, and accepted headers keep the
//! documented guarantees.
mod support;

use checkpoint::*;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::json;
use std::path::Path;

const FILE: &str = "fuzzed";
const DTYPES: [&str; 6] = ["F32", "BF16", "U8", "F64", "F8_E4M3", "F4"];

/// The JSON of a valid header with its tensors in random order, and the size of the data section in
/// bytes.
fn valid_header() -> impl Strategy<Value = (String, u64)> {
    vec((0..DTYPES.len(), vec(0u64..6, 0..4)), 1..20).prop_shuffle().prop_map(|tensors| {
        let (mut map, mut at) = (serde_json::Map::new(), 0u64);
        for (i, (dtype, mut shape)) in tensors.into_iter().enumerate() {
            if DTYPES[dtype] == "F4" {
                shape.push(2);
            }
            let dtype = Dtype::from_safetensors(DTYPES[dtype]).unwrap();
            let bytes = dtype.bytes_for(shape.iter().product()).unwrap();
            map.insert(
                format!("t{i}"),
                json!({ "dtype": dtype.name(), "shape": shape, "data_offsets": [at, at + bytes] }),
            );
            at += bytes;
        }
        (serde_json::Value::Object(map).to_string(), at)
    })
}

/// Checks the guarantee for an accepted header: every byte of the data section belongs to exactly
/// one tensor.
fn check(tensors: &[HeaderTensor], data_start: u64, file_bytes: u64) {
    let mut at = data_start;
    for t in tensors {
        assert_eq!(t.offset, at);
        let elements: u64 = t.shape.iter().map(|d| *d as u64).product();
        assert_eq!(t.dtype.bytes_for(elements), Some(t.bytes));
        at += t.bytes;
    }
    assert_eq!(at, file_bytes);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn valid_headers_are_accepted((json, data) in valid_header()) {
        let start = 8 + json.len() as u64;
        let tensors = parse_header(Path::new(FILE), json.as_bytes(), start, start + data).unwrap();
        check(&tensors, start, start + data);
    }

    #[test]
    fn a_wrong_size_is_refused((json, data) in valid_header(), change in -40i64..40) {
        prop_assume!(change != 0);
        let start = 8 + json.len() as u64;
        let Some(size) = (start + data).checked_add_signed(change) else { return Ok(()) };
        let error = parse_header(Path::new(FILE), json.as_bytes(), start, size).unwrap_err();
        let kind = if change < 0 { DefectKind::Truncated } else { DefectKind::TrailingBytes };
        prop_assert_eq!(error.defect_kind(), Some(kind));
    }

    #[test]
    fn corrupted_headers_keep_the_guarantee_or_are_refused(
        (json, data) in valid_header(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()
    ) {
        let mut bytes = json.into_bytes();
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] = byte }
        let start = 8 + bytes.len() as u64;
        if let Ok(tensors) = parse_header(Path::new(FILE), &bytes, start, start + data) {
            check(&tensors, start, start + data);
        }
    }

    #[test]
    fn offsets_of_any_size_never_overflow(begin in any::<u64>(), end in any::<u64>(), dims in vec(any::<u64>(), 0..5), start in any::<u64>(), size in any::<u64>()) {
        let json = json!({ "a": { "dtype": "F32", "shape": dims, "data_offsets": [begin, end] } }).to_string();
        if let Ok(tensors) = parse_header(Path::new(FILE), json.as_bytes(), start, size) {
            check(&tensors, start, size);
        }
    }

    #[test]
    fn any_bytes_are_accepted_or_refused(bytes in vec(any::<u8>(), 0..300)) {
        let _ = parse_header(Path::new(FILE), &bytes, 8, 1000);
        let _ = read_gguf(Path::new(FILE), bytes.as_slice(), bytes.len() as u64);
        let text = String::from_utf8_lossy(&bytes);
        let _ = parse_index(Path::new(FILE), &text);
        let _ = parse_config(Path::new(FILE), &text, &mut Vec::new());
    }

    #[test]
    fn any_json_in_a_configuration_is_accepted_or_refused(
        key in prop::sample::select(vec!["hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim",
            "vocab_size", "rope_theta", "rope_scaling", "sliding_window", "layer_types", "eos_token_id", "partial_rotary_factor",
            "num_experts", "n_group", "q_lora_rank", "quantization_config", "max_position_embeddings", "mlp_only_layers"]),
        class in 0..FAMILIES.len(),
        value in prop::sample::select(vec![json!(0), json!(-1), json!(1), json!(3), json!(1u64 << 40), json!(u64::MAX), json!(1e300), json!(0.5),
            json!(null), json!(true), json!("x"), json!([]), json!([1]), json!({}), json!({ "rope_type": "yarn", "factor": 1e-300 }),
            json!({ "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 4.0, "high_freq_factor": 4.0 }),
            json!({ "rope_type": "dynamic", "factor": 1e300 }), json!({ "type": "longrope" })]),
    ) {
        let mut config = support::llama_config();
        config["architectures"] = json!([FAMILIES[class].class_name]);
        config["num_experts_per_tok"] = json!(2);
        config[key] = value;
        if let Ok(config) = parse_config(Path::new(FILE), &config.to_string(), &mut Vec::new()) {
            let sparse = (0..config.layers).filter(|layer| config.has_experts(*layer)).count();
            prop_assert_eq!(modules(&config).len(), config.layers + sparse + 3);
            prop_assert_eq!(config.rope.inverse_frequencies(4096).len(), config.rope.rotary_dim / 2);
            prop_assert!(config.heads.is_multiple_of(config.kv_heads));
            prop_assert_eq!(config.sliding_layers.len(), config.layers);
        }
    }

    #[test]
    fn corrupted_gguf_files_keep_the_guarantee_or_are_refused(at in any::<prop::sample::Index>(), bytes in vec(any::<u8>(), 1..9)) {
        let mut file = support::Gguf::llama().bytes();
        let at = at.index(file.len().min(2600));
        for (i, byte) in bytes.into_iter().enumerate() {
            file[at + i] = byte;
        }
        if let Ok(gguf) = read_gguf(Path::new(FILE), file.as_slice(), file.len() as u64) {
            for t in &gguf.tensors {
                prop_assert!(t.offset >= gguf.data_start && t.offset + t.bytes <= file.len() as u64);
            }
        }
    }
}

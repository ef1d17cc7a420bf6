//! Constraints over the tokens of both kinds of tokenizer: byte-level and SentencePiece.

use checkpoint::{Family, GgufMetadata, GgufValue};
use engine::constrain::Grammars;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use text::Tokenizer;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/text").join(name)
}

fn byte_level() -> Tokenizer {
    Tokenizer::from_folder(&golden(""), Family::Llama).expect("valid").expect("a tokenizer")
}

fn sentence_piece() -> Tokenizer {
    let text = std::fs::read_to_string(golden("spm.json")).expect("golden data");
    let golden: Value = serde_json::from_str(&text).expect("JSON");
    let list = |key: &str| golden[key].as_array().expect("a list").iter();
    let mut metadata = GgufMetadata::default();
    let mut set = |key: &str, value| drop(metadata.values.insert(format!("tokenizer.ggml.{key}"), value));
    set("model", GgufValue::String("llama".into()));
    set("tokens", GgufValue::StringArray(list("tokens").map(|t| t.as_str().expect("text").to_owned()).collect()));
    set("scores", GgufValue::FloatArray(list("scores").map(|s| s.as_f64().expect("a score") as f32).collect()));
    set("token_type", GgufValue::SignedArray(list("token_type").map(|t| t.as_i64().expect("a type")).collect()));
    Tokenizer::from_gguf(Path::new("spm.gguf"), &metadata).expect("valid").expect("a tokenizer")
}

/// Walks through a reply byte by byte of what the schema allows; forced tokens must spell what they are forced for.
fn spelled(tokenizer: &Tokenizer, schema: &Value, wanted: &str) -> String {
    let grammars = Grammars::new(tokenizer, tokenizer.vocab_size(), 2).expect("a vocabulary");
    let mut constraint = grammars.json_schema(schema).expect("a schema");
    let mut bytes = Vec::new();
    while bytes.len() < wanted.len() {
        let forced = constraint.forced();
        if !forced.is_empty() {
            bytes.extend(forced.iter().flat_map(|id| tokenizer.token_bytes(*id).expect("no special token is forced")));
            continue;
        }
        let mask = constraint.mask().expect("a mask");
        let rest = &wanted.as_bytes()[bytes.len()..];
        let fits = |id: &u32| {
            mask.is_allowed(*id) && tokenizer.token_bytes(*id).is_some_and(|b| !b.is_empty() && rest.starts_with(&b))
        };
        let ids = 0..tokenizer.vocab_size() as u32;
        let next = ids.filter(fits).max_by_key(|id| tokenizer.token_bytes(*id).map(|b| b.len()));
        let next = next.unwrap_or_else(|| panic!("nothing is allowed after {:?}", String::from_utf8_lossy(&bytes)));
        constraint.take(next).expect("an allowed token");
        bytes.extend(tokenizer.token_bytes(next).expect("bytes"));
    }
    let mask = constraint.is_finished() || constraint.mask().expect("a mask").is_allowed(2);
    assert!(mask, "the reply may end here");
    String::from_utf8(bytes).expect("UTF-8")
}

#[test]
fn a_schema_is_spelled_in_the_tokens_of_both_kinds() {
    let schema = json!({
        "type": "object", "additionalProperties": false, "required": ["action", "units"],
        "properties": {"action": {"enum": ["order the units"]}, "units": {"type": "integer"}, "note": {"type": "string"}},
    });
    let wanted = r#"{"action":"order the units","units":250,"note":"naïve 你好 😀"}"#;
    for tokenizer in [byte_level(), sentence_piece()] {
        let spelled = spelled(&tokenizer, &schema, wanted);
        let reply: Value = serde_json::from_str(&spelled).expect("JSON");
        assert_eq!(reply, serde_json::from_str::<Value>(wanted).expect("JSON"), "{spelled}");
    }
}

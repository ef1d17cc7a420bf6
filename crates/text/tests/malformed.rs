//! Tests that a malformed tokenizer gives an error that names the file, never a panic or an endless
//! wait.
mod support;

use checkpoint::{Family, GgufMetadata, GgufValue};
use error_kind::{ErrorKind, HasKind};
use proptest::prelude::*;
use serde_json::Value;
use std::path::Path;
use support::{bpe_metadata, folder, golden_json, set, spm_metadata, string, strings};
use text::{TextError, Tokenizer};

fn refused(result: Result<Option<Tokenizer>, TextError>, words: &[&str]) {
    let error = result.expect_err(&format!("should be refused: {words:?}"));
    assert_eq!(error.kind(), ErrorKind::BadInput, "{error}");
    for word in words {
        assert!(error.to_string().contains(word), "{word:?} is not in: {error}");
    }
}

fn open(folder: &Path) -> Result<Option<Tokenizer>, TextError> {
    Tokenizer::from_folder(folder, Family::Llama)
}

#[test]
fn a_folder_without_a_tokenizer_has_none() {
    assert!(open(folder(&[]).path()).expect("valid").is_none());
    let none = Tokenizer::from_gguf(Path::new("x.gguf"), &GgufMetadata::default());
    assert!(none.expect("valid").is_none());
}

#[test]
fn errors_name_the_malformed_file() {
    let deep = ["[".repeat(100_000), "{\"a\":".repeat(100_000)];
    let pointer = "version https://git-lfs.github.com/spec/v1\nsize 9";
    let config = |text: &str| format!(r#"{{"added_tokens_decoder": {text}}}"#);
    let (far, wrong) = (
        config(
            r#"{"7": {"content": "<x>", "lstrip": false, "normalized": false, "rstrip": false, "single_word": false, "special": true}}"#,
        ),
        config(r#"{"x": 1}"#),
    );
    type Files<'a> = &'a [(&'a str, &'a str)];
    let cases: &[(Files, &[&str])] = &[
        (&[("tokenizer.json", "")], &["tokenizer.json"]),
        (&[("tokenizer.json", "{}")], &["tokenizer.json"]),
        (&[("tokenizer.json", pointer)], &["tokenizer.json", "LFS"]),
        (&[("tokenizer.json", &deep[0])], &["tokenizer.json"]),
        (&[("tokenizer.json", &deep[1])], &["tokenizer.json"]),
        (&[("tokenizer.json", r#"{"model": {"type": "NoSuchModel"}}"#)], &["tokenizer.json"]),
        (&[("vocab.json", r#"{"a": 0}"#)], &["without merges.txt"]),
        (&[("merges.txt", "a b")], &["without vocab.json"]),
        (&[("vocab.json", "[]"), ("merges.txt", "a b")], &["vocab.json"]),
        (&[("vocab.json", "{}"), ("merges.txt", "")], &["vocab.json", "no tokens"]),
        (&[("vocab.json", r#"{"a": -1}"#), ("merges.txt", "")], &["vocab.json"]),
        (&[("vocab.json", r#"{"a": 0, "b": 1}"#), ("merges.txt", "a b")], &["vocab.json"]),
        (&[("vocab.json", r#"{"a": 0}"#), ("merges.txt", "a")], &["merges.txt", "not two tokens"]),
        (
            &[("vocab.json", r#"{"a": 4294967295}"#), ("merges.txt", "")],
            &["vocab.json", "4294967295"],
        ),
        (
            &[("vocab.json", r#"{"a": 0}"#), ("merges.txt", ""), ("tokenizer_config.json", &far)],
            &["tokenizer_config.json", "id 7"],
        ),
        (
            &[("vocab.json", r#"{"a": 0}"#), ("merges.txt", ""), ("tokenizer_config.json", &wrong)],
            &["tokenizer_config.json"],
        ),
    ];
    for (files, words) in cases {
        refused(open(folder(files).path()), words);
    }
}

#[test]
fn fifos_and_huge_files_are_not_read() {
    for name in ["tokenizer.json", "vocab.json"] {
        let pipe = folder(&[]);
        let made = std::process::Command::new("mkfifo")
            .arg(pipe.path().join(name))
            .status()
            .expect("mkfifo");
        assert!(made.success());
        refused(open(pipe.path()), &[name, "FIFO"]);
        let huge = folder(&[]);
        std::fs::File::create(huge.path().join(name))
            .expect("a file")
            .set_len(1 << 40)
            .expect("a sparse file");
        refused(open(huge.path()), &[name, "at most"]);
        let directory = folder(&[]);
        std::fs::create_dir(directory.path().join(name)).expect("a folder");
        refused(open(directory.path()), &[name, "a folder"]);
        let dangling = folder(&[]);
        std::os::unix::fs::symlink("nowhere", dangling.path().join(name)).expect("a link");
        let error = open(dangling.path()).expect_err("a link to nothing");
        assert!(
            [ErrorKind::BadInput, ErrorKind::NotFound, ErrorKind::Io].contains(&error.kind())
                && error.to_string().contains(name),
            "{error}"
        );
    }
}

#[test]
fn errors_name_the_malformed_key() {
    let file = Path::new("x.gguf");
    let number = GgufValue::Unsigned(1);
    let wrong = [
        ("model", string("rwkv"), "rwkv"),
        ("model", number.clone(), "tokenizer.ggml.model"),
        ("model", string("llama"), "tokenizer.ggml.scores"),
        ("pre", string("no-such-split"), "no-such-split"),
        ("pre", number.clone(), "tokenizer.ggml.pre"),
        ("tokens", number.clone(), "tokenizer.ggml.tokens"),
        ("tokens", strings([]), "tokenizer.ggml.token_type"),
        ("merges", number.clone(), "tokenizer.ggml.merges"),
        ("merges", strings(["a no-such-token"]), "x.gguf"),
        ("merges", strings([" b"]), "not two tokens"),
        ("merges", strings(["a b c"]), "not two tokens"),
        ("token_type", number.clone(), "tokenizer.ggml.token_type"),
        ("token_type", GgufValue::SignedArray(vec![1, 2]), "with 2 types"),
        ("token_type", GgufValue::SignedArray(vec![i64::MIN; 386]), "token_type"),
        ("add_bos_token", number.clone(), "tokenizer.ggml.add_bos_token"),
        ("add_eos_token", GgufValue::Bool(true), "tokenizer.ggml.eos_token_id"),
    ];
    for (key, value, words) in wrong {
        let mut metadata = bpe_metadata("gpt-2");
        set(&mut metadata, &[(key, value)]);
        refused(Tokenizer::from_gguf(file, &metadata), &["x.gguf", words]);
    }
    for id in [386, u64::MAX] {
        let mut metadata = bpe_metadata("gpt-2");
        set(
            &mut metadata,
            &[("add_bos_token", GgufValue::Bool(true)), ("bos_token_id", GgufValue::Unsigned(id))],
        );
        refused(
            Tokenizer::from_gguf(file, &metadata),
            &["x.gguf", "bos_token_id", &id.to_string()],
        );
    }
    let spm = spm_metadata(&golden_json("text/spm.json"));
    for scores in [vec![f32::NAN; 560], vec![0.0; 559], Vec::new()] {
        let mut metadata = spm.clone();
        set(&mut metadata, &[("scores", GgufValue::FloatArray(scores))]);
        refused(Tokenizer::from_gguf(file, &metadata), &["x.gguf", "tokenizer.ggml.scores"]);
    }
    let mut metadata = spm;
    set(&mut metadata, &[("unknown_token_id", GgufValue::Unsigned(560))]);
    refused(Tokenizer::from_gguf(file, &metadata), &["x.gguf", "unknown_token_id"]);
}

/// Replaces the value at `path` of a JSON tree. Each step of the path is the index of a child,
/// modulo the number of children.
fn disturb(value: &mut Value, path: &mut impl Iterator<Item = usize>, with: &Value) {
    match (value, path.next()) {
        (Value::Array(list), Some(step)) if !list.is_empty() => {
            let at = step % list.len();
            disturb(&mut list[at], path, with);
        }
        (Value::Object(map), Some(step)) if !map.is_empty() => {
            let at = step % map.len();
            if let Some((_, inner)) = map.iter_mut().nth(at) {
                disturb(inner, path, with);
            }
        }
        (value, _) => *value = with.clone(),
    }
}

fn odd_value() -> impl Strategy<Value = Value> {
    let odd = [
        "null",
        "-1",
        "0",
        "4294967295",
        "1e300",
        "\"\"",
        "\"(\"",
        "\"a\"",
        "[]",
        "{}",
        "[[\"a\"]]",
        "[\"a\", \"b\"]",
        "true",
        "{\"type\":\"ByteLevel\"}",
        "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(a*)*$\"},\"behavior\":\"Isolated\",\"invert\":false}",
        "{\"type\":\"Strip\",\"content\":\" \",\"start\":9,\"stop\":9}",
    ];
    prop::sample::select(
        odd.map(|text| serde_json::from_str::<Value>(text).expect("JSON")).to_vec(),
    )
}

/// Checks that a tokenizer that was accepted works on several texts: only encoding may fail, with
/// `Usage` or `BadInput`.
fn use_it(tokenizer: &Tokenizer) -> Result<(), TestCaseError> {
    for text in ["Hello, 123 <think>", "", " ", "aaaa\u{0}é😀<|begin|></think> order"] {
        match tokenizer.encode(text, true) {
            Ok(ids) => drop(
                tokenizer.decode(&ids, false).map_err(|e| TestCaseError::fail(e.to_string()))?,
            ),
            Err(error) => {
                prop_assert!([ErrorKind::Usage, ErrorKind::BadInput].contains(&error.kind()))
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_corrupted_tokenizer_works_or_is_refused(path in prop::collection::vec(0usize..1000, 1..6), with in odd_value()) {
        let mut json = golden_json("text/tokenizer.json");
        disturb(&mut json, &mut path.into_iter(), &with);
        let folder = folder(&[("tokenizer.json", &json.to_string())]);
        match open(folder.path()) {
            Ok(tokenizer) => use_it(&tokenizer.expect("a tokenizer"))?,
            Err(error) => {
                prop_assert_eq!(error.kind(), ErrorKind::BadInput);
                prop_assert!(error.to_string().contains("tokenizer.json"));
            }
        }
    }

    #[test]
    fn corrupted_metadata_works_or_is_refused(
        sentence_piece in any::<bool>(), key in 0usize..5, at in any::<prop::sample::Index>(), to in any::<prop::sample::Index>(),
        cut in any::<bool>(),
    ) {
        let mut metadata = match sentence_piece {
            true => spm_metadata(&golden_json("text/spm.json")),
            false => bpe_metadata("gpt-2"),
        };
        let key = ["tokens", "scores", "token_type", "merges", "model"][key];
        match metadata.values.get_mut(&format!("tokenizer.ggml.{key}")) {
            Some(GgufValue::StringArray(list)) if cut => list.truncate(at.index(list.len())),
            Some(GgufValue::SignedArray(list)) if cut => list.truncate(at.index(list.len())),
            Some(GgufValue::FloatArray(list)) if cut => list.truncate(at.index(list.len())),
            Some(GgufValue::StringArray(list)) => {
                let other = list[to.index(list.len())].clone();
                let at = at.index(list.len());
                list[at] = if other.len() % 2 == 0 { String::new() } else { other };
            }
            Some(GgufValue::SignedArray(list)) => {
                let at = at.index(list.len());
                list[at] = to.index(9) as i64 - 1;
            }
            Some(GgufValue::FloatArray(list)) => {
                let at = at.index(list.len());
                list[at] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0][to.index(4)];
            }
            Some(other) => *other = GgufValue::Unsigned(7),
            None => {}
        }
        match Tokenizer::from_gguf(Path::new("x.gguf"), &metadata) {
            Ok(tokenizer) => use_it(&tokenizer.expect("a tokenizer"))?,
            Err(error) => {
                prop_assert_eq!(error.kind(), ErrorKind::BadInput);
                prop_assert!(error.to_string().contains("x.gguf"));
            }
        }
    }

    #[test]
    fn a_truncated_tokenizer_is_refused(at in any::<prop::sample::Index>()) {
        let text = std::fs::read_to_string(support::golden("text/tokenizer.json")).expect("golden data");
        let end = text.trim_end().len();
        let cut = (0..=at.index(end)).rev().find(|at| text.is_char_boundary(*at)).expect("0 is one");
        let folder = folder(&[("tokenizer.json", &text[..cut])]);
        let error = open(folder.path()).expect_err("a cut file");
        prop_assert_eq!(error.kind(), ErrorKind::BadInput);
        prop_assert!(error.to_string().contains("tokenizer.json"));
    }
}

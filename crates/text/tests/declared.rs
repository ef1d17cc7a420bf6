//! Tests of tokens that the files of a folder declare beside the vocabulary, and of settings of
//! `tokenizer.json` that are not the model's. Expected ids and texts are those of transformers 5.24
//! (`AutoTokenizer`, encoded with special tokens and decoded without them).
mod support;

use checkpoint::Family;
use error_kind::{ErrorKind, HasKind};
use serde_json::{Map, Value, json};
use support::folder;
use text::{TextError, Tokenizer};

/// The 256 characters that stand for bytes in a byte-level vocabulary.
fn letters() -> Map<String, Value> {
    let plain = |byte: &u32| matches!(byte, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF);
    let others = (0..256).filter(|byte| !plain(byte)).zip(256..);
    let all = (0..256).filter(plain).map(|byte| (byte, byte)).chain(others);
    let letter = |code: u32| char::from_u32(code).expect("a character").to_string();
    all.map(|(byte, code)| (letter(code), byte.into())).collect()
}

fn token(content: &str, special: bool) -> Value {
    json!({
        "content": content, "special": special,
        "lstrip": false, "rstrip": false, "normalized": false, "single_word": false
    })
}

fn with(mut token: Value, key: &str, value: Value) -> Value {
    token[key] = value;
    token
}

/// A `tokenizer.json` in which the id of each byte is the byte, and 256 is `<|end|>`.
fn tokenizer_json() -> Value {
    let level = json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true
    });
    json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null,
        "added_tokens": [with(token("<|end|>", true), "id", 256.into())],
        "pre_tokenizer": level, "post_processor": null, "decoder": level,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": true, "vocab": letters(), "merges": []
        }
    })
}

fn open(files: &[(&str, Value)]) -> Result<Tokenizer, TextError> {
    let texts: Vec<(&str, String)> =
        files.iter().map(|(name, json)| (*name, json.to_string())).collect();
    let mut texts: Vec<(&str, &str)> =
        texts.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let own = tokenizer_json().to_string();
    if !texts.iter().any(|(name, _)| matches!(*name, "tokenizer.json" | "vocab.json")) {
        texts.push(("tokenizer.json", &own));
    }
    let folder = folder(&texts);
    Ok(Tokenizer::from_folder(folder.path(), Family::Llama)?.expect("a tokenizer"))
}

const CONFIG: &str = "tokenizer_config.json";
const ADDED: &str = "added_tokens.json";
const MAP: &str = "special_tokens_map.json";

/// Checks the ids of a text, and the text of the ids without special tokens.
fn check(files: &[(&str, Value)], text: &str, ids: &[u32], decoded: &str) {
    let tokenizer = open(files).unwrap_or_else(|e| panic!("{files:?}: {e}"));
    assert_eq!(tokenizer.encode(text, true).expect("ids"), ids, "{text} with {files:?}");
    assert_eq!(tokenizer.decode(ids, true).expect("text"), decoded, "{ids:?} with {files:?}");
}

#[test]
fn declared_tokens_are_added() {
    let listed = |token: Value| json!({"added_tokens_decoder": {"257": token}});
    let x = [97, 257, 98];
    check(&[(CONFIG, listed(token("<x>", true)))], "a<x>b", &x, "ab");
    check(&[(CONFIG, listed(token("<x>", false)))], "a<x>b", &x, "a<x>b");
    check(&[(CONFIG, listed(json!({"content": "<x>"})))], "a<x>b", &x, "a<x>b");
    check(&[(ADDED, json!({"<x>": 257}))], "a<x>b", &x, "a<x>b");
    check(&[(ADDED, json!({"<y>": 258, "<x>": 257}))], "a<x><y>", &[97, 257, 258], "a<x><y>");
    check(
        &[(ADDED, json!({"<x>": 257})), (CONFIG, json!({"eos_token": "<x>"}))],
        "a<x>b",
        &x,
        "ab",
    );
    check(&[(CONFIG, json!({"additional_special_tokens": ["<x>"]}))], "a<x>b", &x, "ab");
    check(&[(CONFIG, json!({"extra_special_tokens": ["<x>"]}))], "a<x>b", &x, "ab");
    check(&[(CONFIG, json!({"extra_special_tokens": {"image_token": "<x>"}}))], "a<x>b", &x, "ab");
    check(&[(CONFIG, json!({"image_token": "<x>"}))], "a<x>b", &x, "ab");
    check(&[(CONFIG, json!({"eos_token": null, "pad_token": "<x>"}))], "a<x>b", &x, "ab");
    check(&[(MAP, json!({"additional_special_tokens": ["<x>"]}))], "a<x>b", &x, "ab");
    let strips = with(token("<x>", true), "lstrip", true.into());
    check(&[(MAP, json!({"eos_token": strips}))], "a <x>b", &x, "ab");
    let typed = with(strips, "__type", "AddedToken".into());
    check(&[(CONFIG, json!({"eos_token": typed}))], "a <x>b", &x, "ab");
    check(&[(CONFIG, json!({"extra_special_tokens": [typed]}))], "a <x>b", &x, "ab");
    // A token of the vocabulary becomes special by its name, and keeps its id.
    check(&[(CONFIG, json!({"eos_token": "A"}))], "aA", &[97, 65], "a");
}

#[test]
fn one_file_overrides_another() {
    let text = [97, 60, 102, 62];
    let (e, f) = (json!({"eos_token": "<e>"}), json!({"eos_token": "<f>"}));
    check(&[(CONFIG, f.clone()), (MAP, e.clone())], "a<f>", &text, "a<f>");
    check(&[(CONFIG, f.clone()), (MAP, e.clone())], "a<e>", &[97, 257], "a");
    // With a list in the configuration, the older files do not count.
    let mut listed = f;
    listed["added_tokens_decoder"] = json!({"256": token("<|end|>", true)});
    let files = [(CONFIG, listed), (MAP, e), (ADDED, json!({"<g>": 257}))];
    check(&files, "a<f>", &[97, 257], "a");
    check(&files, "<e>", &[60, 101, 62], "<e>");
    let both = json!({"additional_special_tokens": ["<e>"], "extra_special_tokens": ["<f>"]});
    check(&[(CONFIG, both)], "<e><f>", &[60, 101, 62, 257], "<e>");
}

#[test]
fn flags_of_a_known_token_are_overridden() {
    let own = |special: bool| {
        let mut json = tokenizer_json();
        json["added_tokens"] = json!([with(token("<think>", special), "id", 256.into())]);
        ("tokenizer.json", json)
    };
    let listed = |token: Value| (CONFIG, json!({"added_tokens_decoder": {"256": token}}));
    let ids = [97, 256, 98];
    check(&[own(false)], "a<think>b", &ids, "a<think>b");
    check(&[own(false), listed(token("<think>", true))], "a<think>b", &ids, "ab");
    // A token that one file calls special remains so.
    check(&[own(true), listed(token("<think>", false))], "a<think>b", &ids, "ab");
    let strips = with(token("<think>", false), "lstrip", true.into());
    check(&[own(false), listed(strips)], "a <think>b", &ids, "a<think>b");
    check(&[own(false), (CONFIG, json!({"eos_token": "<think>"}))], "a<think>b", &ids, "ab");
    let extra = json!({"extra_special_tokens": ["<think>"]});
    check(&[own(false), (CONFIG, extra)], "a<think>b", &ids, "a<think>b");
}

#[test]
fn vocab_and_merges_take_the_same_tokens() {
    let mut vocab = letters();
    vocab.extend([("<b>".to_owned(), 256.into()), ("<e>".to_owned(), 257.into())]);
    let open_with = |config: Value| {
        let texts = [
            ("vocab.json", Value::Object(vocab.clone()).to_string()),
            ("merges.txt", "#version: 0.2\n".to_owned()),
            (CONFIG, config.to_string()),
            (ADDED, json!({"<x>": 258}).to_string()),
        ];
        let texts = texts.each_ref().map(|(name, text)| (*name, text.as_str()));
        let folder = folder(&texts);
        Tokenizer::from_folder(folder.path(), Family::Qwen2).expect("valid").expect("a tokenizer")
    };
    let names = json!({
        "bos_token": "<b>", "eos_token": "<e>", "add_bos_token": true, "add_eos_token": true
    });
    let tokenizer = open_with(names);
    assert_eq!(tokenizer.encode("a<x>", true).expect("ids"), [256, 97, 258, 257]);
    assert_eq!(tokenizer.encode("a", false).expect("ids"), [97]);
    assert_eq!(tokenizer.decode(&[256, 97, 258], true).expect("text"), "a<x>");
    let not_special = json!({"added_tokens_decoder": {"256": token("<b>", false)}});
    assert_eq!(open_with(not_special).decode(&[256, 257], true).expect("text"), "<b>");
}

#[test]
fn settings_of_a_caller_are_not_applied() {
    let text = "0123456789abcdef";
    let mut json = tokenizer_json();
    json["truncation"] =
        json!({"direction": "Left", "max_length": 8, "strategy": "OnlyFirst", "stride": 0});
    json["padding"] = json!({
        "strategy": {"Fixed": 40}, "direction": "Left", "pad_to_multiple_of": 8, "pad_id": 256,
        "pad_type_id": 0, "pad_token": "<|end|>"
    });
    let ids: Vec<u32> = text.bytes().map(u32::from).collect();
    check(&[("tokenizer.json", json)], text, &ids, text);
    // The configuration's bos and eos count without tokenizer.json only.
    let config = json!({"bos_token": "<|end|>", "add_bos_token": true, "add_eos_token": true});
    check(&[(CONFIG, config)], "ab", &[97, 98], "ab");
    let split = json!({"split_special_tokens": true});
    check(&[(CONFIG, split)], "<|end|>", &[60, 124, 101, 110, 100, 124, 62], "<|end|>");
}

/// transformers gives these tokens other ids than the files say, without a word.
#[test]
fn another_id_than_the_declared_one_is_refused() {
    let own = |tokens: Value| {
        let mut json = tokenizer_json();
        json["added_tokens"] = tokens;
        ("tokenizer.json", json)
    };
    let x = |id: u32| with(token("<x>", true), "id", id.into());
    let listed = |id: &str, text: &str| {
        let mut list = Map::new();
        list.insert(id.to_owned(), token(text, true));
        (CONFIG, json!({ "added_tokens_decoder": list }))
    };
    let cases: [((&str, Value), &[&str]); 8] = [
        (listed("300", "<x>"), &[CONFIG, "id 300 of \"<x>\"", "257"]),
        (listed("10", "<|end|>"), &[CONFIG, "id 10 of \"<|end|>\"", "256"]),
        (listed("256", "<x>"), &[CONFIG, "id 256 of \"<x>\""]),
        ((ADDED, json!({"<x>": 300})), &[ADDED, "id 300 of \"<x>\"", "257"]),
        ((ADDED, json!({"<x>": 256})), &[ADDED, "id 256 of \"<x>\""]),
        (own(json!([x(300)])), &["tokenizer.json", "id 300 of \"<x>\"", "256"]),
        ((ADDED, json!({"<x>": "257"})), &[ADDED, "<x>"]),
        ((CONFIG, json!({"eos_token": 5})), &[CONFIG, "eos_token: 5"]),
    ];
    for (file, words) in cases {
        let error = open(std::slice::from_ref(&file)).expect_err("another id");
        let message = error.to_string();
        assert_eq!(error.kind(), ErrorKind::BadInput, "{message}");
        for word in words {
            assert!(message.contains(word), "{word}: {message}");
        }
    }
}

//! Tests that tokens and texts equal those of Python's tokenizers library and sentencepiece
//! (`tests/golden/make_texts.py`).
mod support;

use checkpoint::{Family, GgufValue};
use error_kind::{ErrorKind, HasKind};
use proptest::prelude::*;
use serde_json::Value;
use std::path::Path;
use std::sync::OnceLock;
use support::{
    bpe_metadata, folder, golden, golden_json, ids, list, set, small_bpe_folder, smollm2,
    spm_metadata, string, text,
};
use text::{StreamDecoder, Tokenizer};

/// Compares one text with its golden results; the error describes the difference. Golden files omit
/// fields that equal the text or its ids.
fn check(tokenizer: &Tokenizer, case: &Value) -> Result<(), String> {
    let given = text(case, "text").expect("a text");
    let expected = ids(&case["ids"]);
    let compare = |what: &str, found: String, expected: String| {
        if found == expected {
            Ok(())
        } else {
            Err(format!("{what} of {given:?}: expected {expected}, found {found}"))
        }
    };
    let encode = |special| tokenizer.encode(given, special).expect("ids");
    compare("ids", format!("{:?}", encode(false)), format!("{expected:?}"))?;
    let with_special = case.get("ids_with_special").map_or(expected.clone(), ids);
    compare("ids with special tokens", format!("{:?}", encode(true)), format!("{with_special:?}"))?;
    for (key, skip) in [("decoded", false), ("decoded_skipping", true)] {
        let decoded = text(case, key).unwrap_or(given);
        compare(key, tokenizer.decode(&expected, skip).expect("text"), decoded.to_owned())?;
    }
    compare(
        "streamed",
        streamed(tokenizer, &expected),
        text(case, "decoded_skipping").unwrap_or(given).to_owned(),
    )
}

fn check_all(tokenizer: &Tokenizer, cases: &[Value]) {
    let wrong: Vec<String> = cases.iter().filter_map(|case| check(tokenizer, case).err()).collect();
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    assert!(cases.len() >= 60, "{} texts", cases.len());
}

fn streamed(tokenizer: &Tokenizer, ids: &[u32]) -> String {
    let mut decoder = StreamDecoder::new(tokenizer.clone());
    let mut text: String = ids.iter().map(|id| decoder.push(*id).expect("text")).collect();
    text.push_str(&decoder.finish());
    text
}

fn small_bpe() -> Tokenizer {
    static BUILT: OnceLock<Tokenizer> = OnceLock::new();
    let build = || {
        Tokenizer::from_folder(&small_bpe_folder(), Family::Llama)
            .expect("valid")
            .expect("a tokenizer")
    };
    BUILT.get_or_init(build).clone()
}

fn small_spm() -> Tokenizer {
    static BUILT: OnceLock<Tokenizer> = OnceLock::new();
    BUILT.get_or_init(|| from_gguf(&spm_metadata(&golden_json("text/spm.json")))).clone()
}

fn from_gguf(metadata: &checkpoint::GgufMetadata) -> Tokenizer {
    Tokenizer::from_gguf(Path::new("x.gguf"), metadata).expect("valid").expect("a tokenizer")
}

#[test]
fn smollm2s_gguf_tokenizer_equals_transformers() {
    let Some(checkpoint) = smollm2("smollm2_out_of_its_gguf_gives_the_tokens_of_transformers")
    else {
        return;
    };
    let tokenizer = Tokenizer::from_checkpoint(&checkpoint).expect("valid").expect("a tokenizer");
    check_all(&tokenizer, list(&golden_json("text/smollm2.json"), "texts"));
    assert_eq!(tokenizer.vocab_size(), 49152);
    assert_eq!((0..49152).filter(|id| tokenizer.is_special(*id)).count(), 17);
    assert_eq!((tokenizer.token_bytes(2), tokenizer.token_to_id("<|im_end|>")), (None, Some(2)));
}

#[test]
fn smollm2s_vocab_and_merges_make_the_same_tokenizer() {
    let Some(checkpoint) = smollm2("smollm2_out_of_vocab_and_merges_is_the_same_tokenizer") else {
        return;
    };
    let metadata = checkpoint.gguf.expect("metadata");
    let tokens = metadata.get_str_array("tokenizer.ggml.tokens").expect("tokens");
    let vocab: serde_json::Map<String, Value> =
        tokens.iter().enumerate().map(|(id, token)| (token.clone(), id.into())).collect();
    let merges = metadata.get_str_array("tokenizer.ggml.merges").expect("merges").join("\n");
    let (vocab, merges) = (Value::Object(vocab).to_string(), format!("#version: 0.2\n{merges}\n"));
    let folder = folder(&[("vocab.json", &vocab), ("merges.txt", &merges)]);
    let tokenizer =
        Tokenizer::from_folder(folder.path(), Family::Llama).expect("valid").expect("a tokenizer");
    check_all(&tokenizer, list(&golden_json("text/smollm2.json"), "texts"));
    assert_eq!((0..49152).filter(|id| tokenizer.is_special(*id)).count(), 17);
}

#[test]
fn a_tokenizer_json_equals_transformers() {
    let golden = golden_json("text/bpe.json");
    let tokenizer = small_bpe();
    check_all(&tokenizer, list(&golden, "texts"));
    assert_eq!(tokenizer.vocab_size() as u64, golden["vocab_size"].as_u64().expect("a size"));
    let id = |token: &str| tokenizer.token_to_id(token).expect("a token");
    let (think, begin) = (id("<think>"), id("<|begin|>"));
    assert_eq!(
        (tokenizer.token_bytes(think), tokenizer.is_special(think)),
        (Some(b"<think>".to_vec()), false)
    );
    assert_eq!((tokenizer.token_bytes(begin), tokenizer.is_special(begin)), (None, true));
    assert_eq!(tokenizer.id_to_token(begin).as_deref(), Some("<|begin|>"));
    assert_eq!((tokenizer.token_bytes(100_000), tokenizer.is_special(100_000)), (None, false));
}

#[test]
fn each_pre_tokenizer_equals_the_library() {
    let golden = golden_json("text/bpe.json");
    for pre in ["gpt-2", "smollm", "qwen2", "llama-bpe"] {
        let tokenizer = from_gguf(&bpe_metadata(pre));
        let expected = list(&golden, &format!("pre {pre}"));
        let mut differs = 0;
        for ((case, expected), plain) in
            list(&golden, "texts").iter().zip(expected).zip(list(&golden, "pre gpt-2"))
        {
            let given = text(case, "text").expect("a text");
            assert_eq!(
                tokenizer.encode(given, false).expect("ids"),
                ids(expected),
                "{pre}: {given:?}"
            );
            differs += usize::from(plain != expected);
        }
        assert!(pre == "gpt-2" || differs > 5, "the texts do not tell {pre} from gpt-2");
    }
}

#[test]
fn vocab_and_merges_use_the_familys_pre_tokenizer() {
    let golden = golden_json("text/bpe.json");
    let json = golden_json("text/tokenizer.json");
    let merges: Vec<String> = list(&json["model"], "merges")
        .iter()
        .map(|m| format!("{} {}", m[0].as_str().expect("text"), m[1].as_str().expect("text")))
        .collect();
    let added: serde_json::Map<String, Value> = list(&json, "added_tokens")
        .iter()
        .map(|token| {
            let mut token = token.as_object().expect("a token").clone();
            let id = token.remove("id").expect("an id").to_string();
            for flag in ["lstrip", "rstrip", "single_word"] {
                token.insert(flag.to_owned(), false.into());
            }
            (id, token.into())
        })
        .collect();
    let settings = serde_json::json!({ "added_tokens_decoder": added }).to_string();
    let (vocab, merges) = (json["model"]["vocab"].to_string(), merges.join("\n"));
    let folder = folder(&[
        ("vocab.json", &vocab),
        ("merges.txt", &merges),
        ("tokenizer_config.json", &settings),
    ]);
    for (family, pre) in
        [(Family::Qwen2, "qwen2"), (Family::Phi, "gpt-2"), (Family::Llama, "smollm")]
    {
        let tokenizer =
            Tokenizer::from_folder(folder.path(), family).expect("valid").expect("a tokenizer");
        for (case, expected) in
            list(&golden, "texts").iter().zip(list(&golden, &format!("pre {pre}")))
        {
            let given = text(case, "text").expect("a text");
            assert_eq!(
                tokenizer.encode(given, false).expect("ids"),
                ids(expected),
                "{pre}: {given:?}"
            );
        }
    }
}

#[test]
fn a_gguf_sentencepiece_tokenizer_equals_sentencepiece() {
    let golden = golden_json("text/spm.json");
    let mut bare = spm_metadata(&golden);
    set(&mut bare, &[("add_space_prefix", GgufValue::Bool(false))]);
    for (tokenizer, key) in [(small_spm(), "prefix"), (from_gguf(&bare), "no_prefix")] {
        // sentencepiece does not recognize control tokens in a text; transformers does.
        let plain = |case: &&Value| !text(case, "text").expect("a text").contains("<s>");
        assert!(list(&golden, key).len() > 60);
        for case in list(&golden, key).iter().filter(plain) {
            let (given, expected) = (text(case, "text").expect("a text"), ids(&case["ids"]));
            assert_eq!(tokenizer.encode(given, false).expect("ids"), expected, "{key}: {given:?}");
            assert_eq!(
                tokenizer.encode(given, true).expect("ids"),
                [&[1], expected.as_slice()].concat(),
                "{given:?}"
            );
            let decoded = text(case, "decoded").unwrap_or(given);
            assert_eq!(tokenizer.decode(&expected, true).expect("text"), decoded, "{key}");
            assert_eq!(streamed(&tokenizer, &expected), decoded, "{key}");
        }
    }
    let tokenizer = small_spm();
    let newline = tokenizer.token_to_id("<0x0A>").expect("a byte");
    assert_eq!(
        (tokenizer.token_bytes(newline), tokenizer.is_special(newline)),
        (Some(vec![10]), false)
    );
    let the = tokenizer.token_to_id("\u{2581}the").expect("a piece");
    assert_eq!(tokenizer.token_bytes(the), Some(b" the".to_vec()));
    let special = tokenizer.encode("a<s>b</s>", false).expect("ids");
    assert_eq!(
        special.iter().filter(|id| tokenizer.is_special(**id)).copied().collect::<Vec<_>>(),
        [1, 2]
    );
}

#[test]
fn broken_bytes_are_decoded_as_sentencepiece_does() {
    let golden = golden_json("text/spm.json");
    assert!(list(&golden, "broken").len() > 20);
    for case in list(&golden, "broken") {
        let (given, expected) = (ids(&case["ids"]), text(case, "decoded").expect("a text"));
        assert_eq!(small_spm().decode(&given, true).expect("text"), expected, "{given:?}");
        assert_eq!(streamed(&small_spm(), &given), expected, "{given:?}");
    }
}

#[test]
fn metadata_decides_which_tokens_surround_a_text() {
    let encoded = |pre: &str, changes: &[(&str, GgufValue)]| {
        let mut metadata = bpe_metadata(pre);
        set(
            &mut metadata,
            &[("bos_token_id", GgufValue::Unsigned(3)), ("eos_token_id", GgufValue::Unsigned(4))],
        );
        set(&mut metadata, changes);
        let tokenizer = from_gguf(&metadata);
        (tokenizer.encode("a", true).expect("ids"), tokenizer.encode("a", false).expect("ids")[0])
    };
    let (yes, no) = (GgufValue::Bool(true), GgufValue::Bool(false));
    let (plain, a) = encoded("gpt-2", &[]);
    assert_eq!(plain, [a]);
    assert_eq!(encoded("gpt-2", &[("add_bos_token", yes.clone())]).0, [3, a]);
    assert_eq!(
        encoded("gpt-2", &[("add_bos_token", yes.clone()), ("add_eos_token", yes)]).0,
        [3, a, 4]
    );
    // As in llama.cpp, Llama 3 adds its begin-of-sequence token even if the file does not say so.
    assert_eq!(encoded("llama-bpe", &[]).0, [3, a]);
    assert_eq!(encoded("llama-bpe", &[("add_bos_token", no)]).0, [a]);
}

#[test]
fn a_gguf_files_end_token_is_a_control_token_whatever_its_type() {
    let mut metadata = bpe_metadata("gpt-2");
    let tokens = metadata.get_str_array("tokenizer.ggml.tokens").expect("tokens");
    let end = tokens.iter().position(|token| token == "<|im_end|>").expect("the token");
    let mut types = metadata.get_i32_array("tokenizer.ggml.token_type").expect("types");
    types[end] = 1;
    let types = types.into_iter().map(i64::from).collect();
    set(&mut metadata, &[("token_type", GgufValue::SignedArray(types))]);
    let tokenizer = from_gguf(&metadata);
    assert_eq!(tokenizer.encode("<|im_end|>", false).expect("ids"), [end as u32]);
    assert_eq!(tokenizer.decode(&[end as u32], true).expect("text"), "");
}

#[test]
fn a_token_beyond_the_embedding_is_refused() {
    let folder = folder(&[]);
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(golden("llama-tied-f16").join(file), folder.path().join(file))
            .expect("a copy");
    }
    std::fs::copy(golden("text/tokenizer.json"), folder.path().join("tokenizer.json"))
        .expect("a copy");
    let checkpoint = checkpoint::Checkpoint::open(folder.path()).expect("a checkpoint");
    let rows = checkpoint.config.vocab_size;
    let tokenizer = Tokenizer::from_checkpoint(&checkpoint).expect("valid").expect("a tokenizer");
    assert_eq!(tokenizer.encode("a", false).expect("ids").len(), 1);
    let error = tokenizer.encode("a<|im_end|>", false).expect_err("no row");
    let words = error.to_string();
    assert_eq!(error.kind(), ErrorKind::BadInput);
    assert!(words.contains("<|im_end|>") && words.contains(&format!("{rows} rows")), "{words}");
}

#[test]
fn a_decoder_without_bytes_for_each_token_is_refused() {
    let mut json = golden_json("text/tokenizer.json");
    for decoder in
        [Value::Null, serde_json::json!({"type": "WordPiece", "prefix": "##", "cleanup": true})]
    {
        json["decoder"] = decoder;
        let folder = folder(&[("tokenizer.json", &json.to_string())]);
        let error =
            Tokenizer::from_folder(folder.path(), Family::Llama).expect_err("another decoder");
        assert!(
            error.to_string().contains("decoder") && error.kind() == ErrorKind::BadInput,
            "{error}"
        );
    }
}

#[test]
fn an_unknown_pre_tokenizer_is_refused() {
    let mut metadata = bpe_metadata("gpt-2");
    set(&mut metadata, &[("pre", string("no-such-cut"))]);
    let error = Tokenizer::from_gguf(Path::new("x.gguf"), &metadata).expect_err("no such cut");
    assert!(
        error.to_string().contains("no-such-cut") && error.to_string().contains("x.gguf"),
        "{error}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_decoded_stream_equals_the_decoded_whole(ids in prop::collection::vec(0u32..600, 0..40)) {
        for tokenizer in [small_bpe(), small_spm()] {
            let whole = tokenizer.decode(&ids, true).expect("text");
            prop_assert_eq!(streamed(&tokenizer, &ids), whole);
        }
    }

    /// With one token for each byte, every returned text is a complete character.
    #[test]
    fn a_stream_never_breaks_a_character(text in "\\PC{0,20}") {
        let tokenizer = small_spm();
        let ids: Vec<u32> =
            text.bytes().map(|b| tokenizer.token_to_id(&format!("<0x{b:02X}>")).expect("a byte")).collect();
        let mut decoder = StreamDecoder::new(tokenizer.clone());
        let pieces: Vec<String> = ids.iter().map(|id| decoder.push(*id).expect("text")).collect();
        prop_assert!(decoder.finish().is_empty());
        prop_assert_eq!(pieces.iter().map(|p| p.chars().count()).max().unwrap_or(0) <= 1, true);
        prop_assert_eq!(pieces.concat(), text.strip_prefix(' ').unwrap_or(&text));
    }

    #[test]
    fn any_text_round_trips(text in "(\\PC|[\n\t ]|<0x41>|order){0,40}") {
        for tokenizer in [small_bpe(), small_spm()] {
            let ids = tokenizer.encode(&text, false).expect("ids");
            prop_assert!(ids.iter().all(|id| (*id as usize) < tokenizer.vocab_size()));
            prop_assert_eq!(streamed(&tokenizer, &ids), tokenizer.decode(&ids, true).expect("text"));
            if !text.contains('\u{2581}') {
                prop_assert_eq!(&tokenizer.decode(&ids, false).expect("text"), &text);
            }
        }
    }
}

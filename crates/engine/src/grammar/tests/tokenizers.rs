//! Two small tokenizers, and a small checkpoint with their vocabulary.

use std::path::Path;
use std::sync::OnceLock;

use checkpoint::{Checkpoint, Fill, SynthRequest, SynthSource, synth};
use serde_json::{Value, json};
use text::Tokenizer;

/// The end token of both tokenizers, `<|end|>`.
pub(crate) const END: u32 = 0;
/// Size of the checkpoint's vocabulary.
pub(crate) const VOCAB: usize = 384;

const MERGES: [(&str, &str); 24] = [
    ("{", "\""),
    ("\"", ":"),
    ("\"", ","),
    ("\":", "\""),
    ("\",", "\""),
    ("\"", "}"),
    ("t", "o"),
    ("to", "o"),
    ("too", "l"),
    ("o", "r"),
    ("or", "d"),
    ("ord", "e"),
    ("orde", "r"),
    ("t", "r"),
    ("tr", "u"),
    ("tru", "e"),
    ("s", "k"),
    ("sk", "u"),
    ("q", "u"),
    ("qu", "a"),
    ("1", "0"),
    ("S", " "),
    ("S", "a"),
    ("S", "to"),
];

/// A byte-level BPE tokenizer.
pub(crate) fn bytes() -> Tokenizer {
    static MADE: OnceLock<Tokenizer> = OnceLock::new();
    MADE.get_or_init(|| tokenizer(&byte_level())).clone()
}

/// A SentencePiece tokenizer with byte fallback; it inserts a space before each text.
pub(crate) fn pieces() -> Tokenizer {
    static MADE: OnceLock<Tokenizer> = OnceLock::new();
    MADE.get_or_init(|| tokenizer(&sentence_pieces())).clone()
}

fn tokenizer(json: &Value) -> Tokenizer {
    let folder = tempfile::tempdir().expect("a folder");
    let checkpoint = tiny_checkpoint(folder.path(), json);
    Tokenizer::from_checkpoint(&checkpoint)
        .expect("a tokenizer that can be read")
        .expect("a tokenizer")
}

/// A checkpoint of a Llama with two layers, random weights and the byte-level tokenizer.
pub(crate) fn tiny_model(folder: &Path) -> Checkpoint {
    tiny_checkpoint(folder, &byte_level())
}

fn tiny_checkpoint(folder: &Path, tokenizer: &Value) -> Checkpoint {
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": VOCAB, "hidden_size": 64,
        "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
        "max_position_embeddings": 1024, "rms_norm_eps": 1e-5, "hidden_act": "silu", "rope_theta": 10000.0,
        "tie_word_embeddings": false, "torch_dtype": "bfloat16", "bos_token_id": 1, "eos_token_id": END
    });
    let like = folder.join("like.json");
    std::fs::write(&like, config.to_string()).expect("a config");
    let made = folder.join("model");
    let (like, fill) = (SynthSource::Config(like), Fill::Random { seed: 5 });
    synth(&SynthRequest { like, shards: Some(1), fill, folder: made.clone() }, &|_| true)
        .expect("a checkpoint");
    std::fs::write(made.join("tokenizer.json"), tokenizer.to_string()).expect("a tokenizer");
    Checkpoint::open(&made).expect("a checkpoint that opens")
}

/// A map from tokens to ids, in the order: special tokens, alphabet, merged tokens.
fn vocab(alphabet: impl Iterator<Item = String>, merges: &[(String, String)]) -> Value {
    let merged = merges.iter().map(|(left, right)| format!("{left}{right}"));
    let tokens =
        ["<|end|>".to_owned(), "<|start|>".to_owned()].into_iter().chain(alphabet).chain(merged);
    let mut vocab = serde_json::Map::new();
    for token in tokens {
        let id = vocab.len();
        vocab.entry(token).or_insert(json!(id));
    }
    assert!(vocab.len() <= VOCAB);
    Value::Object(vocab)
}

fn specials() -> Value {
    let special = |(id, content): (usize, &str)| json!({"id": id, "content": content, "special": true, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false});
    ["<|end|>", "<|start|>"].into_iter().enumerate().map(special).collect()
}

fn byte_level() -> Value {
    // GPT-2 represents each byte by a character: printable bytes by themselves, the others by
    // characters from U+0100 on.
    let printable = |byte: &u8| matches!(byte, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF);
    let shown = (0..=255u8).filter(printable).map(|byte| char::from(byte).to_string());
    let hidden = (0..68).filter_map(|index| char::from_u32(0x100 + index)).map(String::from);
    let merges: Vec<(String, String)> =
        MERGES.iter().map(|&(left, right)| (shown_space(left), shown_space(right))).collect();
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": specials(), "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
        "post_processor": null,
        "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null,
            "fuse_unk": false, "byte_fallback": false, "vocab": vocab(shown.chain(hidden), &merges), "merges": merges
        }
    })
}

fn shown_space(text: &str) -> String {
    text.replace(' ', "\u{120}")
}

fn sentence_pieces() -> Value {
    let fallback = (0..=255u32).map(|byte| format!("<0x{byte:02X}>"));
    let letters =
        (0x21..0x7Fu32).filter_map(char::from_u32).map(String::from).chain(["\u{2581}".to_owned()]);
    let merges: Vec<(String, String)> =
        MERGES[..21].iter().map(|&(left, right)| (left.to_owned(), right.to_owned())).collect();
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": specials(),
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "\u{2581}"}, {"type": "Replace", "pattern": {"String": " "}, "content": "\u{2581}"}
        ]},
        "pre_tokenizer": null, "post_processor": null,
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "\u{2581}"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}
        ]},
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null,
            "fuse_unk": true, "byte_fallback": true, "vocab": vocab(fallback.chain(letters), &merges), "merges": merges
        }
    })
}

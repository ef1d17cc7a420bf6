//! Tests of GGUF files: configuration and tensors of valid files, and the errors for broken ones.
mod support;

use checkpoint::*;
use error_kind::{ErrorKind, HasKind};
use support::{Gguf, text};

fn open(gguf: &Gguf) -> Checkpoint {
    gguf.open().unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn a_llama_has_the_shape_of_its_metadata() {
    for version in [2, 3] {
        let mut gguf = Gguf::llama();
        gguf.version = version;
        gguf.string("tokenizer.ggml.model", "gpt2");
        gguf.number("tokenizer.ggml.eos_token_id", 2);
        gguf.number("tokenizer.ggml.eot_token_id", 7);
        gguf.float("llama.rope.freq_base", 500_000.0);
        let checkpoint = open(&gguf);
        let c = &checkpoint.config;
        assert_eq!(
            (c.family, c.layers, c.heads, c.kv_heads, c.head_dim),
            (Family::Llama, 2, 4, 2, 8)
        );
        assert_eq!((c.rope.pairing, c.rope.theta), (Pairing::Interleaved, 500_000.0));
        assert_eq!((c.tie_word_embeddings, c.vocab_size, c.eos.clone()), (false, 64, vec![2, 7]));
        let down = checkpoint.inventory.get("model.layers.1.mlp.down_proj.weight").unwrap();
        assert_eq!((down.shape.clone(), down.dtype), (vec![32, 48], Dtype::F32));
        let metadata = checkpoint.gguf.unwrap();
        assert_eq!(
            (metadata.version, metadata.get_str("tokenizer.ggml.model")),
            (version, Some("gpt2"))
        );
    }
}

/// llama.cpp's `special_eog_ids` of a vocabulary with these tokens and keys.
#[test]
fn a_reply_ends_at_well_known_tokens_whatever_the_keys_say() {
    let ends = |tokens: &[&str], keys: &[(&str, u64)]| {
        let mut metadata = GgufMetadata::default();
        let tokens = tokens.iter().map(|token| (*token).to_owned()).collect();
        let mut set = |key: String, value| metadata.values.insert(key, value);
        set("tokenizer.ggml.tokens".to_owned(), GgufValue::StringArray(tokens));
        for (key, id) in keys {
            set(format!("tokenizer.ggml.{key}_token_id"), GgufValue::Unsigned(*id));
        }
        metadata.end_tokens()
    };
    let llama3 = ["a", "<|end_of_text|>", "<|eom_id|>", "<|eot_id|>", "<|start_header_id|>"];
    assert_eq!(ends(&llama3, &[("eos", 1)]), [1, 2, 3]);
    assert_eq!(ends(&llama3, &[("eos", 3), ("eot", 0)]), [3, 0, 1, 2]);
    assert_eq!(ends(&llama3, &[("eos", 99)]), [1, 2, 3]);
    assert_eq!(ends(&["<\u{ff5c}end\u{2581}of\u{2581}sentence\u{ff5c}>", "</s>"], &[]), [0, 1]);
    // <|end|> ends a turn of Phi-3, but only a part of a reply of gpt-oss and Solar.
    assert_eq!(ends(&["<|end|>", "<|endoftext|>"], &[("eos", 1)]), [1, 0]);
    assert_eq!(ends(&["<|end|>", "<|return|>", "<|call|>"], &[("eos", 1)]), [1, 2]);
    assert_eq!(ends(&["<|end|>", "<|flush|>", "<|calls|>"], &[("eos", 0)]), [1, 2]);
    assert_eq!(ends(&["<|end|>", "<|return|>"], &[]), [0, 1]);
    assert_eq!(ends(&["</s>", "<eos>", "<turn|>", "<|tool_response>"], &[]), [1, 2, 3]);
    // Without the key, the token is found by its text.
    assert_eq!(ends(&["<|file_sep|>", "<reponame>", "<PAD>"], &[]), [2, 1, 0]);
    assert_eq!(ends(&["<|file_sep|>", "x"], &[("fim_sep", 1)]), [1]);
}

#[test]
fn a_file_without_output_weights_is_tied() {
    let mut gguf = Gguf::llama();
    gguf.tensors.retain(|t| t.name != "output.weight");
    assert!(open(&gguf).config.tie_word_embeddings);
}

#[test]
fn quantized_tensors_have_the_bytes_of_their_blocks() {
    let mut gguf = Gguf::llama();
    gguf.tensor("token_embd.weight", &[32, 64], 8);
    gguf.tensor("blk.0.ffn_gate.weight", &[32, 48], 3);
    let inventory = open(&gguf).inventory;
    let (embedding, gate) = (
        inventory.get("model.embed_tokens.weight").unwrap(),
        inventory.get("model.layers.0.mlp.gate_proj.weight").unwrap(),
    );
    assert_eq!((embedding.dtype, embedding.bytes), (Dtype::Q8_0, 64 * 34));
    assert_eq!((gate.dtype, gate.bytes), (Dtype::Q4_1, 48 * 20));
}

#[test]
fn rope_freqs_become_longrope_factors() {
    let mut gguf = Gguf::llama();
    let factors: Vec<u8> = [1f32, 2.0, 4.0, 8.0].iter().flat_map(|f| f.to_le_bytes()).collect();
    gguf.tensor("rope_freqs.weight", &[4], 0).data = Some(factors);
    let checkpoint = open(&gguf);
    let mut plain = checkpoint.config.rope.clone();
    plain.scaling = RopeScaling::None;
    let (with, without) =
        (checkpoint.config.rope.inverse_frequencies(9), plain.inverse_frequencies(9));
    for (i, factor) in [1f32, 2.0, 4.0, 8.0].into_iter().enumerate() {
        assert!((with[i] * factor - without[i]).abs() <= 1e-7 * without[i], "{i}");
    }
    assert_eq!(checkpoint.config.rope.attention_scaling(), 1.0);
    assert!(checkpoint.inventory.get("rope_freqs.weight").is_none());
}

#[test]
fn qwen2_has_biases() {
    let mut gguf = Gguf::llama();
    let llama = std::mem::replace(&mut gguf, Gguf::empty("qwen2"));
    gguf.tensors = llama.tensors;
    for layer in 0..2 {
        for (name, rows) in [("attn_q", 32), ("attn_k", 16), ("attn_v", 16)] {
            gguf.tensor(&format!("blk.{layer}.{name}.bias"), &[rows], 0);
        }
    }
    let config = open(&gguf).config;
    assert_eq!(
        (config.attention_bias, config.attention_out_bias, config.rope.pairing),
        (true, false, Pairing::Halves)
    );
}

#[test]
fn fused_experts_become_one_matrix_each() {
    let mut gguf = Gguf::empty("qwen3moe");
    for (key, value) in
        [("expert_count", 4), ("expert_used_count", 2), ("expert_feed_forward_length", 64)]
    {
        gguf.number(&format!("qwen3moe.{key}"), value);
    }
    gguf.number("qwen3moe.attention.key_length", 8);
    gguf.tensors = Gguf::llama()
        .tensors
        .into_iter()
        .filter(|t| {
            !t.name.contains("ffn_g") && !t.name.contains("ffn_u") && !t.name.contains("ffn_d")
        })
        .collect();
    for layer in 0..2 {
        for (name, dims) in [
            ("attn_q_norm", &[8][..]),
            ("attn_k_norm", &[8]),
            ("ffn_gate_inp", &[32, 4]),
            ("ffn_gate_exps", &[32, 64, 4]),
            ("ffn_up_exps", &[32, 64, 4]),
            ("ffn_down_exps", &[64, 32, 4]),
        ] {
            let kind = if name.ends_with("exps") { 8 } else { 0 };
            gguf.tensor(&format!("blk.{layer}.{name}.weight"), dims, kind);
        }
    }
    let inventory = open(&gguf).inventory;
    let expert = |j: usize| {
        inventory.get(&format!("model.layers.1.mlp.experts.{j}.down_proj.weight")).unwrap()
    };
    assert_eq!((expert(0).shape.clone(), expert(0).bytes), (vec![32, 64], 32 * 68));
    assert_eq!(expert(3).offset - expert(0).offset, 3 * expert(0).bytes);
}

#[test]
fn fused_qkv_of_phi2_is_split_by_rows() {
    let mut gguf = Gguf::empty("phi2");
    gguf.float("phi2.attention.layer_norm_epsilon", 1e-5);
    gguf.number("phi2.rope.dimension_count", 4);
    for (name, dims) in
        [("token_embd", &[32, 64][..]), ("output_norm", &[32]), ("output", &[32, 64])]
    {
        gguf.tensor(&format!("{name}.weight"), dims, 0);
    }
    gguf.tensor("output_norm.bias", &[32], 0);
    gguf.tensor("output.bias", &[64], 0);
    for layer in 0..2 {
        for (name, dims) in [
            ("attn_norm", &[32][..]),
            ("attn_qkv", &[32, 64]),
            ("attn_output", &[32, 32]),
            ("ffn_up", &[32, 48]),
            ("ffn_down", &[48, 32]),
        ] {
            gguf.tensor(&format!("blk.{layer}.{name}.weight"), dims, 0);
            gguf.tensor(&format!("blk.{layer}.{name}.bias"), &[*dims.last().unwrap()], 0);
        }
    }
    let checkpoint = open(&gguf);
    assert_eq!(checkpoint.config.rope.rotary_dim, 4);
    let get =
        |name: &str| checkpoint.inventory.get(&format!("model.layers.1.self_attn.{name}")).unwrap();
    let (q, k, v) = (get("q_proj.weight"), get("k_proj.weight"), get("v_proj.weight"));
    assert_eq!(
        (q.shape.clone(), k.shape.clone(), v.shape.clone()),
        (vec![32, 32], vec![16, 32], vec![16, 32])
    );
    assert_eq!((k.offset - q.offset, v.offset - k.offset), (32 * 32 * 4, 16 * 32 * 4));
    assert_eq!(get("v_proj.bias").shape, [16]);
}

struct Fault {
    name: &'static str,
    break_it: fn(&mut Gguf),
    kind: DefectKind,
    words: &'static [&'static str],
}

const fn fault(
    name: &'static str,
    break_it: fn(&mut Gguf),
    kind: DefectKind,
    words: &'static [&'static str],
) -> Fault {
    Fault { name, break_it, kind, words }
}

#[rustfmt::skip]
const FAULTS: &[Fault] = &[
    fault("other letters", |g| g.magic = *b"GGML", DefectKind::GgufMagic, &["GGUF"]),
    fault("an older format", |g| g.magic = *b"ggjt", DefectKind::GgufMagic, &["older format"]),
    fault("an LFS pointer", |g| g.magic = *b"vers", DefectKind::LfsPointer, &["git lfs pull"]),
    fault("version 1", |g| g.version = 1, DefectKind::GgufVersion, &["version 2 or 3", "1"]),
    fault("version 4", |g| g.version = 4, DefectKind::GgufVersion, &["4"]),
    fault("big-endian", |g| g.version = 3u32.swap_bytes(), DefectKind::GgufVersion, &["big-endian"]),
    fault("an empty file", |g| g.cut = g.bytes().len(), DefectKind::GgufMagic, &["GGUF"]),
    fault("cut in the header", |g| g.cut = g.bytes().len() - 100, DefectKind::GgufValue, &["what is left"]),
    fault("cut in the data", |g| g.cut = 1, DefectKind::Truncated, &["truncated"]),
    fault("trailing bytes", |g| g.extra = 64, DefectKind::TrailingBytes, &["trailing"]),
    fault("a string of 2^63 bytes", |g| g.set("x", 8, (1u64 << 63).to_le_bytes().to_vec()), DefectKind::GgufValue, &["9223372036854775808"]),
    fault("a string that is not UTF-8", |g| g.set("x", 8, [&2u64.to_le_bytes()[..], &[0xff, 0xfe]].concat()), DefectKind::GgufValue, &["UTF-8"]),
    fault("a list of 2^60", |g| g.set("x", 9, [&4u32.to_le_bytes()[..], &(1u64 << 60).to_le_bytes()].concat()), DefectKind::GgufValue, &["list entries"]),
    fault("a list of lists", |g| g.set("x", 9, [&9u32.to_le_bytes()[..], &1u64.to_le_bytes()].concat()), DefectKind::GgufValue, &["list of lists"]),
    fault("an unknown value type", |g| g.set("x", 13, vec![]), DefectKind::GgufValue, &["0 to 12", "13"]),
    fault("a bool of 2", |g| g.set("x", 7, vec![2]), DefectKind::GgufValue, &["bool"]),
    fault("an empty key", |g| g.set("", 4, vec![0; 4]), DefectKind::GgufValue, &["key"]),
    fault("a key twice", |g| {
        let value = g.values[0].clone();
        g.values.push(value);
    }, DefectKind::DuplicateKey, &["general.architecture"]),
    fault("an alignment of 3", |g| g.number("general.alignment", 3), DefectKind::GgufAlignment, &["power of two"]),
    fault("an alignment of 0", |g| g.number("general.alignment", 0), DefectKind::GgufAlignment, &["power of two"]),
    fault("an alignment in words", |g| g.string("general.alignment", "32"), DefectKind::GgufAlignment, &["general.alignment"]),
    fault("an unknown architecture", |g| g.string("general.architecture", "mamba"), DefectKind::GgufArchitecture, &["mamba", "qwen3moe"]),
    fault("no architecture", |g| g.values.retain(|v| v.0 != "general.architecture"), DefectKind::GgufArchitecture, &["none"]),
    fault("experts without the number that a token uses", |g| g.number("llama.expert_count", 8), DefectKind::ConfigMissing, &["llama.expert_used_count"]),
    fault("more experts of a token than experts", |g| { g.number("llama.expert_count", 8); g.number("llama.expert_used_count", 9); }, DefectKind::ConfigValue, &["llama.expert_used_count", "at most 8", "9"]),
    fault("one of several parts", |g| g.number("split.count", 3), DefectKind::Unsupported, &["gguf-split --merge"]),
    fault("no layers key", |g| g.values.retain(|v| v.0 != "llama.block_count"), DefectKind::ConfigMissing, &["llama.block_count"]),
    fault("no layers", |g| g.number("llama.block_count", 0), DefectKind::ConfigValue, &["llama.block_count"]),
    fault("a billion layers", |g| g.number("llama.block_count", 1_000_000_000), DefectKind::ConfigValue, &["at most 4096"]),
    fault("layers in words", |g| g.string("llama.block_count", "2"), DefectKind::ConfigValue, &["a string"]),
    fault("another rotary embedding", |g| g.string("llama.rope.scaling.type", "hyper"), DefectKind::UnknownRope, &["hyper"]),
    fault("a layer too few", |g| g.number("llama.block_count", 3), DefectKind::TensorMissing, &["model.layers.2"]),
    fault("a layer too many", |g| g.number("llama.block_count", 1), DefectKind::TensorUnexpected, &["model.layers.1"]),
    fault("an unknown tensor", |g| { g.tensor("blk.0.ssm_a.weight", &[32], 0); }, DefectKind::TensorUnexpected, &["blk.0.ssm_a.weight"]),
    fault("no embedding", |g| g.tensors.retain(|t| t.name != "token_embd.weight"), DefectKind::TensorMissing, &["token_embd.weight"]),
    fault("a wrong shape", |g| { g.tensor("blk.0.attn_q.weight", &[32, 31], 0); }, DefectKind::ShapeMismatch, &["[31, 32]", "[32, 32]"]),
    fault("a type that is not read", |g| g.part("blk.0.attn_q.weight").kind = 20, DefectKind::GgufTensorType, &["IQ4_NL", "blk.0.attn_q.weight"]),
    fault("NVFP4", |g| g.part("blk.0.attn_q.weight").kind = 40, DefectKind::GgufTensorType, &["NVFP4", "Q5_K"]),
    fault("a type from the future", |g| g.part("blk.0.attn_q.weight").kind = 999, DefectKind::GgufTensorType, &["type 999"]),
    fault("rows of half blocks", |g| { g.tensor("blk.0.ffn_down.weight", &[48, 32], 8); }, DefectKind::ShapeOverflow, &["whole Q8_0 blocks"]),
    fault("no dimensions", |g| g.part("blk.0.attn_q.weight").dims.clear(), DefectKind::GgufValue, &["1 to 4 dimensions"]),
    fault("five dimensions", |g| g.part("blk.0.attn_q.weight").dims = vec![1; 5], DefectKind::GgufValue, &["5"]),
    fault("dimensions that overflow", |g| g.part("blk.0.attn_q.weight").dims = vec![1 << 40, 1 << 40], DefectKind::ShapeOverflow, &["below 2^64"]),
    fault("an offset between the lines", |g| g.part("blk.0.attn_q.weight").shift = 4, DefectKind::GgufAlignment, &["32 divides"]),
    fault("an overlap", |g| g.part("blk.1.ffn_norm.weight").shift = -64, DefectKind::Overlap, &["overlap"]),
    fault("a hole", |g| g.tensors.last_mut().unwrap().shift = 32, DefectKind::Hole, &["hole"]),
    fault("an offset of 2^63", |g| g.tensors.last_mut().unwrap().shift = i64::MIN, DefectKind::Hole, &["hole"]),
    fault("a tensor twice", |g| g.part("blk.1.ffn_norm.weight").name = "blk.1.attn_norm.weight".into(), DefectKind::DuplicateKey, &["blk.1.attn_norm.weight"]),
    fault("rotary factors of 0", |g| g.tensor("rope_freqs.weight", &[4], 0).data = Some(vec![0; 16]), DefectKind::ConfigValue, &["positive rotary factors"]),
    fault("rotary factors of the wrong number", |g| { g.tensor("rope_freqs.weight", &[3], 0); }, DefectKind::ConfigValue, &["4 positive"]),
];

#[test]
fn every_fault_has_its_defect_kind() {
    let mut wrong = Vec::new();
    for fault in FAULTS {
        let mut gguf = Gguf::llama();
        open(&gguf);
        (fault.break_it)(&mut gguf);
        let Err(error) = gguf.open() else {
            wrong.push(format!("{}: it opens", fault.name));
            continue;
        };
        let message = error.to_string();
        let lacking: Vec<_> =
            fault.words.iter().filter(|words| !message.contains(**words)).collect();
        if error.kind() != ErrorKind::BadInput
            || error.defect_kind() != Some(fault.kind)
            || !lacking.is_empty()
        {
            wrong.push(format!(
                "{}: {:?}, lacking {lacking:?}: {message}",
                fault.name,
                error.defect_kind()
            ));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn metadata_values_are_typed() {
    let mut gguf = Gguf::llama();
    let list = |kind: u32, count: u64, items: Vec<u8>| {
        [&kind.to_le_bytes()[..], &count.to_le_bytes(), &items].concat()
    };
    gguf.set("tokens", 9, list(8, 2, [text("a"), text("\u{120}b")].concat()));
    gguf.set("scores", 9, list(6, 2, [1f32.to_le_bytes(), (-2f32).to_le_bytes()].concat()));
    gguf.set("kinds", 9, list(5, 2, [(-1i32).to_le_bytes(), 3i32.to_le_bytes()].concat()));
    gguf.set("flag", 7, vec![1]);
    gguf.set("wide", 10, u64::MAX.to_le_bytes().to_vec());
    let m = open(&gguf).gguf.unwrap();
    assert_eq!(m.get_str_array("tokens").unwrap(), ["a", "\u{120}b"]);
    assert_eq!(m.get_f32_array("scores").unwrap(), [1.0, -2.0]);
    assert_eq!(m.get_i32_array("kinds").unwrap(), [-1, 3]);
    assert_eq!(
        (m.get_bool("flag"), m.get_u64("wide"), m.get_u32("wide")),
        (Some(true), Some(u64::MAX), None)
    );
    assert_eq!((m.get_str("flag"), m.get_u64("tokens"), m.get("absent")), (None, None, None));
}

/// A DeepSeek-V2 with dense layers only, in the form of newer files.
fn deepseek2() -> Gguf {
    let mut gguf = Gguf::empty("deepseek2");
    for (key, value) in [
        ("expert_count", 4),
        ("expert_used_count", 2),
        ("expert_feed_forward_length", 64),
        ("leading_dense_block_count", 2),
        ("attention.kv_lora_rank", 16),
        ("attention.key_length", 24),
        ("attention.value_length", 16),
        ("attention.key_length_mla", 20),
        ("attention.value_length_mla", 12),
        ("rope.dimension_count", 8),
    ] {
        gguf.number(&format!("deepseek2.{key}"), value);
    }
    gguf.tensors = Gguf::llama()
        .tensors
        .into_iter()
        .filter(|t| !t.name.contains("attn") || t.name.contains("attn_norm"))
        .collect();
    for layer in 0..2 {
        let shapes: [(&str, &[u64]); 6] = [
            ("attn_q", &[32, 80]),
            ("attn_kv_a_mqa", &[32, 24]),
            ("attn_kv_a_norm", &[16]),
            ("attn_k_b", &[12, 16, 4]),
            ("attn_v_b", &[16, 12, 4]),
            ("attn_output", &[48, 32]),
        ];
        for (name, dims) in shapes {
            gguf.tensor(&format!("blk.{layer}.{name}.weight"), dims, 0);
        }
    }
    gguf
}

#[test]
fn split_kv_b_becomes_two_matrices() {
    let checkpoint = open(&deepseek2());
    let mla = checkpoint.config.mla.unwrap();
    assert!(mla.split_kv_b);
    assert_eq!((mla.kv_lora_rank, mla.qk_nope_head_dim, mla.qk_rope_head_dim), (16, 12, 8));
    assert_eq!((mla.v_head_dim, mla.q_lora_rank, checkpoint.config.head_dim), (12, None, 20));
    let shape = |name: &str| {
        let name = format!("model.layers.1.self_attn.{name}.weight");
        checkpoint.inventory.get(&name).unwrap().shape.clone()
    };
    assert_eq!((shape("k_b_proj"), shape("v_b_proj")), (vec![64, 12], vec![48, 16]));
}

#[test]
fn misshapen_parts_of_kv_b_are_refused() {
    let mut gguf = deepseek2();
    gguf.tensor("blk.1.attn_k_b.weight", &[16, 12, 4], 0);
    let error = gguf.open().unwrap_err().to_string();
    assert!(error.contains("model.layers.1.self_attn.k_b_proj.weight"), "{error}");
    let mut gguf = deepseek2();
    gguf.tensor("blk.0.attn_v_b.weight", &[16, 48], 0);
    let error = gguf.open().unwrap_err().to_string();
    assert!(error.contains("blk.0.attn_v_b.weight"), "{error}");
}

//! Broken and hostile checkpoints. `FAULTS` states the expected defect kind of each fault; the
//! table in `docs/faults.md` states its exit code and the texts that its message must contain.
#![allow(clippy::print_stderr, reason = "a test")]

mod support;
#[path = "../../../tests/faults/table.rs"]
mod table;

use checkpoint::{CheckpointError, DefectKind};
use error_kind::{ErrorKind, HasKind};
use serde_json::{Value, json};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Instant;
use support::{Model, shard_bytes};

struct Fault {
    name: &'static str,
    shards: usize,
    break_it: fn(&Model),
    kind: Option<DefectKind>,
}

const fn bad(name: &'static str, break_it: fn(&Model), kind: DefectKind) -> Fault {
    Fault { name, shards: 3, break_it, kind: Some(kind) }
}

const fn absent(name: &'static str, break_it: fn(&Model)) -> Fault {
    Fault { name, shards: 3, break_it, kind: None }
}

const INDEX: &str = "model.safetensors.index.json";
const NORM: &str = "model.norm.weight";

fn second(m: &Model) -> PathBuf {
    m.shard(2, 3)
}

fn write(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
}

fn resize(path: &Path, change: i64) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    let bytes = file.metadata().unwrap().len();
    file.set_len(bytes.checked_add_signed(change).unwrap()).unwrap();
}

fn fifo(path: &Path) {
    let _ = fs::remove_file(path);
    rustix::fs::mknodat(
        rustix::fs::CWD,
        path,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
}

/// The name and the header entry of the first tensor of the second shard.
fn first_entry(m: &Model) -> (String, Value) {
    let (header, _) = support::read_shard(&second(m));
    let map = header.as_object().unwrap();
    let (name, entry) = map.iter().find(|(name, _)| *name != "__metadata__").unwrap();
    (name.clone(), entry.clone())
}

fn edit_first(m: &Model, edit: impl FnOnce(&mut Value)) {
    let (name, _) = first_entry(m);
    m.header(&second(m), |h| edit(&mut h[&name]));
}

fn length(m: &Model, length: u64) {
    let path = second(m);
    let mut bytes = fs::read(&path).unwrap();
    bytes[..8].copy_from_slice(&length.to_le_bytes());
    write(&path, &bytes);
}

fn config(m: &Model, key: &str, value: Value) {
    m.config(|c| drop(c.insert(key.into(), value)));
}

/// Adds a tensor of `bytes` zero bytes to the second shard and to the index.
fn add_tensor(m: &Model, name: &str, dtype: &str, shape: &[usize], bytes: usize) {
    let path = second(m);
    let (mut header, mut data) = support::read_shard(&path);
    let at = data.len();
    header[name] = json!({ "dtype": dtype, "shape": shape, "data_offsets": [at, at + bytes] });
    data.resize(at + bytes, 0);
    write(&path, &shard_bytes(&header.to_string(), &data));
    m.index(|map| drop(map.insert(name.into(), "model-00002-of-00003.safetensors".into())));
}

/// The shard that stores a tensor.
fn shard_of(m: &Model, name: &str) -> PathBuf {
    let holds = |shard: &usize| !support::read_shard(&m.shard(*shard, 3)).0[name].is_null();
    m.shard((1..=3).find(holds).unwrap(), 3)
}

fn change_entry(m: &Model, name: &str, change: impl FnOnce(&mut Value)) {
    m.header(&shard_of(m, name), |header| change(&mut header[name]));
}

fn rename(m: &Model, name: &str, to: &str) {
    m.header(&shard_of(m, name), |header| {
        let entry = header.remove(name).unwrap();
        header.insert(to.to_owned(), entry);
    });
    m.index(|map| {
        let shard = map.remove(name).unwrap();
        map.insert(to.to_owned(), shard);
    });
}

/// Replaces the model by one with further settings.
fn replace(m: &Model, settings: Value) {
    let Value::Object(settings) = settings else { panic!("an object") };
    m.config(|config| config.extend(settings));
    let other = Model::of(&m.json("config.json"), 3);
    fs::remove_dir_all(&m.folder).unwrap();
    fs::rename(&other.folder, &m.folder).unwrap();
}

/// Replaces the model by one in block FP8, then edits its quantization settings.
fn fp8(m: &Model, edit: impl FnOnce(&mut Value)) {
    let settings = json!({ "quant_method": "fp8", "weight_block_size": [128, 128] });
    replace(m, json!({ "quantization_config": settings }));
    m.config(|config| edit(&mut config["quantization_config"]));
}

/// Replaces the model by a Qwen3 with four experts in each layer.
fn qwen3_moe(m: &Model) {
    replace(
        m,
        json!({
            "architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "head_dim": 8,
            "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16
        }),
    );
}

/// Replaces the model by a gpt-oss with four experts in MXFP4, then edits its quantization
/// settings.
fn gpt_oss(m: &Model, edit: impl FnOnce(&mut Value)) {
    replace(
        m,
        json!({
            "architectures": ["GptOssForCausalLM"], "model_type": "gpt_oss", "head_dim": 8,
            "intermediate_size": 32, "num_local_experts": 4, "num_experts_per_tok": 2,
            "quantization_config": { "quant_method": "mxfp4" }
        }),
    );
    m.config(|config| edit(&mut config["quantization_config"]));
}

const SCALES: &str = "model.layers.0.mlp.up_proj.weight_scale_inv";

#[rustfmt::skip]
const FAULTS: &[Fault] = &[
    // Faults of the files.
    absent("no config.json", |m| fs::remove_file(m.path("config.json")).unwrap()),
    absent("a shard is absent", |m| fs::remove_file(second(m)).unwrap()),
    absent("a shard is a dangling link", |m| {
        fs::remove_file(second(m)).unwrap();
        symlink("../../blobs/deadbeef", second(m)).unwrap();
    }),
    absent("config.json is a dangling link", |m| {
        fs::remove_file(m.path("config.json")).unwrap();
        symlink("nowhere", m.path("config.json")).unwrap();
    }),
    absent("a download has not finished", |m| {
        let path = second(m);
        fs::rename(&path, path.with_extension("safetensors.incomplete")).unwrap();
    }),
    absent("nothing but a configuration", |m| {
        for n in 1..=3 {
            fs::remove_file(m.shard(n, 3)).unwrap();
        }
        fs::remove_file(m.path(INDEX)).unwrap();
    }),
    Fault { name: "a shard is a link to itself", shards: 3, break_it: |m| {
        fs::remove_file(second(m)).unwrap();
        symlink("model-00002-of-00003.safetensors", second(m)).unwrap();
    }, kind: None },
    bad("a shard's name is too long", |m| m.index(|map| map[NORM] = format!("{}.safetensors", "n".repeat(5000)).into()),
        DefectKind::ShardNameEscapes),
    bad("a shard is a FIFO that nobody writes", |m| fifo(&second(m)), DefectKind::NotRegularFile),
    bad("config.json is a FIFO", |m| fifo(&m.path("config.json")), DefectKind::NotRegularFile),
    bad("the index is a FIFO", |m| fifo(&m.path(INDEX)), DefectKind::NotRegularFile),
    bad("a shard is a folder", |m| {
        fs::remove_file(second(m)).unwrap();
        fs::create_dir(second(m)).unwrap();
    }, DefectKind::NotRegularFile),
    bad("a shard is a device", |m| {
        fs::remove_file(second(m)).unwrap();
        symlink("/dev/zero", second(m)).unwrap();
    }, DefectKind::NotRegularFile),
    bad("a shard is an LFS pointer", |m| write(&second(m),
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 4976698672\n"),
        DefectKind::LfsPointer),
    bad("config.json is an LFS pointer", |m| write(&m.path("config.json"), b"version https://git-lfs.github.com/spec/v1\n"),
        DefectKind::LfsPointer),
    bad("weights are pickles", |m| {
        for n in 1..=3 {
            fs::remove_file(m.shard(n, 3)).unwrap();
        }
        fs::rename(m.path(INDEX), m.path("pytorch_model.bin")).unwrap();
    }, DefectKind::Pickle),
    // Faults of the index.
    bad("no index over several shards", |m| fs::remove_file(m.path(INDEX)).unwrap(), DefectKind::IndexMissing),
    bad("two indexes", |m| assert!(fs::copy(m.path(INDEX), m.path("model.fp16.safetensors.index.json")).is_ok()),
        DefectKind::SeveralIndexes),
    bad("an index of shards that went, beside a single file", |m| {
        for n in 1..=3 {
            fs::remove_file(m.shard(n, 3)).unwrap();
        }
        let single = Model::new(1);
        fs::copy(single.path("model.safetensors"), m.path("model.safetensors")).unwrap();
    }, DefectKind::IndexStale),
    bad("the index is no JSON", |m| write(&m.path(INDEX), b"{\"weight_map\": {"), DefectKind::NotJson),
    bad("the index is a list", |m| write(&m.path(INDEX), b"[]"), DefectKind::NotJson),
    bad("no weight_map", |m| write(&m.path(INDEX), b"{\"metadata\": {}}"), DefectKind::WrongType),
    bad("weight_map is empty", |m| write(&m.path(INDEX), b"{\"weight_map\": {}}"), DefectKind::IndexStale),
    bad("weight_map has numbers", |m| write(&m.path(INDEX), b"{\"weight_map\": {\"a\": 1}}"), DefectKind::NotJson),
    bad("a tensor twice in weight_map", |m| write(&m.path(INDEX),
        b"{\"weight_map\": {\"a\": \"x.safetensors\", \"a\": \"y.safetensors\"}}"), DefectKind::DuplicateKey),
    bad("weight_map twice", |m| write(&m.path(INDEX), b"{\"weight_map\": {}, \"weight_map\": {}}"), DefectKind::DuplicateKey),
    bad("a shard's name climbs out", |m| m.index(|map| map[NORM] = "../secret.safetensors".into()), DefectKind::ShardNameEscapes),
    bad("a shard's name is absolute", |m| m.index(|map| map[NORM] = "/etc/passwd.safetensors".into()), DefectKind::ShardNameEscapes),
    bad("a shard's name has a folder", |m| m.index(|map| map[NORM] = "original/x.safetensors".into()), DefectKind::ShardNameEscapes),
    bad("a shard's name holds a NUL", |m| m.index(|map| map[NORM] = "x\0.safetensors".into()), DefectKind::ShardNameEscapes),
    bad("the index names a pickle", |m| m.index(|map| map[NORM] = "pytorch_model.bin".into()), DefectKind::Pickle),
    bad("the index names something else", |m| m.index(|map| map[NORM] = "config.json".into()), DefectKind::WrongType),
    bad("a tensor is mapped to the wrong shard", |m| m.index(|map| map[NORM] = "model-00001-of-00003.safetensors".into()),
        DefectKind::IndexContradicted),
    bad("the index names a tensor that no shard has", |m| m.index(|map| drop(map.insert("ghost".into(), "model-00001-of-00003.safetensors".into()))),
        DefectKind::IndexStale),
    bad("the index forgets a tensor", |m| m.index(|map| drop(map.remove(NORM))), DefectKind::IndexStale),
    bad("a tensor in two shards", |m| {
        let path = second(m);
        let (mut header, mut data) = support::read_shard(&path);
        let at = data.len();
        header[NORM] = json!({ "dtype": "BF16", "shape": [32], "data_offsets": [at, at + 64] });
        data.resize(at + 64, 0);
        write(&path, &shard_bytes(&header.to_string(), &data));
    }, DefectKind::TensorInTwoShards),
    // Faults of a shard's header: its length and its JSON.
    bad("an empty shard", |m| write(&second(m), b""), DefectKind::HeaderTruncated),
    bad("a shard of seven bytes", |m| write(&second(m), b"1234567"), DefectKind::HeaderTruncated),
    bad("header length 0", |m| length(m, 0), DefectKind::HeaderLength),
    bad("header length 1", |m| length(m, 1), DefectKind::HeaderLength),
    bad("header length 2^63", |m| length(m, 1 << 63), DefectKind::HeaderLength),
    bad("header length 2^64 - 1", |m| length(m, u64::MAX), DefectKind::HeaderLength),
    bad("header length 2^64 - 8", |m| length(m, u64::MAX - 7), DefectKind::HeaderLength),
    bad("header length 101 MB in a small file", |m| length(m, 101_000_000), DefectKind::HeaderTruncated),
    bad("a header of zeros, 101 MB", |m| {
        write(&second(m), &101_000_000u64.to_le_bytes());
        resize(&second(m), 101_000_000);
    }, DefectKind::HeaderNotJson),
    bad("a header that is cut", |m| resize(&second(m), -(fs::metadata(second(m)).unwrap().len() as i64) + 50), DefectKind::HeaderTruncated),
    bad("a header that is text", |m| m.header_text(&second(m), "hello there"), DefectKind::HeaderNotJson),
    bad("a header with half an object", |m| m.header_text(&second(m), "{\"a\": {\"dtype\""), DefectKind::HeaderNotJson),
    bad("a header with text behind the object", |m| m.header_text(&second(m), "{} x"), DefectKind::HeaderNotJson),
    bad("a header with invalid UTF-8", |m| {
        let path = second(m);
        let mut bytes = fs::read(&path).unwrap();
        bytes[10] = 0xff;
        write(&path, &bytes);
    }, DefectKind::HeaderNotJson),
    bad("a header of a million brackets", |m| m.header_text(&second(m), &format!("{{\"a\": {}", "[".repeat(1_000_000))), DefectKind::HeaderNotJson),
    bad("a metadata bomb of nested lists", |m| m.header_text(&second(m), &format!("{{\"__metadata__\": {}", "[".repeat(1_000_000))),
        DefectKind::HeaderNotJson),
    bad("a shape of a million dimensions", |m| m.header_text(&second(m), &format!("{{\"a\": {{\"dtype\": \"U8\", \"shape\": [{}1], \"data_offsets\": [0, 1]}}}}", "1,".repeat(1_000_000))),
        DefectKind::HeaderNotJson),
    bad("a name of a megabyte", |m| m.header_text(&second(m), &format!("{{\"{}\": {{}}}}", "n".repeat(1_000_000))), DefectKind::HeaderNotJson),
    bad("a tensor twice", |m| {
        let (name, entry) = first_entry(m);
        let (header, _) = support::read_shard(&second(m));
        let text = header.to_string();
        m.header_text(&second(m), &format!("{{\"{name}\":{entry},{}", &text[1..]));
    }, DefectKind::DuplicateKey),
    bad("a key of a tensor twice", |m| m.header_text(&second(m), r#"{"a":{"dtype":"U8","dtype":"F32","shape":[1],"data_offsets":[0,1]}}"#),
        DefectKind::DuplicateKey),
    bad("metadata twice", |m| m.header_text(&second(m), r#"{"__metadata__":{},"__metadata__":{}}"#), DefectKind::DuplicateKey),
    bad("a tensor without a shape", |m| edit_first(m, |e| drop(e.as_object_mut().unwrap().remove("shape"))), DefectKind::HeaderNotJson),
    bad("a negative dimension", |m| edit_first(m, |e| e["shape"] = json!([-1, 4])), DefectKind::HeaderNotJson),
    bad("a broken dimension", |m| edit_first(m, |e| e["shape"] = json!([1.5])), DefectKind::HeaderNotJson),
    bad("three offsets", |m| edit_first(m, |e| e["data_offsets"] = json!([0, 1, 2])), DefectKind::HeaderNotJson),
    // Faults of a shard's tensors, compared with the file.
    bad("an unknown dtype", |m| edit_first(m, |e| e["dtype"] = json!("F7_E3M3")), DefectKind::UnknownDtype),
    bad("a shape that overflows", |m| edit_first(m, |e| e["shape"] = json!([u64::MAX, 2])), DefectKind::ShapeOverflow),
    bad("a size that overflows", |m| edit_first(m, |e| e["shape"] = json!([1u64 << 63, 1])), DefectKind::ShapeOverflow),
    bad("an end before the beginning", |m| edit_first(m, |e| e["data_offsets"] = json!([64, 0])), DefectKind::OffsetsInvalid),
    bad("offsets past 2^64", |m| edit_first(m, |e| {
        e["shape"] = json!([0]);
        e["data_offsets"] = json!([u64::MAX, u64::MAX]);
    }), DefectKind::OffsetsInvalid),
    bad("a shape that disagrees with the size", |m| edit_first(m, |e| e["shape"] = json!([1, 1])), DefectKind::SizeMismatch),
    bad("tensors that overlap", |m| {
        let end = first_entry(m).1["data_offsets"][1].as_u64().unwrap();
        m.header(&second(m), |h| {
            let next = h.values_mut().find(|e| e["data_offsets"][0] == end).unwrap();
            let last = next["data_offsets"][1].as_u64().unwrap();
            next["data_offsets"] = json!([end - 2, last - 2]);
        });
    }, DefectKind::Overlap),
    bad("a hole", |m| {
        let (name, _) = first_entry(m);
        m.header(&second(m), |h| drop(h.remove(&name)));
    }, DefectKind::Hole),
    bad("a truncated shard", |m| resize(&second(m), -1), DefectKind::Truncated),
    bad("a shard that lost its data", |m| {
        let (header, _) = support::read_shard(&second(m));
        write(&second(m), &shard_bytes(&header.to_string(), b""));
    }, DefectKind::Truncated),
    bad("trailing bytes", |m| resize(&second(m), 1), DefectKind::TrailingBytes),
    bad("two shards joined", |m| {
        let mut bytes = fs::read(second(m)).unwrap();
        bytes.extend(fs::read(m.shard(1, 3)).unwrap());
        write(&second(m), &bytes);
    }, DefectKind::TrailingBytes),
    // Faults of the configuration.
    bad("config.json is empty", |m| write(&m.path("config.json"), b""), DefectKind::NotJson),
    bad("config.json is a list", |m| write(&m.path("config.json"), b"[1]"), DefectKind::WrongType),
    bad("config.json is not UTF-8", |m| write(&m.path("config.json"), b"\xff\xfe{}"), DefectKind::NotJson),
    bad("config.json is a bomb", |m| write(&m.path("config.json"), "[".repeat(1_000_000).as_bytes()), DefectKind::NotJson),
    bad("config.json is huge", |m| resize(&m.path("config.json"), 17 << 20), DefectKind::TooLarge),
    bad("a key twice", |m| write(&m.path("config.json"), br#"{"hidden_size": 1, "hidden_size": 2}"#), DefectKind::DuplicateKey),
    bad("an unknown architecture", |m| config(m, "architectures", json!(["MambaForCausalLM"])), DefectKind::UnknownArchitecture),
    bad("no architecture", |m| m.config(|c| {
        c.remove("architectures");
        c.remove("model_type");
    }), DefectKind::ConfigMissing),
    bad("a hidden size in words", |m| config(m, "hidden_size", json!("32")), DefectKind::ConfigValue),
    bad("no layers", |m| config(m, "num_hidden_layers", json!(0)), DefectKind::ConfigValue),
    bad("a billion layers", |m| config(m, "num_hidden_layers", json!(1_000_000_000)), DefectKind::ConfigValue),
    bad("a negative vocabulary", |m| config(m, "vocab_size", json!(-5)), DefectKind::ConfigValue),
    bad("a broken hidden size", |m| config(m, "hidden_size", json!(32.5)), DefectKind::ConfigValue),
    bad("key heads that do not divide", |m| config(m, "num_key_value_heads", json!(3)), DefectKind::ConfigValue),
    bad("heads that do not divide", |m| config(m, "num_attention_heads", json!(5)), DefectKind::ConfigValue),
    bad("an odd head", |m| config(m, "head_dim", json!(7)), DefectKind::ConfigValue),
    bad("an unknown activation", |m| config(m, "hidden_act", json!("relu6")), DefectKind::ConfigValue),
    bad("an eos in words", |m| config(m, "eos_token_id", json!("</s>")), DefectKind::ConfigValue),
    bad("an unknown rotary embedding", |m| config(m, "rope_scaling", json!({ "rope_type": "hyper", "factor": 2.0 })), DefectKind::UnknownRope),
    bad("a rotary embedding that lacks its factor", |m| config(m, "rope_scaling", json!({ "type": "linear" })), DefectKind::ConfigMissing),
    bad("a rotary embedding in words", |m| config(m, "rope_scaling", json!("linear")), DefectKind::ConfigValue),
    bad("a factor of 0", |m| config(m, "rope_scaling", json!({ "type": "linear", "factor": 0 })), DefectKind::ConfigValue),
    bad("long factors of the wrong number", |m| config(m, "rope_scaling", json!({ "type": "longrope", "long_factor": [1.0], "short_factor": [1.0] })),
        DefectKind::ConfigValue),
    bad("FP8 with one factor a tensor", |m| config(m, "quantization_config", json!({ "quant_method": "fp8" })), DefectKind::Quantized),
    bad("block FP8 of other blocks", |m| config(m, "quantization_config", json!({ "quant_method": "fp8", "weight_block_size": [64, 128] })), DefectKind::Quantized),
    bad("block FP8 of static activations", |m| fp8(m, |settings| settings["activation_scheme"] = json!("static")), DefectKind::Quantized),
    bad("block FP8 with an unknown setting", |m| fp8(m, |settings| settings["rotation"] = json!(true)), DefectKind::Quantized),
    bad("block FP8 without a scale", |m| {
        fp8(m, |_| ());
        rename(m, SCALES, "model.layers.0.mlp.up_proj.weight_inverse");
    }, DefectKind::TensorMissing),
    bad("block FP8 with a misshapen scale", |m| {
        fp8(m, |_| ());
        change_entry(m, SCALES, |entry| {
            entry["shape"] = json!([2, 2]);
            entry["dtype"] = json!("U8");
        });
    }, DefectKind::ShapeMismatch),
    bad("block FP8 with scales of integers", |m| {
        fp8(m, |_| ());
        change_entry(m, SCALES, |entry| entry["dtype"] = json!("I32"));
    }, DefectKind::DtypeUnusable),
    bad("scales of a matrix in bf16", |m| {
        config(m, "quantization_config", json!({ "quant_method": "fp8", "weight_block_size": [128, 128] }));
        add_tensor(m, SCALES, "F32", &[1, 1], 4);
    }, DefectKind::TensorUnexpected),
    bad("an expert is missing", |m| {
        qwen3_moe(m);
        rename(m, "model.layers.1.mlp.experts.3.up_proj.weight", "model.layers.1.mlp.experts.9.up_proj.weight");
    }, DefectKind::TensorMissing),
    bad("a misshapen expert", |m| {
        qwen3_moe(m);
        change_entry(m, "model.layers.0.mlp.experts.2.down_proj.weight", |entry| entry["shape"] = json!([16, 32]));
    }, DefectKind::ShapeMismatch),
    bad("a misshapen router", |m| {
        qwen3_moe(m);
        change_entry(m, "model.layers.0.mlp.gate.weight", |entry| entry["shape"] = json!([32, 4]));
    }, DefectKind::ShapeMismatch),
    bad("experts one by one and in one tensor", |m| {
        qwen3_moe(m);
        add_tensor(m, "model.layers.1.mlp.experts.down_proj", "BF16", &[4, 32, 16], 4 * 32 * 16 * 2);
    }, DefectKind::TensorUnexpected),
    bad("more experts a token than experts", |m| {
        qwen3_moe(m);
        config(m, "num_experts_per_tok", json!(5));
    }, DefectKind::ConfigValue),
    bad("MXFP4 with scales of the wrong size", |m| {
        gpt_oss(m, |_| ());
        change_entry(m, "model.layers.0.mlp.experts.down_proj_scales", |entry| entry["shape"] = json!([4, 1, 32]));
    }, DefectKind::ShapeMismatch),
    bad("MXFP4 with an unknown setting", |m| gpt_oss(m, |settings| settings["block_size"] = json!(16)), DefectKind::Quantized),
    bad("two quantizations", |m| {
        gpt_oss(m, |_| ());
        config(m, "compression_config", json!({ "quant_method": "fp8", "weight_block_size": [128, 128] }));
    }, DefectKind::Quantized),
    bad("bitsandbytes", |m| config(m, "quantization_config", json!({ "load_in_8bit": true })), DefectKind::Quantized),
    bad("nf4", |m| config(m, "quantization_config", json!({ "quant_method": "bitsandbytes", "load_in_4bit": true })), DefectKind::Quantized),
    bad("GPTQ", |m| config(m, "quantization_config", json!({ "quant_method": "gptq", "bits": 4 })), DefectKind::Quantized),
    bad("AWQ", |m| config(m, "quantization_config", json!({ "quant_method": "awq" })), DefectKind::Quantized),
    bad("compressed-tensors", |m| config(m, "quantization_config", json!({ "quant_method": "compressed-tensors" })), DefectKind::Quantized),
    bad("MXFP4 in a Llama", |m| config(m, "quantization_config", json!({ "quant_method": "mxfp4" })), DefectKind::Quantized),
    bad("an eos list with a word in the generation config", |m| m.set_json("generation_config.json", &json!({ "eos_token_id": [2, "x"] })),
        DefectKind::ConfigValue),
    bad("a generation config that is no JSON", |m| write(&m.path("generation_config.json"), b"{"), DefectKind::NotJson),
    // Contradictions between configuration and tensors.
    bad("a layer too few", |m| config(m, "num_hidden_layers", json!(3)), DefectKind::TensorMissing),
    bad("a layer too many", |m| config(m, "num_hidden_layers", json!(1)), DefectKind::TensorUnexpected),
    bad("another vocabulary", |m| config(m, "vocab_size", json!(65)), DefectKind::ShapeMismatch),
    bad("an untied head is missing", |m| {
        config(m, "tie_word_embeddings", json!(true));
        let tied = Model::of(&m.json("config.json"), 3);
        fs::remove_dir_all(&m.folder).unwrap();
        fs::rename(&tied.folder, &m.folder).unwrap();
        config(m, "tie_word_embeddings", json!(false));
    }, DefectKind::TensorMissing),
    bad("biases that the configuration does not know", |m| add_tensor(m, "model.layers.0.self_attn.q_proj.bias", "BF16", &[32], 64),
        DefectKind::TensorUnexpected),
    bad("bitsandbytes without saying so", |m| add_tensor(m, "model.layers.0.self_attn.q_proj.SCB", "F32", &[32], 128), DefectKind::Quantized),
    bad("block FP8 without saying so", |m| add_tensor(m, "model.layers.0.mlp.up_proj.weight_scale_inv", "F32", &[1], 4), DefectKind::Quantized),
    bad("weights of integers", |m| {
        let (name, entry) = first_entry(m);
        m.header(&second(m), |h| {
            h[&name]["dtype"] = json!("U16");
            h[&name]["shape"] = entry["shape"].clone();
        });
    }, DefectKind::DtypeUnusable),
    bad("weights of F8", |m| {
        let (name, entry) = first_entry(m);
        let mut shape: Vec<u64> = serde_json::from_value(entry["shape"].clone()).unwrap();
        let last = shape.last_mut().unwrap();
        *last *= 2;
        m.header(&second(m), |h| {
            h[&name]["dtype"] = json!("F8_E4M3");
            h[&name]["shape"] = json!(shape);
        });
    }, DefectKind::ShapeMismatch),
    bad("a tied head of another shape", |m| {
        config(m, "tie_word_embeddings", json!(true));
        m.header(&m.shard(3, 3), |h| h["lm_head.weight"]["shape"] = json!([32, 64]));
    }, DefectKind::TiedContradiction),
];

/// The error kind for an exit code in docs/faults.md.
fn kind_of(exit: u8) -> ErrorKind {
    match exit {
        65 => ErrorKind::BadInput,
        66 => ErrorKind::NotFound,
        74 => ErrorKind::Io,
        _ => panic!("no checkpoint error ends with {exit}"),
    }
}

#[test]
fn every_fault_has_the_exit_code_and_message_of_the_table() {
    assert!(FAULTS.len() >= 100, "{} faults", FAULTS.len());
    let mut wrong = Vec::new();
    let intact = Model::new(3);
    let rows = table::rows("Found before anything is allocated");
    for row in &rows {
        assert!(
            FAULTS.iter().any(|fault| fault.name == row.fault),
            "docs/faults.md: no test for {:?}",
            row.fault
        );
    }
    for fault in FAULTS {
        let row = rows.iter().find(|row| row.fault == fault.name);
        let row = row.unwrap_or_else(|| panic!("docs/faults.md: no row for {:?}", fault.name));
        let model = Model::new(fault.shards);
        model.open().unwrap_or_else(|e| panic!("before fault {:?}: {e}", fault.name));
        (fault.break_it)(&model);
        let begun = Instant::now();
        let Err(error) = model.open() else {
            wrong.push(format!("{}: opened without an error", fault.name));
            continue;
        };
        let message = error.to_string();
        let lacking: Vec<_> =
            row.words.iter().filter(|words| !message.contains(words.as_str())).collect();
        if error.kind() != kind_of(row.exit)
            || error.defect_kind() != fault.kind
            || !lacking.is_empty()
        {
            wrong.push(format!(
                "{}: {:?} {:?}, lacking {lacking:?}: {message}",
                fault.name,
                error.kind(),
                error.defect_kind()
            ));
        }
        assert!(message.len() < 2000, "{}: a message of {} bytes", fault.name, message.len());
        assert!(begun.elapsed().as_secs() < 5, "{}: {:?}", fault.name, begun.elapsed());
        intact.open().unwrap_or_else(|e| panic!("after fault {:?}: {e}", fault.name));
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn fault_names_are_unique() {
    let mut names: Vec<_> = FAULTS.iter().map(|f| f.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), FAULTS.len());
}

#[test]
fn a_file_without_permission_is_an_io_error() {
    use std::os::unix::fs::PermissionsExt;
    let model = Model::new(3);
    fs::set_permissions(second(&model), fs::Permissions::from_mode(0o0)).unwrap();
    if fs::File::open(second(&model)).is_ok() {
        eprintln!("SKIPPED: root may read files without permission");
        return;
    }
    let error = model.open().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.to_string().contains("permissions"), "{error}");
}

#[test]
fn a_missing_path_is_not_found() {
    let error = checkpoint::Checkpoint::open(Path::new("/no/such/model")).unwrap_err();
    assert!(matches!(error, CheckpointError::NotFound { .. }));
    assert!(error.to_string().contains("/no/such/model"));
}

/// If several shards are broken, the error is that of the first one, independent of thread timing.
#[test]
fn the_first_broken_shard_is_reported() {
    let model = Model::new(8);
    for n in 1..=8 {
        resize(&model.shard(n, 8), -1);
    }
    for _ in 0..20 {
        let message = model.open().unwrap_err().to_string();
        assert!(message.contains("model-00001-of-00008"), "{message}");
    }
}

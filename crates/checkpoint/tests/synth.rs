//! Tests that synthetic checkpoints can be opened and have the requested shapes and sizes.
mod support;

use checkpoint::*;
use error_kind::{ErrorKind, HasKind};
use serde_json::json;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use support::{Model, llama_config};

fn request(like: &str, shards: Option<usize>, fill: Fill, folder: PathBuf) -> SynthRequest {
    SynthRequest { like: SynthSource::parse(like), shards, fill, folder }
}

fn make(like: &str, shards: Option<usize>, folder: &Path) -> SynthReport {
    synth(&request(like, shards, Fill::Sparse, folder.to_owned()), &|_| true)
        .unwrap_or_else(|e| panic!("{like}: {e}"))
}

/// The numbers of tensors and bytes are those of the checkpoints on the Hugging Face hub.
#[test]
fn every_known_model_opens_and_has_its_size() {
    let real = [
        ("llama-3.3-70b", 723, 141_107_412_992),
        ("llama-3.1-8b", 291, 16_060_522_496),
        ("llama-3.2-1b", 146, 2_471_628_800),
        ("qwen2.5-72b", 963, 145_412_407_296),
        ("qwen3-32b", 707, 65_524_246_528),
        ("qwen3-30b-a3b", 18_867, 61_064_245_248),
        ("gpt-oss-20b", 459, 13_761_264_768),
        ("deepseek-v2.5", 29_102, 471_482_869_760u64),
        ("phi-2", 453, 5_559_367_680),
        ("phi-3-mini", 195, 7_642_159_104),
        ("smollm2-135m", 272, 269_030_016),
    ];
    let temp = tempfile::tempdir().unwrap();
    for (name, _) in PRESETS {
        let folder = temp.path().join(name);
        let made = make(name, None, &folder);
        let checkpoint = Checkpoint::open(&folder).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(checkpoint.inventory.tensors.len(), made.tensors, "{name}");
        assert_eq!(checkpoint.inventory.weights_bytes(), made.weights_bytes, "{name}");
        assert_eq!(checkpoint.notes, Vec::<String>::new(), "{name}");
        if let Some((_, tensors, bytes)) = real.iter().find(|(known, ..)| *known == name) {
            assert_eq!((made.tensors, made.weights_bytes), (*tensors, *bytes), "{name}");
        }
    }
}

#[test]
fn a_sparse_checkpoint_of_thirty_shards_takes_no_disk_space() {
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path().join("big");
    make("meta-llama/Llama-3.3-70B-Instruct", Some(30), &folder);
    let checkpoint = Checkpoint::open(&folder).unwrap();
    assert_eq!(checkpoint.inventory.shards.len(), 30);
    let on_disk: u64 = checkpoint
        .inventory
        .shards
        .iter()
        .map(|s| fs::metadata(&s.path).unwrap().blocks() * 512)
        .sum();
    assert!(on_disk < 10 << 20, "{on_disk} bytes on disk");
    let sizes: Vec<u64> = checkpoint.inventory.shards.iter().map(|s| s.bytes).collect();
    assert!(sizes.iter().max().unwrap() < &(2 * sizes.iter().min().unwrap()), "{sizes:?}");
    let begun = Instant::now();
    Checkpoint::open(&folder).unwrap();
    assert!(begun.elapsed() < Duration::from_millis(500), "723 tensors took {:?}", begun.elapsed());
}

#[test]
fn bytes_depend_on_the_seed_alone() {
    let read = |seed: u64| {
        let temp = tempfile::tempdir().unwrap();
        let (config, folder) = (temp.path().join("config.json"), temp.path().join("m"));
        let mut value = llama_config();
        value["vocab_size"] = json!(9000); // the embedding needs several noise streams
        fs::write(&config, value.to_string()).unwrap();
        let fill = Fill::Random { seed };
        synth(&request(config.to_str().unwrap(), Some(2), fill, folder.clone()), &|_| true)
            .unwrap();
        [1, 2]
            .map(|n| fs::read(folder.join(format!("model-0000{n}-of-00002.safetensors"))).unwrap())
    };
    assert_eq!(read(1), read(1));
    assert_ne!(read(1), read(2));
}

#[test]
fn random_weights_have_the_documented_mean_and_deviation() {
    for dtype in ["bfloat16", "float16", "float32"] {
        let mut value = llama_config();
        value["dtype"] = json!(dtype);
        let checkpoint = Model::of(&value, 1);
        let (header, data) = support::read_shard(&checkpoint.path("model.safetensors"));
        let numbers = |name: &str| -> Vec<f64> {
            let at = |i: usize| header[name]["data_offsets"][i].as_u64().unwrap() as usize;
            let bytes = &data[at(0)..at(1)];
            match dtype {
                "float32" => bytes
                    .chunks_exact(4)
                    .map(|b| f32::from_le_bytes(b.try_into().unwrap()).into())
                    .collect(),
                "float16" => bytes
                    .chunks_exact(2)
                    .map(|b| half::f16::from_le_bytes([b[0], b[1]]).to_f64())
                    .collect(),
                _ => bytes
                    .chunks_exact(2)
                    .map(|b| half::bf16::from_le_bytes([b[0], b[1]]).to_f64())
                    .collect(),
            }
        };
        let embedding = numbers("model.embed_tokens.weight");
        let mean = embedding.iter().sum::<f64>() / embedding.len() as f64;
        let deviation = (embedding.iter().map(|x| (x - mean).powi(2)).sum::<f64>()
            / embedding.len() as f64)
            .sqrt();
        assert!(
            mean.abs() < 0.002 && (deviation - 0.02).abs() < 0.002,
            "{dtype}: {mean} {deviation}"
        );
        assert!(numbers("model.norm.weight").iter().all(|x| (x - 1.0).abs() < 0.15), "{dtype}");
    }
}

#[test]
fn existing_files_are_never_overwritten() {
    let model = Model::new(1);
    let before = fs::read(model.path("model.safetensors")).unwrap();
    let error = synth(&request("smollm2", None, Fill::Sparse, model.folder.clone()), &|_| true)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(error.to_string().contains("one with files in it"), "{error}");
    assert_eq!(fs::read(model.path("model.safetensors")).unwrap(), before);
    let empty = model.temp.path().join("empty");
    fs::create_dir(&empty).unwrap();
    make("smollm2", None, &empty);
    Checkpoint::open(&empty).unwrap();
}

/// A failed or interrupted write leaves no files behind.
#[test]
fn an_interrupted_write_leaves_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let (folder, written) = (temp.path().join("m"), AtomicU64::new(0));
    let stop = |bytes: u64| written.fetch_add(bytes, Ordering::Relaxed) + bytes < 30_000_000;
    let error =
        synth(&request("smollm2", Some(3), Fill::Random { seed: 1 }, folder), &stop).unwrap_err();
    assert!(
        matches!(error, CheckpointError::Io { ref source, .. } if source.kind() == std::io::ErrorKind::Interrupted)
    );
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0);
}

#[test]
fn invalid_requests_are_refused() {
    let temp = tempfile::tempdir().unwrap();
    let ask = |like: &str, shards| {
        synth(&request(like, shards, Fill::Sparse, temp.path().join("m")), &|_| true).unwrap_err()
    };
    let unknown = ask("gpt-5", None);
    assert_eq!(unknown.kind(), ErrorKind::Usage);
    assert!(unknown.to_string().contains("llama-3.3-70b"), "{unknown}");
    assert_eq!(ask("smollm2", Some(0)).kind(), ErrorKind::Usage);
    assert_eq!(ask("/no/such/config.json", None).kind(), ErrorKind::NotFound);
    // If more shards than tensors are requested, each tensor gets its own shard.
    let many = make("smollm2", Some(9999), &temp.path().join("many"));
    assert_eq!(many.shards, 272);
}

#[test]
fn identities_distinguish_models() {
    let (a, b) = (Model::new(3), Model::new(3));
    let identity = |m: &Model| m.open().unwrap().identity().unwrap();
    assert_eq!(identity(&a), identity(&b));
    assert_eq!(identity(&a).basis, DigestBasis::Header);
    let full = |m: &Model| {
        let (checkpoint, mut bytes) = (m.open().unwrap(), 0);
        let identity = checkpoint.full_identity(&mut |n| bytes += n).unwrap();
        assert_eq!(bytes, checkpoint.inventory.shards.iter().map(|s| s.bytes).sum::<u64>());
        identity
    };
    assert_eq!(full(&a), full(&b));
    // One flipped bit of a weight changes the identity from content, but not the identity from
    // headers.
    let path = b.shard(2, 3);
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();
    assert_eq!(identity(&a).digest, identity(&b).digest);
    assert_ne!(full(&a).digest, full(&b).digest);
    // The configuration is part of the identity.
    a.config(|c| drop(c.insert("rope_theta".into(), json!(20_000.0))));
    assert_ne!(identity(&a).digest, identity(&b).digest);
}

#[test]
fn mxfp4_experts_have_blocks_and_scales() {
    let config = json!({
        "architectures": ["GptOssForCausalLM"], "vocab_size": 64, "hidden_size": 64, "intermediate_size": 32, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "num_local_experts": 4, "num_experts_per_tok": 2,
        "quantization_config": { "quant_method": "mxfp4" }
    });
    let checkpoint = Model::of(&config, 1).open().unwrap();
    let get = |name: &str| {
        checkpoint.inventory.get(&format!("model.layers.0.mlp.experts.{name}")).unwrap()
    };
    assert_eq!(
        (get("gate_up_proj_blocks").shape.clone(), get("gate_up_proj_blocks").dtype),
        (vec![4, 64, 2, 16], Dtype::U8)
    );
    assert_eq!(get("down_proj_scales").shape, [4, 64, 1]);
    assert!(checkpoint.config.attention_sinks);
}

#[test]
fn random_routes_leave_holes_for_all_else() {
    let config = json!({
        "architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "hidden_act": "silu",
        "dtype": "bfloat16", "vocab_size": 512, "hidden_size": 64, "intermediate_size": 96,
        "moe_intermediate_size": 64, "num_experts": 4, "num_experts_per_tok": 2,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
        "max_position_embeddings": 256, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
        "norm_topk_prob": true, "tie_word_embeddings": false, "bos_token_id": 1, "eos_token_id": 2,
    });
    let temp = tempfile::tempdir().unwrap();
    let (file, folder) = (temp.path().join("shape.json"), temp.path().join("m"));
    fs::write(&file, config.to_string()).unwrap();
    let fill = Fill::RandomRoutes { seed: 3 };
    synth(&request(&file.display().to_string(), Some(2), fill, folder.clone()), &|_| true).unwrap();
    let inventory = Checkpoint::open(&folder).unwrap().inventory;
    let is_zero = |name: &str| {
        let entry = inventory.get(name).unwrap();
        let bytes = fs::read(&inventory.shards[entry.shard].path).unwrap();
        let at = entry.offset as usize;
        bytes[at..at + entry.bytes as usize].iter().all(|byte| *byte == 0)
    };
    for filled in [
        "model.embed_tokens.weight",
        "lm_head.weight",
        "model.norm.weight",
        "model.layers.1.mlp.gate.weight",
        "model.layers.0.input_layernorm.weight",
    ] {
        assert!(!is_zero(filled), "{filled}");
    }
    for hole in [
        "mlp.experts.3.gate_proj.weight",
        "mlp.experts.0.up_proj.weight",
        "self_attn.q_proj.weight",
    ] {
        assert!(is_zero(&format!("model.layers.1.{hole}")), "{hole}");
    }
}

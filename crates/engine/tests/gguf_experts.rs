//! Tests that mixtures of experts in GGUF files, with the experts of a layer merged into one tensor
//! or each in its own, give the bits of the same weights in safetensors files.

mod common;

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use checkpoint::{Checkpoint, Dtype};
use common::{TestLoad, bits, logits_in_chunks};
use placement::{DeviceMapMode, DtypeChoice};

/// A tensor to write: ggml's type, the row-major shape and the bytes.
struct TensorData {
    kind: u32,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

/// A GGUF file to write.
#[derive(Default)]
struct GgufWriter {
    metadata: Vec<u8>,
    keys: u64,
    tensors: BTreeMap<String, TensorData>,
}

impl GgufWriter {
    fn key(&mut self, key: &str, kind: u32, value: &[u8]) {
        self.metadata.extend((key.len() as u64).to_le_bytes());
        self.metadata.extend(key.as_bytes());
        self.metadata.extend(kind.to_le_bytes());
        self.metadata.extend(value);
        self.keys += 1;
    }

    fn text(&mut self, key: &str, value: &str) {
        let mut bytes = (value.len() as u64).to_le_bytes().to_vec();
        bytes.extend(value.as_bytes());
        self.key(key, 8, &bytes);
    }

    fn number(&mut self, key: &str, value: usize) {
        self.key(key, 4, &(value as u32).to_le_bytes());
    }

    fn real(&mut self, key: &str, value: f64) {
        self.key(key, 6, &(value as f32).to_le_bytes());
    }

    fn write(&self, path: &Path) {
        let mut out = b"GGUF".to_vec();
        out.extend(3u32.to_le_bytes());
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend(self.keys.to_le_bytes());
        out.extend(&self.metadata);
        let mut data = Vec::new();
        for (name, tensor) in &self.tensors {
            out.extend((name.len() as u64).to_le_bytes());
            out.extend(name.as_bytes());
            out.extend((tensor.shape.len() as u32).to_le_bytes());
            tensor.shape.iter().rev().for_each(|n| out.extend((*n as u64).to_le_bytes()));
            out.extend(tensor.kind.to_le_bytes());
            out.extend((data.len() as u64).to_le_bytes());
            data.extend(&tensor.bytes);
            data.resize(data.len().next_multiple_of(32), 0);
        }
        out.resize(out.len().next_multiple_of(32), 0);
        out.extend(data);
        std::fs::write(path, out).expect("write a GGUF file");
    }
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(name)
}

/// The tensors of a checkpoint's only shard by name.
fn tensors(checkpoint: &Checkpoint) -> BTreeMap<String, TensorData> {
    let file = File::open(&checkpoint.inventory.shards[0].path).expect("open the shard");
    let read = |tensor: &checkpoint::TensorEntry| {
        let mut bytes = vec![0; tensor.bytes as usize];
        file.read_exact_at(&mut bytes, tensor.offset).expect("read a tensor");
        let kind = if tensor.dtype == Dtype::BF16 { 30 } else { 0 };
        (tensor.name.clone(), TensorData { kind, shape: tensor.shape.clone(), bytes })
    };
    checkpoint.inventory.tensors.iter().map(read).collect()
}

/// The same tensor as f32, as GGUF files have norms, biases and routers.
fn widened(tensor: &TensorData) -> TensorData {
    let words = tensor.bytes.chunks_exact(2).flat_map(|b| [0, 0, b[0], b[1]]).collect();
    TensorData { kind: 0, shape: tensor.shape.clone(), bytes: words }
}

/// One tensor `[experts, ..]` of the tensors of all experts.
fn merged(parts: &[TensorData]) -> TensorData {
    let mut shape = parts[0].shape.clone();
    shape.insert(0, parts.len());
    let bytes = parts.iter().flat_map(|part| part.bytes.clone()).collect();
    TensorData { kind: parts[0].kind, shape, bytes }
}

/// The hyper-parameters that all these models have.
fn header(checkpoint: &Checkpoint, architecture: &str) -> GgufWriter {
    let config = &checkpoint.config;
    let moe = config.moe.expect("a mixture of experts");
    let mut file = GgufWriter::default();
    file.text("general.architecture", architecture);
    for (key, value) in [
        ("block_count", config.layers),
        ("context_length", config.max_positions),
        ("embedding_length", config.hidden_size),
        ("feed_forward_length", config.intermediate_size),
        ("attention.head_count", config.heads),
        ("attention.head_count_kv", config.kv_heads),
        ("attention.key_length", config.head_dim),
        ("expert_count", moe.experts),
        ("expert_used_count", moe.experts_per_token),
        ("expert_feed_forward_length", moe.intermediate_size),
    ] {
        file.number(&format!("{architecture}.{key}"), value);
    }
    let checkpoint::NormKind::Rms { eps } = config.norm else { panic!("an RMSNorm") };
    let epsilon = format!("{architecture}.attention.layer_norm_rms_epsilon");
    file.real(&epsilon, f64::from(eps));
    file.real(&format!("{architecture}.rope.freq_base"), config.rope.theta);
    file
}

/// The GGUF name of a tensor outside of the experts.
fn plain_name(name: &str, norm_before_experts: &str) -> String {
    let name = name
        .replace("model.embed_tokens", "token_embd")
        .replace("lm_head", "output")
        .replace("model.norm", "output_norm")
        .replace("model.layers.", "blk.")
        .replace("input_layernorm", "attn_norm")
        .replace("post_attention_layernorm", norm_before_experts)
        .replace("self_attn.sinks", "attn_sinks.weight")
        .replace("self_attn.o_proj", "attn_output")
        .replace("self_attn.", "attn_")
        .replace("_proj", "");
    name.replace("mlp.gate.", "ffn_gate_inp.").replace("mlp.router.", "ffn_gate_inp.")
}

fn logits(path: &Path, dtype: DtypeChoice) -> Vec<u32> {
    logits_of(path, TestLoad { dtype, ..TestLoad::default() })
}

fn logits_of(path: &Path, load: TestLoad) -> Vec<u32> {
    let mut loaded = load.load(path).expect("load the model");
    let tokens: Vec<u32> = (0..40).map(|i| 3 + i * 37 % 120).collect();
    bits(&logits_in_chunks(&mut loaded, &tokens, &[27]))
}

/// Asserts that a GGUF file gives the bits of a checkpoint.
fn compare(folder: &Path, file: &Path, what: &str) {
    for dtype in [DtypeChoice::Auto, DtypeChoice::F32] {
        let expected = logits(folder, dtype);
        assert!(logits(file, dtype) == expected, "{what}, {dtype:?}");
        let mode = DeviceMapMode::Disk;
        let disk =
            TestLoad { dtype, mode, expert_cache_bytes: Some(64 << 10), ..TestLoad::default() };
        assert!(logits_of(file, disk) == expected, "{what}, {dtype:?}, experts on disk");
    }
}

#[test]
fn merged_and_split_experts_give_the_bits_of_safetensors() {
    let folder = tempfile::TempDir::new().expect("create a temporary folder");
    let checkpoint = Checkpoint::open(&golden("qwen3-moe")).expect("open the checkpoint");
    let experts = checkpoint.config.moe.expect("a mixture of experts").experts;
    for merge in [true, false] {
        let mut file = header(&checkpoint, "qwen3moe");
        let mut all = tensors(&checkpoint);
        for layer in 0..checkpoint.config.layers {
            for part in ["gate", "up", "down"] {
                let parts: Vec<TensorData> = (0..experts)
                    .map(|j| format!("model.layers.{layer}.mlp.experts.{j}.{part}_proj.weight"))
                    .map(|name| all.remove(&name).expect("an expert"))
                    .collect();
                if merge {
                    let name = format!("blk.{layer}.ffn_{part}_exps.weight");
                    file.tensors.insert(name, merged(&parts));
                    continue;
                }
                for (j, part_of_expert) in parts.into_iter().enumerate() {
                    let name = format!("blk.{layer}.ffn_{part}.{j}.weight");
                    file.tensors.insert(name, part_of_expert);
                }
            }
        }
        for (name, tensor) in &all {
            // Routers stay bf16 here, since the dtype of weights decides how activations are
            // rounded.
            let vector = tensor.shape.len() == 1;
            let tensor = if vector { widened(tensor) } else { widened(tensor).as_bf16(tensor) };
            file.tensors.insert(plain_name(name, "ffn_norm"), tensor);
        }
        let path = folder.path().join(format!("merged-{merge}.gguf"));
        file.write(&path);
        compare(&golden("qwen3-moe"), &path, &format!("merged: {merge}"));
    }
}

impl TensorData {
    /// The bf16 tensor `stored` again.
    fn as_bf16(&self, stored: &TensorData) -> TensorData {
        TensorData { kind: 30, shape: self.shape.clone(), bytes: stored.bytes.clone() }
    }
}

#[test]
fn mxfp4_gives_the_bits_of_blocks_and_scales() {
    let folder = tempfile::TempDir::new().expect("create a temporary folder");
    let checkpoint = Checkpoint::open(&golden("gpt-oss")).expect("open the checkpoint");
    let config = &checkpoint.config;
    let mut file = header(&checkpoint, "gpt-oss");
    file.number("gpt-oss.attention.sliding_window", config.sliding_window.expect("a window"));
    file.text("gpt-oss.rope.scaling.type", "yarn");
    file.real("gpt-oss.rope.scaling.factor", 8.0);
    file.number("gpt-oss.rope.scaling.original_context_length", 32);
    let mut all = tensors(&checkpoint);
    for layer in 0..config.layers {
        let mut take = |part: &str| {
            let name = format!("model.layers.{layer}.mlp.experts.{part}");
            all.remove(&name).expect("a tensor of the experts")
        };
        let blk = |part: &str, kind: &str| format!("blk.{layer}.ffn_{part}_exps.{kind}");
        for (source, parts) in [("gate_up_proj", &["gate", "up"][..]), ("down_proj", &["down"])] {
            let (blocks, scales) =
                (take(&format!("{source}_blocks")), take(&format!("{source}_scales")));
            let bias = widened(&take(&format!("{source}_bias")));
            for (index, part) in parts.iter().enumerate() {
                let weight = joined(&blocks, &scales, index, parts.len());
                file.tensors.insert(blk(part, "weight"), weight);
                let step = parts.len();
                let numbers = bias.bytes.chunks_exact(4).skip(index).step_by(step);
                let shape = vec![bias.shape[0], bias.shape[1] / step];
                let bytes = numbers.flatten().copied().collect();
                file.tensors.insert(blk(part, "bias"), TensorData { kind: 0, shape, bytes });
            }
        }
    }
    for (name, tensor) in &all {
        let plain =
            if tensor.shape.len() == 1 { widened(tensor) } else { widened(tensor).as_bf16(tensor) };
        file.tensors.insert(plain_name(name, "post_attention_norm"), plain);
    }
    let path = folder.path().join("gpt-oss.gguf");
    file.write(&path);
    compare(&golden("gpt-oss"), &path, "MXFP4");
}

/// Rows `first`, `first + step`, ... of every expert's rows in GGUF's form of MXFP4: blocks of one
/// scale and 16 bytes, whose low nibbles are the first 16 elements.
fn joined(blocks: &TensorData, scales: &TensorData, first: usize, step: usize) -> TensorData {
    let [experts, rows, groups, _] = blocks.shape[..] else { panic!("blocks of four dimensions") };
    let mut bytes = Vec::new();
    for row in 0..experts * rows {
        if row % rows % step != first {
            continue;
        }
        for group in row * groups..(row + 1) * groups {
            let stored = &blocks.bytes[group * 16..(group + 1) * 16];
            let code = |i: usize| stored[i / 2] >> (4 * (i % 2)) & 15;
            bytes.push(scales.bytes[group]);
            bytes.extend((0..16).map(|i| code(i) | code(i + 16) << 4));
        }
    }
    TensorData { kind: 39, shape: vec![experts, rows / step, groups * 32], bytes }
}

//! Small checkpoints that tests can modify.
#![allow(dead_code)]
use checkpoint::*;
use serde_json::{Map, Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A checkpoint in a temporary folder, by default a Llama with two layers and four heads.
pub struct Model {
    pub temp: TempDir,
    pub folder: PathBuf,
}

pub fn llama_config() -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 64, "hidden_size": 32,
        "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": 128, "rms_norm_eps": 1e-5, "dtype": "bfloat16", "eos_token_id": 2
    })
}

impl Model {
    /// The small Llama with random weights, in `shards` shards.
    pub fn new(shards: usize) -> Self {
        Self::of(&llama_config(), shards)
    }

    pub fn of(config: &Value, shards: usize) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let (file, folder) = (temp.path().join("like.json"), temp.path().join("model"));
        fs::write(&file, config.to_string()).unwrap();
        let like = SynthSource::Config(file);
        let request = SynthRequest {
            like,
            shards: Some(shards),
            fill: Fill::Random { seed: 7 },
            folder: folder.clone(),
        };
        synth(&request, &|_| true).unwrap_or_else(|e| panic!("{e}"));
        Model { temp, folder }
    }

    pub fn open(&self) -> Result<Checkpoint, CheckpointError> {
        Checkpoint::open(&self.folder)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub fn shard(&self, n: usize, of: usize) -> PathBuf {
        self.path(&format!("model-{n:05}-of-{of:05}.safetensors"))
    }

    pub fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&fs::read(self.path(name)).unwrap()).unwrap()
    }

    pub fn set_json(&self, name: &str, value: &Value) {
        fs::write(self.path(name), value.to_string()).unwrap();
    }

    /// Edits `config.json`.
    pub fn config(&self, change: impl FnOnce(&mut Map<String, Value>)) {
        let mut value = self.json("config.json");
        change(value.as_object_mut().unwrap());
        self.set_json("config.json", &value);
    }

    /// Edits the `weight_map` of the index.
    pub fn index(&self, change: impl FnOnce(&mut Map<String, Value>)) {
        let name = "model.safetensors.index.json";
        let mut value = self.json(name);
        change(value["weight_map"].as_object_mut().unwrap());
        self.set_json(name, &value);
    }

    /// Edits the header of a shard and keeps the shard's data.
    pub fn header(&self, shard: &Path, change: impl FnOnce(&mut Map<String, Value>)) {
        let (mut header, data) = read_shard(shard);
        change(header.as_object_mut().unwrap());
        fs::write(shard, shard_bytes(&header.to_string(), &data)).unwrap();
    }

    /// Replaces the header of a shard by a text.
    pub fn header_text(&self, shard: &Path, text: &str) {
        let (_, data) = read_shard(shard);
        fs::write(shard, shard_bytes(text, &data)).unwrap();
    }
}

pub fn read_shard(path: &Path) -> (Value, Vec<u8>) {
    let bytes = fs::read(path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    (serde_json::from_slice(&bytes[8..8 + length]).unwrap(), bytes[8 + length..].to_vec())
}

pub fn shard_bytes(header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

/// The content of a GGUF file to write.
#[derive(Clone)]
pub struct Gguf {
    pub magic: [u8; 4],
    pub version: u32,
    pub values: Vec<(String, u32, Vec<u8>)>,
    pub tensors: Vec<GgufPart>,
    pub alignment: usize,
    pub cut: usize,
    pub extra: usize,
}

#[derive(Clone)]
pub struct GgufPart {
    pub name: String,
    pub dims: Vec<u64>,
    pub kind: u32,
    pub bytes: usize,
    pub shift: i64,
    pub data: Option<Vec<u8>>,
}

pub fn text(s: &str) -> Vec<u8> {
    let mut bytes = (s.len() as u64).to_le_bytes().to_vec();
    bytes.extend(s.as_bytes());
    bytes
}

impl Gguf {
    /// The small Llama of [`Model::new`] as GGUF, with F32 weights.
    pub fn llama() -> Self {
        let mut gguf = Gguf::empty("llama");
        gguf.tensor("token_embd.weight", &[32, 64], 0);
        gguf.tensor("output_norm.weight", &[32], 0);
        gguf.tensor("output.weight", &[32, 64], 0);
        for layer in 0..2 {
            let shapes: [(&str, &[u64]); 9] = [
                ("attn_norm", &[32]),
                ("attn_q", &[32, 32]),
                ("attn_k", &[32, 16]),
                ("attn_v", &[32, 16]),
                ("attn_output", &[32, 32]),
                ("ffn_norm", &[32]),
                ("ffn_gate", &[32, 48]),
                ("ffn_up", &[32, 48]),
                ("ffn_down", &[48, 32]),
            ];
            for (name, dims) in shapes {
                gguf.tensor(&format!("blk.{layer}.{name}.weight"), dims, 0);
            }
        }
        gguf
    }

    /// The hyper-parameters of the small Llama under the keys of another architecture, without
    /// tensors.
    pub fn empty(arch: &str) -> Self {
        let mut gguf = Gguf {
            magic: *b"GGUF",
            version: 3,
            values: vec![],
            tensors: vec![],
            alignment: 32,
            cut: 0,
            extra: 0,
        };
        gguf.string("general.architecture", arch);
        for (key, value) in [
            ("embedding_length", 32),
            ("block_count", 2),
            ("attention.head_count", 4),
            ("attention.head_count_kv", 2),
            ("feed_forward_length", 48),
            ("context_length", 128),
        ] {
            gguf.number(&format!("{arch}.{key}"), value);
        }
        gguf.float(&format!("{arch}.attention.layer_norm_rms_epsilon"), 1e-5);
        gguf
    }

    pub fn number(&mut self, key: &str, value: u32) {
        self.set(key, 4, value.to_le_bytes().to_vec());
    }

    pub fn float(&mut self, key: &str, value: f32) {
        self.set(key, 6, value.to_le_bytes().to_vec());
    }

    pub fn string(&mut self, key: &str, value: &str) {
        self.set(key, 8, text(value));
    }

    pub fn set(&mut self, key: &str, kind: u32, bytes: Vec<u8>) {
        self.values.retain(|(k, ..)| k != key);
        self.values.push((key.to_owned(), kind, bytes));
    }

    pub fn tensor(&mut self, name: &str, dims: &[u64], kind: u32) -> &mut GgufPart {
        let elements: u64 = dims.iter().product();
        let bytes = match kind {
            0 => elements * 4,
            1 | 30 => elements * 2,
            8 => elements / 32 * 34,
            3 => elements / 32 * 20,
            _ => elements,
        } as usize;
        self.tensors.retain(|t| t.name != name);
        self.tensors.push(GgufPart {
            name: name.into(),
            dims: dims.into(),
            kind,
            bytes,
            shift: 0,
            data: None,
        });
        self.tensors.last_mut().unwrap()
    }

    pub fn part(&mut self, name: &str) -> &mut GgufPart {
        self.tensors.iter_mut().find(|t| t.name == name).unwrap()
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut out = self.magic.to_vec();
        out.extend(self.version.to_le_bytes());
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.values.len() as u64).to_le_bytes());
        for (key, kind, bytes) in &self.values {
            out.extend(text(key));
            out.extend(kind.to_le_bytes());
            out.extend(bytes);
        }
        let mut data = Vec::new();
        for t in &self.tensors {
            data.resize(usize::next_multiple_of(data.len(), self.alignment), 0u8);
            out.extend(text(&t.name));
            out.extend((t.dims.len() as u32).to_le_bytes());
            t.dims.iter().for_each(|d| out.extend(d.to_le_bytes()));
            out.extend(t.kind.to_le_bytes());
            out.extend((data.len() as u64).wrapping_add_signed(t.shift).to_le_bytes());
            data.extend(t.data.clone().unwrap_or_else(|| vec![0; t.bytes]));
        }
        out.resize(out.len().next_multiple_of(self.alignment), 0);
        out.extend(data);
        out.truncate(out.len() - self.cut);
        out.resize(out.len() + self.extra, 0);
        out
    }

    pub fn open(&self) -> Result<Checkpoint, CheckpointError> {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("model.gguf");
        fs::write(&path, self.bytes()).unwrap();
        Checkpoint::open(&path)
    }
}

//! GGUF files, versions 2 and 3: metadata, tensor table, and the model's shape from them. Format:
//! `github.com/ggml-org/ggml/blob/master/docs/gguf.md`. Everything is little-endian; every count is capped.
use crate::config::*;
use crate::safetensors::open_regular;
use crate::{CheckpointError, Dtype, Inventory, Rope, RopeScaling, TensorEntry};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

const STRING_BYTES_MAX: u64 = 64 << 20;
const ARRAY_ITEMS_MAX: u64 = 16 << 20;
const TENSORS_MAX: u64 = 1 << 20;
const KEYS_MAX: u64 = 1 << 16;

/// The metadata of a GGUF file.
#[derive(Debug, Clone, Default)]
pub struct GgufMetadata(BTreeMap<String, GgufValue>);

#[derive(Debug, Clone)]
enum GgufValue {
    One(Value),
    Strings(Vec<String>),
    Numbers(Vec<f64>),
}

impl GgufMetadata {
    /// A string.
    pub fn get_str(&self, key: &str) -> Option<&str> {
        match self.0.get(key)? {
            GgufValue::One(value) => value.as_str(),
            _ => None,
        }
    }

    /// A whole number.
    pub fn get_u64(&self, key: &str) -> Option<u64> {
        match self.0.get(key)? {
            GgufValue::One(value) => value.as_u64(),
            _ => None,
        }
    }

    /// A number.
    pub fn get_f64(&self, key: &str) -> Option<f64> {
        match self.0.get(key)? {
            GgufValue::One(value) => value.as_f64(),
            _ => None,
        }
    }

    /// A truth value.
    pub fn get_bool(&self, key: &str) -> Option<bool> {
        match self.0.get(key)? {
            GgufValue::One(value) => value.as_bool(),
            _ => None,
        }
    }

    /// A list of strings.
    pub fn get_str_array(&self, key: &str) -> Option<&[String]> {
        match self.0.get(key)? {
            GgufValue::Strings(list) => Some(list),
            _ => None,
        }
    }

    /// A list of numbers.
    pub fn get_f64_array(&self, key: &str) -> Option<&[f64]> {
        match self.0.get(key)? {
            GgufValue::Numbers(list) => Some(list),
            _ => None,
        }
    }

    /// A list of whole numbers.
    pub fn get_i32_array(&self, key: &str) -> Option<Vec<i32>> {
        self.get_f64_array(key).map(|list| list.iter().map(|n| *n as i32).collect())
    }
}

struct Reader<'a> {
    path: &'a Path,
    from: BufReader<File>,
    at: u64,
    file_bytes: u64,
}

impl Reader<'_> {
    fn bad(&self, expected: impl Into<String>, found: impl Into<String>) -> CheckpointError {
        CheckpointError::bad(self.path, format!("header at byte {}", self.at), expected, found)
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], CheckpointError> {
        let mut buffer = [0; N];
        self.fill(&mut buffer)?;
        Ok(buffer)
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), CheckpointError> {
        self.from.read_exact(buffer).map_err(|e| match e.kind() {
            std::io::ErrorKind::UnexpectedEof => self.bad("more bytes", "the end of the file: truncated"),
            _ => CheckpointError::io(self.path, "read the header", self.at, e),
        })?;
        self.at += buffer.len() as u64;
        Ok(())
    }

    fn u32(&mut self) -> Result<u32, CheckpointError> {
        Ok(u32::from_le_bytes(self.bytes()?))
    }

    fn u64(&mut self) -> Result<u64, CheckpointError> {
        Ok(u64::from_le_bytes(self.bytes()?))
    }

    fn count(&mut self, what: &str, max: u64) -> Result<u64, CheckpointError> {
        let count = self.u64()?;
        // Nothing takes less than a byte: a count above the file's size is garbage.
        if count > max || count > self.file_bytes {
            return Err(self.bad(format!("at most {max} {what}"), count.to_string()));
        }
        Ok(count)
    }

    fn string(&mut self) -> Result<String, CheckpointError> {
        let length = self.count("bytes in a string", STRING_BYTES_MAX)?;
        let mut buffer = vec![0; length as usize];
        self.fill(&mut buffer)?;
        Ok(String::from_utf8(buffer).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()))
    }

    fn scalar(&mut self, kind: u32) -> Result<Value, CheckpointError> {
        Ok(match kind {
            0 => u8::from_le_bytes(self.bytes()?).into(),
            1 => i8::from_le_bytes(self.bytes()?).into(),
            2 => u16::from_le_bytes(self.bytes()?).into(),
            3 => i16::from_le_bytes(self.bytes()?).into(),
            4 => self.u32()?.into(),
            5 => i32::from_le_bytes(self.bytes()?).into(),
            6 => f64::from(f32::from_le_bytes(self.bytes()?)).into(),
            7 => (u8::from_le_bytes(self.bytes()?) != 0).into(),
            8 => self.string()?.into(),
            10 => self.u64()?.into(),
            11 => i64::from_le_bytes(self.bytes()?).into(),
            12 => f64::from_le_bytes(self.bytes()?).into(),
            other => return Err(self.bad("a value type of 0 to 12", other.to_string())),
        })
    }

    fn value(&mut self) -> Result<GgufValue, CheckpointError> {
        let kind = self.u32()?;
        if kind != 9 {
            return Ok(GgufValue::One(self.scalar(kind)?));
        }
        let inner = self.u32()?;
        let count = self.count("items in an array", ARRAY_ITEMS_MAX)?;
        if inner == 8 {
            return (0..count).map(|_| self.string()).collect::<Result<_, _>>().map(GgufValue::Strings);
        }
        let number = |value: Value| match value {
            Value::Bool(truth) => f64::from(u8::from(truth)),
            other => other.as_f64().unwrap_or(f64::NAN),
        };
        (0..count).map(|_| self.scalar(inner).map(number)).collect::<Result<_, _>>().map(GgufValue::Numbers)
    }
}

type Read4 = (GgufMetadata, ModelConfig, Inventory, Vec<String>);

/// Reads the header of a GGUF file.
///
/// # Errors
/// 65 for what breaks the format or is not built, 66 or 74 if it cannot be read.
pub(crate) fn read(path: &Path) -> Result<Read4, CheckpointError> {
    let (file, shard) = open_regular(path)?;
    let mut reader = Reader { path, from: BufReader::with_capacity(1 << 20, file), at: 0, file_bytes: shard.bytes };
    let magic: [u8; 4] = reader.bytes()?;
    if &magic != b"GGUF" {
        return Err(reader.bad("the magic GGUF", format!("{magic:?}")));
    }
    let version = reader.u32()?;
    if !(2..=3).contains(&version) {
        return Err(reader.bad("GGUF version 2 or 3, little-endian", version.to_string()));
    }
    let tensor_count = reader.count("tensors", TENSORS_MAX)?;
    let key_count = reader.count("metadata keys", KEYS_MAX)?;
    let mut metadata = BTreeMap::new();
    for _ in 0..key_count {
        let key = reader.string()?;
        let value = reader.value()?;
        if metadata.insert(key.clone(), value).is_some() {
            return Err(reader.bad("each key once", format!("duplicate key {key}")));
        }
    }
    let metadata = GgufMetadata(metadata);
    let mut tensors = tensor_table(&mut reader, tensor_count, &metadata)?;
    let mut notes = Vec::new();
    let config = config(path, &metadata, &tensors, &mut notes)?;
    tensors.retain(|t| t.name != "rope_freqs.weight");
    Ok((metadata, config, Inventory::new(vec![shard], tensors), notes))
}

fn tensor_table(reader: &mut Reader, count: u64, metadata: &GgufMetadata) -> Result<Vec<TensorEntry>, CheckpointError> {
    let (mut tensors, mut names) = (Vec::new(), BTreeSet::new());
    for _ in 0..count {
        let raw_name = reader.string()?;
        let dims = reader.u32()?;
        if dims == 0 || dims > 4 {
            return Err(reader.bad(format!("1 to 4 dimensions of {raw_name}"), dims.to_string()));
        }
        let mut shape = (0..dims).map(|_| reader.u64().map(|d| d as usize)).collect::<Result<Vec<_>, _>>()?;
        shape.reverse();
        let kind = reader.u32()?;
        let dtype = dtype(kind).ok_or_else(|| {
            let expected =
                format!("tensor {raw_name} as F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K or Q6_K");
            reader.bad(expected, format!("GGML type {kind}"))
        })?;
        let row_whole = shape.last().is_some_and(|k| k.is_multiple_of(dtype.block_elements()));
        let elements = shape.iter().try_fold(1u64, |n, d| n.checked_mul(*d as u64));
        let bytes = elements.filter(|_| row_whole).and_then(|n| dtype.bytes_for(n));
        let bytes = bytes.ok_or_else(|| reader.bad(format!("a size of {raw_name} that fits"), format!("{shape:?}")))?;
        let offset = reader.u64()?;
        if !names.insert(raw_name.clone()) {
            return Err(reader.bad("each tensor once", format!("duplicate tensor {raw_name}")));
        }
        tensors.push(TensorEntry { name: hf_name(&raw_name), dtype, shape, shard: 0, offset, bytes });
    }
    let alignment = metadata.get_u64("general.alignment").unwrap_or(32).clamp(1, 1 << 20);
    let start = reader.at.next_multiple_of(alignment);
    for tensor in &mut tensors {
        let end = start.checked_add(tensor.offset).and_then(|at| at.checked_add(tensor.bytes));
        if end.is_none_or(|end| end > reader.file_bytes) {
            let found = format!(
                "offset {} and {} bytes of it in a file of {}: truncated",
                tensor.offset, tensor.bytes, reader.file_bytes
            );
            return Err(reader.bad(format!("tensor {} inside the file", tensor.name), found));
        }
        tensor.offset += start;
    }
    check_overlap(reader, &tensors)?;
    Ok(tensors)
}

fn check_overlap(reader: &Reader, tensors: &[TensorEntry]) -> Result<(), CheckpointError> {
    let mut order: Vec<&TensorEntry> = tensors.iter().collect();
    order.sort_by_key(|t| t.offset);
    match order.windows(2).find(|pair| pair[0].offset + pair[0].bytes > pair[1].offset) {
        Some(pair) => Err(reader.bad(format!("tensor {} after {}", pair[1].name, pair[0].name), "an overlap")),
        None => Ok(()),
    }
}

fn dtype(kind: u32) -> Option<Dtype> {
    use Dtype::*;
    [
        (0, F32),
        (1, F16),
        (2, Q4_0),
        (3, Q4_1),
        (6, Q5_0),
        (7, Q5_1),
        (8, Q8_0),
        (12, Q4K),
        (13, Q5K),
        (14, Q6K),
        (30, BF16),
    ]
    .into_iter()
    .find_map(|(n, dtype)| (n == kind).then_some(dtype))
}

/// The Hugging Face name of a GGUF tensor.
fn hf_name(name: &str) -> String {
    let (stem, suffix) = match name.rsplit_once('.') {
        Some((stem, suffix @ ("weight" | "bias"))) => (stem, suffix),
        _ => return name.to_owned(),
    };
    let top = [("token_embd", "model.embed_tokens"), ("output_norm", "model.norm"), ("output", "lm_head")];
    if let Some((_, hf)) = top.iter().find(|(gguf, _)| *gguf == stem) {
        return format!("{hf}.{suffix}");
    }
    let parts: Vec<&str> = stem.splitn(3, '.').collect();
    let [block, layer, part] = parts[..] else { return name.to_owned() };
    let parts = [
        ("attn_q", "self_attn.q_proj"),
        ("attn_k", "self_attn.k_proj"),
        ("attn_v", "self_attn.v_proj"),
        ("attn_output", "self_attn.o_proj"),
        ("attn_q_norm", "self_attn.q_norm"),
        ("attn_k_norm", "self_attn.k_norm"),
        ("ffn_gate", "mlp.gate_proj"),
        ("ffn_up", "mlp.up_proj"),
        ("ffn_down", "mlp.down_proj"),
        ("attn_norm", "input_layernorm"),
        ("ffn_norm", "post_attention_layernorm"),
    ];
    match parts.iter().find(|(gguf, _)| block == "blk" && *gguf == part) {
        Some((_, hf)) => format!("model.layers.{layer}.{hf}.{suffix}"),
        None => name.to_owned(),
    }
}

fn config(
    path: &Path,
    m: &GgufMetadata,
    tensors: &[TensorEntry],
    notes: &mut Vec<String>,
) -> Result<ModelConfig, CheckpointError> {
    let architecture = m.get_str("general.architecture").unwrap_or("unnamed");
    let (family, class_name) = match architecture {
        "llama" => (Family::Llama, "LlamaForCausalLM"),
        "qwen2" => (Family::Qwen2, "Qwen2ForCausalLM"),
        "qwen3" => (Family::Qwen3, "Qwen3ForCausalLM"),
        other => {
            let error = CheckpointError::bad(path, "key general.architecture", "llama, qwen2 or qwen3", other);
            return Err(
                error.with_remedy("This architecture is not built yet for GGUF files; try the safetensors form")
            );
        }
    };
    let key = |name: &str| format!("{architecture}.{name}");
    let number = |name: &str| {
        let found = m.get_u64(&key(name)).filter(|n| (1..1 << 32).contains(n)).map(|n| n as usize);
        found.ok_or_else(|| CheckpointError::bad(path, format!("key {}", key(name)), "a positive whole number", "none"))
    };
    let has = |name: &str| tensors.iter().any(|t| t.name == name);
    let (hidden_size, heads, layers) =
        (number("embedding_length")?, number("attention.head_count")?, number("block_count")?);
    let head_dim = m.get_u64(&key("attention.key_length")).map_or(hidden_size / heads, |n| n as usize);
    let kv_heads = m.get_u64(&key("attention.head_count_kv")).map_or(heads, |n| n as usize).max(1);
    let max_positions = number("context_length")?;
    let embedding = tensors.iter().find(|t| t.name == "model.embed_tokens.weight");
    let vocab_size = embedding.and_then(|t| t.shape.first().copied()).unwrap_or(0);
    if !heads.is_multiple_of(kv_heads) || layers > 4096 || heads > 4096 || vocab_size == 0 {
        return Err(CheckpointError::bad(
            path,
            "metadata",
            "the shape of a language model",
            "heads, layers or vocabulary out of range",
        ));
    }
    let token = |name: &str| m.get_u64(&format!("tokenizer.ggml.{name}")).and_then(|n| u32::try_from(n).ok());
    let mut eos: Vec<u32> = token("eos_token_id").into_iter().collect();
    eos.extend(token("eot_token_id").filter(|id| !eos.contains(id)));
    let rotary_dim = m.get_u64(&key("rope.dimension_count")).map_or(head_dim, |n| n as usize);
    let scaling = scaling(path, m, &key, max_positions, has("rope_freqs.weight"), notes)?;
    let pairing = if family == Family::Llama { Pairing::Interleaved } else { Pairing::Halves };
    Ok(ModelConfig {
        family,
        class_name: class_name.to_owned(),
        vocab_size,
        hidden_size,
        intermediate_size: number("feed_forward_length")?,
        layers,
        heads,
        kv_heads,
        head_dim,
        max_positions,
        norm: Norm::Rms { eps: m.get_f64(&key("attention.layer_norm_rms_epsilon")).unwrap_or(1e-5) as f32 },
        activation: Activation::Silu,
        rope: Rope { theta: m.get_f64(&key("rope.freq_base")).unwrap_or(10_000.0), rotary_dim, pairing, scaling },
        attention_bias: has("model.layers.0.self_attn.q_proj.bias"),
        attention_out_bias: has("model.layers.0.self_attn.o_proj.bias"),
        mlp_bias: has("model.layers.0.mlp.down_proj.bias"),
        lm_head_bias: false,
        qk_norm: if family == Family::Qwen3 { QkNorm::PerHead } else { QkNorm::None },
        block: BlockShape::Sequential,
        tie_word_embeddings: !has("lm_head.weight"),
        sliding_window: None,
        sliding_layers: vec![false; layers],
        dtype: embedding.map(|t| t.dtype),
        moe: None,
        mla: None,
        bos: token("bos_token_id"),
        pad: token("padding_token_id").or(eos.first().copied()),
        eos,
    })
}

fn scaling(
    path: &Path,
    m: &GgufMetadata,
    key: &dyn Fn(&str) -> String,
    max_positions: usize,
    has_factors: bool,
    notes: &mut Vec<String>,
) -> Result<RopeScaling, CheckpointError> {
    if has_factors {
        // llama.cpp stores llama3's per-frequency factors as a tensor; these constants are the ones it was made from.
        notes.push(
            "rope_freqs.weight is taken as Llama 3's scaling (factor 8, low 1, high 4, 8192 positions)".to_owned(),
        );
        return Ok(RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_positions: 8192,
        });
    }
    let factor = m.get_f64(&key("rope.scaling.factor")).or(m.get_f64(&key("rope.scale_linear"))).unwrap_or(1.0);
    let original = m.get_u64(&key("rope.scaling.original_context_length")).map_or(max_positions, |n| n as usize);
    match m.get_str(&key("rope.scaling.type")).unwrap_or("none") {
        "none" if factor == 1.0 => Ok(RopeScaling::None),
        "linear" | "none" => Ok(RopeScaling::Linear { factor }),
        "yarn" => Ok(RopeScaling::Yarn {
            factor,
            original_max_positions: original,
            beta_fast: 32.0,
            beta_slow: 1.0,
            attention_factor: m.get_f64(&key("rope.scaling.attn_factor")),
            mscale: None,
            mscale_all_dim: None,
            truncate: true,
        }),
        other => {
            Err(CheckpointError::bad(path, format!("key {}", key("rope.scaling.type")), "none, linear or yarn", other))
        }
    }
}

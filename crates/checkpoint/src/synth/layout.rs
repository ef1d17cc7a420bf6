//! Distributes the tensors of a synthetic checkpoint over shards, and generates headers and index.
use crate::expected_tensors::{ExpectedTensor, Requirement, TensorContent};
use crate::{Dtype, ModelConfig, expected_tensors};
use serde_json::{Map, Value, json};
use std::collections::HashSet;

/// A tensor and its position in a shard.
pub(super) struct PlannedTensor {
    pub tensor: ExpectedTensor,
    pub dtype: Dtype,
    pub bytes: u64,
    /// Offset of the tensor from the start of the shard's data section, in bytes.
    pub begin: u64,
}

/// One shard file and its tensors, in file order.
pub(super) struct PlannedShard {
    pub name: String,
    pub tensors: Vec<PlannedTensor>,
    pub bytes: u64,
}

/// Distributes a model's tensors over `count` shards of nearly equal size, none of them empty.
pub(super) fn shards(config: &ModelConfig, count: usize) -> Vec<PlannedShard> {
    let tensors = tensors(config);
    let count = count.min(tensors.len()).max(1);
    let mut bytes_left: u64 = tensors.iter().map(|t| t.bytes).sum();
    let mut tensors_left = tensors.len();
    let mut rest = tensors.into_iter();
    let mut shards = Vec::with_capacity(count);
    for at in 0..count {
        let shards_left = count - at;
        let share = bytes_left / shards_left as u64;
        let mut shard = PlannedShard { name: name(at, count), tensors: Vec::new(), bytes: 0 };
        while tensors_left >= shards_left
            && (shard.bytes < share || shard.tensors.is_empty() || shards_left == 1)
        {
            let Some(mut planned) = rest.next() else { break };
            planned.begin = shard.bytes;
            shard.bytes += planned.bytes;
            shard.tensors.push(planned);
            tensors_left -= 1;
        }
        bytes_left -= shard.bytes;
        shards.push(shard);
    }
    shards
}

/// Total bytes of all tensors of a model.
pub(super) fn total_bytes(config: &ModelConfig) -> u64 {
    tensors(config).iter().map(|t| t.bytes).sum()
}

/// Bytes of the tensors for which `fills` holds.
pub(super) fn filled_bytes(
    shards: &[PlannedShard],
    fills: &dyn Fn(&ExpectedTensor) -> bool,
) -> u64 {
    let tensors = shards.iter().flat_map(|shard| &shard.tensors);
    tensors.filter(|planned| fills(&planned.tensor)).map(|planned| planned.bytes).sum()
}

fn tensors(config: &ModelConfig) -> Vec<PlannedTensor> {
    let float = config
        .dtype
        .filter(|d| matches!(d, Dtype::F32 | Dtype::F16 | Dtype::BF16))
        .unwrap_or(Dtype::BF16);
    let expected = expected_tensors(config);
    let scaled: HashSet<String> =
        expected.iter().filter_map(|t| t.scaled_matrix().map(str::to_owned)).collect();
    let plan = |tensor: ExpectedTensor| {
        let dtype = match tensor.content {
            TensorContent::BlockScales => Dtype::F32,
            TensorContent::Weight if scaled.contains(&tensor.name) => Dtype::F8E4M3,
            TensorContent::Fp4Blocks | TensorContent::Fp4Scales => Dtype::U8,
            _ => float,
        };
        let elements: u64 = tensor.shape.iter().map(|d| *d as u64).product();
        PlannedTensor { bytes: elements * dtype.block_bytes() as u64, tensor, dtype, begin: 0 }
    };
    let stored = |t: &ExpectedTensor| t.requirement != Requirement::Tied;
    expected.into_iter().filter(stored).map(plan).collect()
}

fn name(at: usize, count: usize) -> String {
    match count {
        1 => "model.safetensors".to_owned(),
        _ => format!("model-{:05}-of-{count:05}.safetensors", at + 1),
    }
}

/// The header of a shard, including the 8-byte length, padded so that the data section starts at a
/// multiple of 8.
pub(super) fn header(shard: &PlannedShard) -> Vec<u8> {
    let mut map = Map::new();
    map.insert("__metadata__".to_owned(), json!({ "format": "pt" }));
    for t in &shard.tensors {
        let entry = json!({ "dtype": t.dtype.name(), "shape": t.tensor.shape, "data_offsets": [t.begin, t.begin + t.bytes] });
        map.insert(t.tensor.name.clone(), entry);
    }
    let mut json = Value::Object(map).to_string().into_bytes();
    json.resize(json.len().next_multiple_of(8), b' ');
    let mut header = (json.len() as u64).to_le_bytes().to_vec();
    header.extend(json);
    header
}

/// The JSON text of the index file.
pub(super) fn index(shards: &[PlannedShard]) -> String {
    let mut map = Map::new();
    for shard in shards {
        map.extend(
            shard.tensors.iter().map(|t| (t.tensor.name.clone(), Value::from(shard.name.as_str()))),
        );
    }
    let total: u64 = shards.iter().map(|s| s.bytes).sum();
    format!("{:#}\n", json!({ "metadata": { "total_size": total }, "weight_map": map }))
}

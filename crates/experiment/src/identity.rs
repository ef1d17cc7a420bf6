//! Run ids and seeds, derived from content by SHA-256: independent of clock, host and order.

use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Hash of a map: 128 bits in hex, over keys in order and values as canonical JSON.
pub(crate) fn hash_of(map: &BTreeMap<impl AsRef<str>, Value>) -> String {
    let mut hash = Hasher::new("map");
    for (key, value) in map {
        hash.part(key.as_ref()).part(&canonical(value));
    }
    hash.hex(32)
}

/// Id of a run: hash of its effective cell, model identity, dtype and seed. 80 bits: among 10^6
/// runs the probability of a collision is 10^-12.
pub(crate) fn run_id(
    cell: &BTreeMap<&'static str, Value>,
    model_identity: &str,
    dtype: &str,
    seed: u64,
) -> String {
    let mut hash = Hasher::new("run");
    for (key, value) in cell {
        hash.part(key).part(&canonical(value));
    }
    hash.part(model_identity).part(dtype).part(&seed.to_string()).hex(20)
}

/// The world's seed of a replicate. `cell` is its hash where cells are not paired.
pub(crate) fn world_seed(study_seed: u64, replicate: u64, cell: Option<&str>) -> u64 {
    Hasher::new("world")
        .part(&study_seed.to_string())
        .part(&replicate.to_string())
        .part(cell.unwrap_or(""))
        .number()
}

/// The seed for sampling the reply of one step.
pub(crate) fn sampling_seed(world_seed: u64, step: u64) -> u64 {
    Hasher::new("sampling").part(&world_seed.to_string()).part(&step.to_string()).number()
}

struct Hasher(Sha256);

impl Hasher {
    fn new(domain: &str) -> Self {
        let mut hash = Hasher(Sha256::new());
        hash.part("vendomini").part(domain);
        hash
    }

    /// Hashes the length too, so that the boundary between parts is unambiguous.
    fn part(&mut self, text: &str) -> &mut Self {
        self.0.update((text.len() as u64).to_be_bytes());
        self.0.update(text.as_bytes());
        self
    }

    fn hex(&mut self, digits: usize) -> String {
        let digest = self.0.clone().finalize();
        digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>()[..digits].to_string()
    }

    /// 53 bits, which every JSON parser represents exactly.
    fn number(&mut self) -> u64 {
        let digest = self.0.clone().finalize();
        digest[..8].iter().fold(0_u64, |value, byte| value << 8 | u64::from(*byte)) >> 11
    }
}

/// JSON with the keys of objects sorted.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let sorted: BTreeMap<&String, String> =
                map.iter().map(|(key, value)| (key, canonical(value))).collect();
            let members: Vec<String> =
                sorted.iter().map(|(k, v)| format!("{}:{v}", Value::from(k.as_str()))).collect();
            format!("{{{}}}", members.join(","))
        }
        Value::Array(items) => {
            format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(","))
        }
        other => other.to_string(),
    }
}

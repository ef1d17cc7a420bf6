//! Run ids and seeds, derived by SHA-256 from the content of a run: independent of clock, host and
//! execution order.

use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Hash of a map's keys, in sorted order, and values, as canonical JSON: 128 bits in hex.
pub(crate) fn hash_of(map: &BTreeMap<impl AsRef<str>, Value>) -> String {
    let mut hash = Hasher::new("map");
    for (key, value) in map {
        hash.part(key.as_ref()).part(&canonical(value));
    }
    hash.hex(32)
}

/// Id of a run: hash of its effective cell, model identity, dtype, seed and draw (unless that is
/// the first), 80 bits in hex. Among 10^6 runs the probability of a collision is below 10^-12.
pub(crate) fn run_id(
    cell: &BTreeMap<&'static str, Value>,
    model_identity: &str,
    dtype: &str,
    seed: u64,
    draw: u64,
) -> String {
    let mut hash = Hasher::new("run");
    for (key, value) in cell {
        hash.part(key).part(&canonical(value));
    }
    hash.part(model_identity).part(dtype).part(&seed.to_string());
    if draw > 0 {
        hash.part(&draw.to_string());
    }
    hash.hex(20)
}

/// Seed of the world in one replicate. `cell` is the cell's hash if cells are not paired; `None`
/// gives all cells the same world seed.
pub(crate) fn world_seed(study_seed: u64, replicate: u64, cell: Option<&str>) -> u64 {
    Hasher::new("world")
        .part(&study_seed.to_string())
        .part(&replicate.to_string())
        .part(cell.unwrap_or(""))
        .number()
}

/// Seed for sampling the reply of one step. The first draw of a world has the same seeds in all
/// cells; `run_id` is the run's id in further draws, which are independent between cells.
pub(crate) fn sampling_seed(world_seed: u64, run_id: Option<&str>, step: u64) -> u64 {
    let mut hash = Hasher::new("sampling");
    hash.part(&world_seed.to_string()).part(&step.to_string());
    if let Some(run_id) = run_id {
        hash.part(run_id);
    }
    hash.number()
}

/// Seed for the random numbers of a scripted operator: independent between runs, so that operators
/// in the same world do not crash at the same step.
pub(crate) fn operator_seed(run_id: &str) -> u64 {
    Hasher::new("operator").part(run_id).number()
}

struct Hasher(Sha256);

impl Hasher {
    fn new(domain: &str) -> Self {
        let mut hash = Hasher(Sha256::new());
        hash.part("vendomini").part(domain);
        hash
    }

    /// Adds a text, preceded by its length so that the boundary between texts is unambiguous.
    fn part(&mut self, text: &str) -> &mut Self {
        self.0.update((text.len() as u64).to_be_bytes());
        self.0.update(text.as_bytes());
        self
    }

    fn hex(&mut self, digits: usize) -> String {
        let digest = self.0.clone().finalize();
        digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>()[..digits].to_string()
    }

    /// The first 53 bits of the hash as an integer, which every JSON parser represents exactly.
    fn number(&mut self) -> u64 {
        let digest = self.0.clone().finalize();
        digest[..8].iter().fold(0_u64, |value, byte| value << 8 | u64::from(*byte)) >> 11
    }
}

/// The value as JSON with the keys of objects sorted.
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

//! `model.safetensors.index.json`: the map from tensor names to shards.
use crate::error::{CheckpointError, Defect, DefectKind};
use crate::json::{self, DUPLICATE};
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, de};
use std::collections::BTreeSet;
use std::path::Path;

/// Maximum size of an index, in bytes.
pub const INDEX_BYTES_MAX: u64 = 512 << 20;
const TENSORS_MAX: usize = 4 << 20;

/// The content of an index file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardIndex {
    /// File names of the shards, sorted, without duplicates.
    pub shards: Vec<String>,
    /// Pairs of tensor name and index into `shards`, sorted by name.
    pub weight_map: Vec<(String, usize)>,
    /// Total bytes of all tensors, as stated in the index's metadata.
    pub total_bytes: Option<u64>,
}

/// Parses the text of an index.
///
/// # Errors
/// A [`Defect`]: not JSON, no `weight_map`, duplicate tensors, or a shard name that is not a plain
/// file name of a safetensors file.
pub fn parse_index(file: &Path, text: &str) -> Result<ShardIndex, CheckpointError> {
    let raw: RawIndex = serde_json::from_str(text)
        .map_err(|error| json::refusal(file, DefectKind::NotJson, &error))?;
    let Some(WeightMap(mut map)) = raw.weight_map else {
        return Err(Defect::new(DefectKind::WrongType, file, "a key weight_map", "none").into());
    };
    map.sort_unstable();
    if let Some(pair) = map.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        let found = format!("it in {} and in {}", pair[0].1, pair[1].1);
        return Err(Defect::new(DefectKind::DuplicateKey, file, "each tensor once", found)
            .tensor(&pair[0].0)
            .into());
    }
    let shards: Vec<String> =
        map.iter().map(|(_, shard)| shard.clone()).collect::<BTreeSet<_>>().into_iter().collect();
    for shard in &shards {
        check_name(file, shard)?;
    }
    if shards.is_empty() {
        return Err(Defect::new(
            DefectKind::IndexStale,
            file,
            "at least one tensor",
            "an empty weight_map",
        )
        .into());
    }
    let weight_map = map
        .into_iter()
        .map(|(name, shard)| (name, shards.binary_search(&shard).unwrap_or(0)))
        .collect();
    Ok(ShardIndex { shards, weight_map, total_bytes: raw.total_bytes })
}

/// Checks that a shard name refers to a safetensors file in the folder of the index: no subfolder,
/// no `..`, no absolute path.
fn check_name(file: &Path, shard: &str) -> Result<(), CheckpointError> {
    let plain =
        !shard.contains(['/', '\\', '\0']) && shard != "." && shard != ".." && shard.len() <= 255;
    let expected = "the plain name of a .safetensors file, of at most 255 bytes";
    if !plain {
        return Err(Defect::new(
            DefectKind::ShardNameEscapes,
            file,
            expected,
            format!("{shard:?}"),
        )
        .part("weight_map")
        .into());
    }
    if !shard.ends_with(".safetensors") {
        let kind = if shard.ends_with(".bin") { DefectKind::Pickle } else { DefectKind::WrongType };
        return Err(Defect::new(kind, file, expected, format!("{shard:?}"))
            .part("weight_map")
            .into());
    }
    Ok(())
}

struct RawIndex {
    weight_map: Option<WeightMap>,
    total_bytes: Option<u64>,
}

impl<'de> Deserialize<'de> for RawIndex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(IndexVisitor)
    }
}

struct IndexVisitor;

impl<'de> Visitor<'de> for IndexVisitor {
    type Value = RawIndex;

    fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("an object with a weight_map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<RawIndex, A::Error> {
        let mut raw = RawIndex { weight_map: None, total_bytes: None };
        let mut seen = BTreeSet::new();
        while let Some(key) = access.next_key::<String>()? {
            match key.as_str() {
                "weight_map" => raw.weight_map = Some(access.next_value()?),
                "metadata" => {
                    raw.total_bytes = total_bytes(&access.next_value::<serde_json::Value>()?)
                }
                _ => drop(access.next_value::<IgnoredAny>()?),
            }
            if !seen.insert(key.clone()) {
                return Err(A::Error::custom(format!("{DUPLICATE}{key}")));
            }
        }
        Ok(raw)
    }
}

/// The value of `total_size`, which some writers store as a float.
fn total_bytes(metadata: &serde_json::Value) -> Option<u64> {
    let total = metadata.get("total_size")?;
    total.as_u64().or_else(|| {
        total.as_f64().filter(|f| *f >= 0.0 && f.fract() == 0.0 && *f < 9e15).map(|f| f as u64)
    })
}

struct WeightMap(Vec<(String, String)>);

impl<'de> Deserialize<'de> for WeightMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MapVisitor)
    }
}

struct MapVisitor;

impl<'de> Visitor<'de> for MapVisitor {
    type Value = WeightMap;

    fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("a weight_map: an object from tensors to shards")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<WeightMap, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = access.next_entry::<String, String>()? {
            if map.len() == TENSORS_MAX {
                return Err(de::Error::custom(format!("more than {TENSORS_MAX} tensors")));
            }
            map.push(entry);
        }
        Ok(WeightMap(map))
    }
}

//! [`LoadReport`]: stages, bytes planned and used, speed and smoke test of a load.

use placement::{Tier, TierPlan};
use serde::{Serialize, Serializer};
use watch::Stage;

use super::mmap::MappedShards;
use super::plan::LoadPlan;

/// The report of a load that succeeded.
#[derive(Clone, Debug, Serialize)]
pub struct LoadReport {
    /// The model's class in transformers.
    pub model_class: String,
    /// The requested dtype.
    pub dtype: String,
    /// See [`crate::Model::precision`].
    pub precision: &'static str,
    pub kernel_set: String,
    /// Threads that compute.
    pub threads: usize,
    /// `copied`, `mapped`, or `mixed` if only some shards could be memory-mapped.
    pub residency: &'static str,
    /// Shards read or mapped.
    pub shards: usize,
    pub bytes_read: u64,
    pub read_bytes_per_s: f64,
    /// In the order in which the stages ended.
    pub stages: Vec<StageSeconds>,
    pub tiers: Vec<TierUse>,
    /// Module -> tier, as accelerate's `hf_device_map`.
    #[serde(serialize_with = "as_map")]
    pub device_map: Vec<(String, Tier)>,
    pub smoke_test: SmokeTest,
}

/// The duration of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct StageSeconds {
    pub stage: Stage,
    pub seconds: f64,
}

/// Bytes of a tier, planned and used.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TierUse {
    pub tier: Tier,
    pub weights_planned_bytes: u64,
    /// Padding included.
    pub weights_bytes: u64,
    pub kv_planned_bytes: u64,
    pub kv_bytes: u64,
    pub activations_planned_bytes: u64,
    pub activations_bytes: u64,
    /// The memory of a real GPU at the end of the load.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu: Option<GpuUse>,
}

/// Memory of a GPU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GpuUse {
    pub name: String,
    /// Identifies the GPU whatever its number is.
    pub uuid: String,
    pub total_bytes: u64,
    pub free_bytes: u64,
    /// Weights, KV cache and activations as planned; compare with `allocated_bytes`.
    pub planned_bytes: u64,
    /// Memory that this process took from the driver.
    pub reserved_bytes: u64,
    /// The maximum of `reserved_bytes`; the load adds a buffer for dtype conversion.
    pub peak_reserved_bytes: u64,
    /// The part of `reserved_bytes` that is in use, padding included.
    pub allocated_bytes: u64,
    /// The limit on `reserved_bytes`: as planned, plus 1%.
    pub quota_bytes: u64,
}

/// The first inference.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SmokeTest {
    /// Tokens decoded one at a time.
    pub tokens: usize,
    /// Tokens of the prompt, computed in one pass.
    pub prompt_tokens: usize,
    pub seconds: f64,
    /// Decoded tokens a second.
    pub tok_s: f64,
    /// All logits were finite and the test ended in time. Always true in the report of a load.
    pub ok: bool,
}

fn as_map<S: Serializer>(map: &[(String, Tier)], to: S) -> Result<S::Ok, S::Error> {
    to.collect_map(map.iter().map(|(module, tier)| (module, tier)))
}

impl TierUse {
    /// The planned bytes of a tier; nothing used yet.
    pub(crate) fn planned(tier: &TierPlan) -> Self {
        TierUse {
            tier: tier.tier,
            weights_planned_bytes: tier.weights_bytes,
            weights_bytes: 0,
            kv_planned_bytes: tier.kv_bytes,
            kv_bytes: 0,
            activations_planned_bytes: tier.activations_bytes,
            activations_bytes: 0,
            gpu: None,
        }
    }
}

/// [`LoadReport::residency`].
pub(crate) fn residency(plan: &LoadPlan, mapped: &MappedShards) -> &'static str {
    match plan.resident.iter().filter(|tensor| mapped.contains(tensor)).count() {
        0 => "copied",
        all if all == plan.resident.len() => "mapped",
        _ => "mixed",
    }
}

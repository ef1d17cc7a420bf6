//! [`LoadReport`]: stages, bytes planned and used, speed and smoke test of a load.

use placement::{Tier, TierPlan};
use serde::{Serialize, Serializer};
use watch::Stage;

use super::mmap::MappedShards;
use super::plan::LoadPlan;
use crate::weights::ExpertCacheReport;

/// The report of a load that succeeded.
#[derive(Clone, Debug, Serialize)]
pub struct LoadReport {
    /// The model's class in transformers.
    pub model_class: String,
    /// The dtype as requested, for example `auto`.
    pub dtype: String,
    /// See [`crate::Model::precision`].
    pub precision: &'static str,
    pub kernel_set: String,
    /// Number of compute threads.
    pub threads: usize,
    /// `copied` (weights are read into memory), `mapped` (used in memory-mapped files), or `mixed`
    /// if only some shards could be memory-mapped.
    pub residency: &'static str,
    /// Number of shards of the checkpoint.
    pub shards: usize,
    pub bytes_read: u64,
    pub read_bytes_per_s: f64,
    /// Durations of the stages, in the order in which the stages ended.
    pub stages: Vec<StageSeconds>,
    pub tiers: Vec<TierUse>,
    /// Module -> tier, as accelerate's `hf_device_map`.
    #[serde(serialize_with = "as_map")]
    pub device_map: Vec<(String, Tier)>,
    pub smoke_test: SmokeTest,
    /// The use of the cache of routed experts by the smoke test; `None` if none are on disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expert_cache: Option<ExpertCacheReport>,
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
    /// Bytes in use, padding included.
    pub weights_bytes: u64,
    pub kv_planned_bytes: u64,
    pub kv_bytes: u64,
    pub activations_planned_bytes: u64,
    pub activations_bytes: u64,
    /// Memory of the GPU at the end of the load; `None` for tiers that are not a real GPU, and if
    /// the driver does not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu: Option<GpuUse>,
}

/// Memory of a GPU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GpuUse {
    pub name: String,
    /// Identifies the GPU independently of its number.
    pub uuid: String,
    pub total_bytes: u64,
    pub free_bytes: u64,
    /// Planned bytes of weights, KV cache and activations, for comparison with `allocated_bytes`.
    pub planned_bytes: u64,
    /// Bytes that this process has allocated from the driver.
    pub reserved_bytes: u64,
    /// Highest value of `reserved_bytes`, which includes the buffer for dtype conversion during the
    /// load.
    pub peak_reserved_bytes: u64,
    /// The part of `reserved_bytes` that is in use, padding included.
    pub allocated_bytes: u64,
    /// Limit on `reserved_bytes`: the planned bytes plus 1% and 4 MiB.
    pub quota_bytes: u64,
}

/// Result of the smoke test, a model's first inference.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SmokeTest {
    /// Tokens decoded one at a time.
    pub tokens: usize,
    /// Tokens of the prompt, computed in one pass.
    pub prompt_tokens: usize,
    pub seconds: f64,
    /// Decoded tokens per second.
    pub tok_s: f64,
    /// All logits were finite and the test ended in time. Always true in the report of a load.
    pub ok: bool,
}

fn as_map<S: Serializer>(map: &[(String, Tier)], to: S) -> Result<S::Ok, S::Error> {
    to.collect_map(map.iter().map(|(module, tier)| (module, tier)))
}

impl TierUse {
    /// The planned bytes of a tier, with the used bytes still 0.
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

/// The value of [`LoadReport::residency`].
pub(crate) fn residency(plan: &LoadPlan, mapped: &MappedShards) -> &'static str {
    match plan.resident.iter().filter(|tensor| mapped.contains(tensor)).count() {
        0 => "copied",
        all if all == plan.resident.len() => "mapped",
        _ => "mixed",
    }
}

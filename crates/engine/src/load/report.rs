//! What a load did: stages, bytes planned and used, speed, the smoke test.

use placement::{Plan, Tier};
use serde::{Serialize, Serializer};
use watch::Stage;

/// The report of a load that succeeded.
#[derive(Clone, Debug, Serialize)]
pub struct LoadReport {
    /// The model's class in transformers.
    pub model_class: String,
    /// The dtype that was asked for.
    pub dtype: String,
    /// `f32` or `native`, see [`crate::Model::precision`].
    pub precision: &'static str,
    /// The kernels that compute.
    pub kernel_set: String,
    /// Threads that compute.
    pub threads: usize,
    /// How weights came: `copied`, `mapped`, or `mixed` where only some had to be converted.
    pub residency: &'static str,
    /// Files that were read or mapped.
    pub shards: usize,
    /// Bytes of them.
    pub bytes_read: u64,
    /// Bytes a second while reading.
    pub read_bytes_per_s: f64,
    /// Stages in the order in which they were left.
    pub stages: Vec<StageSeconds>,
    /// Each tier with what was planned and what was used.
    pub tiers: Vec<TierUse>,
    /// Module -> tier, in accelerate's names.
    #[serde(serialize_with = "as_map")]
    pub device_map: Vec<(String, Tier)>,
    /// The first inference.
    pub smoke_test: SmokeTest,
}

/// A stage and its duration.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct StageSeconds {
    /// Which.
    pub stage: Stage,
    /// How long.
    pub seconds: f64,
}

/// Bytes of a tier, planned and used.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TierUse {
    /// Which.
    pub tier: Tier,
    /// Weights as planned.
    pub weights_planned_bytes: u64,
    /// Weights as placed, alignment included.
    pub weights_bytes: u64,
    /// KV cache as planned.
    pub kv_planned_bytes: u64,
    /// KV cache as allocated.
    pub kv_bytes: u64,
    /// Buffers of a pass as planned.
    pub activations_planned_bytes: u64,
    /// Buffers of a pass as allocated.
    pub activations_bytes: u64,
    /// Of a GPU that the driver gave: its memory once everything was loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu: Option<GpuUse>,
}

/// Memory of a GPU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GpuUse {
    /// The maker's name for it.
    pub name: String,
    /// The same GPU under every number.
    pub uuid: String,
    /// All of it.
    pub total_bytes: u64,
    /// Free for anybody.
    pub free_bytes: u64,
    /// Weights, KV cache and the buffers of a pass, as planned: what `allocated_bytes` is to be
    /// compared with.
    pub planned_bytes: u64,
    /// Taken from the driver by this program.
    pub reserved_bytes: u64,
    /// The most that it took at a time: while loading, the buffer in which weights change their
    /// form comes to it.
    pub peak_reserved_bytes: u64,
    /// Handed out of that, padding included.
    pub allocated_bytes: u64,
    /// The most that it would have taken: what was planned, and a hundredth more.
    pub quota_bytes: u64,
}

/// What the first inference gave.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SmokeTest {
    /// Tokens computed one at a time.
    pub tokens: usize,
    /// Tokens of the prompt, computed at once.
    pub prompt_tokens: usize,
    /// Seconds in all.
    pub seconds: f64,
    /// Tokens a second, one at a time.
    pub tok_s: f64,
    /// Whether all logits were finite and it ended in time; a load that reports has this true.
    pub ok: bool,
}

fn as_map<S: Serializer>(map: &[(String, Tier)], to: S) -> Result<S::Ok, S::Error> {
    to.collect_map(map.iter().map(|(module, tier)| (module, tier)))
}

/// Fills in what the plan says of each tier.
pub(crate) fn planned(plan: &Plan) -> Vec<TierUse> {
    let of = |tier: &placement::TierPlan| TierUse {
        tier: tier.tier,
        weights_planned_bytes: tier.weights_bytes,
        weights_bytes: 0,
        kv_planned_bytes: tier.kv_bytes,
        kv_bytes: 0,
        activations_planned_bytes: tier.activations_bytes,
        activations_bytes: 0,
        gpu: None,
    };
    plan.tiers.iter().map(of).collect()
}

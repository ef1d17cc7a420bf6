//! The plan: a tier for every module, with bytes, reasons, predictions and warnings.
use crate::{Change, Machine, RateSource, Shortage, Tier};
use serde::Serialize;
use serde::ser::Serializer;

/// A placement of every module, with reasons and predictions.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// Pairs of module name (in accelerate's form) and tier, in the order of the forward pass.
    #[serde(serialize_with = "as_map")]
    pub device_map: Vec<(String, Tier)>,
    /// The name of the device map's mode.
    pub mode: &'static str,
    /// The chosen dtype of the weights.
    pub dtype: &'static str,
    /// The KV cache's dtype: `bf16`, `f32` or `int8`.
    pub kv_dtype: &'static str,
    /// Maximum number of tokens in a sequence.
    pub context: usize,
    /// Maximum number of sequences that run at the same time.
    pub concurrency: usize,
    /// Number of KV blocks.
    pub kv_blocks: usize,
    /// Bytes of the weights of all modules after loading.
    pub weights_bytes: u64,
    /// Bytes of the weights of all modules as stored.
    pub stored_bytes: u64,
    /// The tiers: GPUs, then host memory, then disk.
    pub tiers: Vec<TierPlan>,
    /// Each module with its tier, bytes and reason.
    pub modules: Vec<ModulePlan>,
    /// The modules off the GPUs; `None` if there are none, the machine has no GPUs, or the device
    /// map requires it.
    pub spill: Option<Spill>,
    /// The modules on disk; `None` if there are none or the device map requires it.
    pub disk_spill: Option<Spill>,
    /// Predicted duration of the load in seconds, if the disk's bandwidth is known.
    pub predicted_load_s: Option<f64>,
    /// Predicted decoding speed of one short sequence in tokens per second, if the bandwidths of
    /// all tiers in use are known.
    pub predicted_decode_tok_s: Option<f64>,
    /// Predicted decoding speed of one sequence that fills the context, in tokens per second.
    pub predicted_decode_tok_s_full: Option<f64>,
    /// The bandwidths used for the predictions, for each tier in use with a known bandwidth.
    pub rates: Vec<TierRate>,
    /// The limits of `--max-memory` as typed, and their meaning in bytes.
    pub max_memory: Vec<TypedLimit>,
    /// Problems that the user should act on.
    pub warnings: Vec<String>,
    /// Other information for the user.
    pub notes: Vec<String>,
}

/// The tier of a module, its bytes and the reason.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModulePlan {
    /// The module's name in accelerate.
    pub name: String,
    pub tier: Tier,
    pub weights_bytes: u64,
    pub kv_bytes: u64,
    #[serde(flatten)]
    pub reason: Reason,
}

/// The reason for the tier of a module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// The reason in one sentence.
    #[serde(rename = "reason")]
    pub text: String,
    /// The name of the limit that keeps the module from a faster tier, if any.
    pub bound_by: Option<String>,
    /// Bytes that are missing under that limit.
    pub short_bytes: u64,
    /// The next best tier for the module.
    pub alternative: Option<String>,
}

/// The planned bytes of one tier.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TierPlan {
    pub tier: Tier,
    pub name: String,
    /// Bytes available for everything.
    pub available_bytes: u64,
    /// Bytes allowed for weights.
    pub budget_bytes: u64,
    /// The name of the limit that determines the budget.
    pub budget_name: String,
    /// Bytes of weights. On the disk tier they stay in the checkpoint's files.
    pub weights_bytes: u64,
    pub kv_bytes: u64,
    pub activations_bytes: u64,
    /// Bytes for a cache of the routed experts on disk, on the host; 0 if there are none.
    #[serde(skip_serializing_if = "is_zero")]
    pub expert_cache_bytes: u64,
    pub staging_bytes: u64,
    /// Bytes reserved: for driver and context on a GPU, for the program on the host.
    pub reserve_bytes: u64,
}

impl TierPlan {
    pub fn total_bytes(&self) -> u64 {
        let parts = [
            self.weights_bytes,
            self.kv_bytes,
            self.activations_bytes,
            self.expert_cache_bytes,
            self.staging_bytes,
            self.reserve_bytes,
        ];
        parts.into_iter().fold(0, u64::saturating_add)
    }
}

impl Plan {
    /// Peak host memory of the program on this plan's machine in bytes, including virtual GPUs.
    pub fn resident_bytes(&self, machine: &Machine) -> u64 {
        let in_memory = |tier: &&TierPlan| match tier.tier {
            Tier::Cpu => true,
            Tier::Gpu(gpu) => machine.gpus.get(gpu).is_some_and(|gpu| gpu.is_virtual),
            Tier::Disk => false,
        };
        self.tiers.iter().filter(in_memory).map(TierPlan::total_bytes).sum()
    }

    /// Bytes of host memory for a cache of the routed experts on disk.
    pub fn expert_cache_bytes(&self) -> u64 {
        self.tiers.iter().map(|tier| tier.expert_cache_bytes).sum()
    }

    /// Bytes of host memory allowed for the next plan if the load of this plan ran out of host
    /// memory. How much was available is unknown; the result is this plan's total minus a quarter
    /// of its weights and of its cache of experts in host memory.
    pub fn host_bytes_if_too_much(&self) -> u64 {
        self.bytes_if_too_much(Tier::Cpu)
    }

    /// As [`Plan::host_bytes_if_too_much`], but for the memory of a GPU.
    pub fn gpu_bytes_if_too_much(&self, gpu: usize) -> u64 {
        self.bytes_if_too_much(Tier::Gpu(gpu))
    }

    fn bytes_if_too_much(&self, of: Tier) -> u64 {
        let tier = self.tiers.iter().find(|tier| tier.tier == of);
        tier.map_or(0, |tier| {
            tier.total_bytes() - (tier.weights_bytes + tier.expert_cache_bytes) / 4
        })
    }
}

/// The bandwidth of a tier and its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct TierRate {
    pub tier: Tier,
    pub bytes_per_s: u64,
    pub source: RateSource,
}

/// One limit of `--max-memory`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TypedLimit {
    pub tier: Tier,
    /// The typed size: `71GB`.
    pub typed: String,
    pub bytes: u64,
    /// The limit as typed, and its size in bytes, GB and GiB.
    pub text: String,
}

/// Modules on a slower tier than necessary: off the GPUs, or on disk.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Spill {
    /// Bytes of the weights of these modules.
    pub bytes: u64,
    /// Number of these modules.
    pub modules: usize,
    /// The shortage: for modules off the GPUs, the smallest one of a GPU for one more module; for
    /// modules on disk, that of host memory for all of them.
    pub shortage: Option<Shortage>,
    /// Changes that avoid the spill. Each was planned and avoids it.
    pub changes: Vec<Change>,
}

impl Plan {
    /// Bytes of weights on a tier.
    pub fn weights_on(&self, tier: Tier) -> u64 {
        self.tiers.iter().filter(|plan| plan.tier == tier).map(|plan| plan.weights_bytes).sum()
    }

    /// Whether any module is on a tier.
    pub fn uses(&self, tier: Tier) -> bool {
        self.device_map.iter().any(|(_, on)| *on == tier)
    }
}

fn is_zero(bytes: &u64) -> bool {
    *bytes == 0
}

fn as_map<S: Serializer>(map: &[(String, Tier)], to: S) -> Result<S::Ok, S::Error> {
    to.collect_map(map.iter().map(|(module, tier)| (module, tier)))
}

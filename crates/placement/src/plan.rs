//! The plan: a tier for every module, with bytes, reasons, predictions and warnings.
use crate::{Change, Machine, RateSource, Shortage, Tier};
use serde::Serialize;
use serde::ser::Serializer;

/// A placement of every module, with its reasons and predictions.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// Module -> tier, in accelerate's names and the order in which a token visits them.
    #[serde(serialize_with = "as_map")]
    pub device_map: Vec<(String, Tier)>,
    /// The mode of the device map.
    pub mode: &'static str,
    /// The dtype that was chosen.
    pub dtype: &'static str,
    /// The KV cache's dtype: `bf16`, `f32` or `int8`.
    pub kv_dtype: &'static str,
    /// Tokens of a sequence at most.
    pub context: usize,
    /// Sequences at a time.
    pub concurrency: usize,
    /// KV blocks.
    pub kv_blocks: usize,
    /// Weights of all modules once loaded.
    pub weights_bytes: u64,
    /// Weights of all modules as stored.
    pub stored_bytes: u64,
    /// GPUs, host, disk.
    pub tiers: Vec<TierPlan>,
    /// Each module with its bytes and the reason for its tier.
    pub modules: Vec<ModulePlan>,
    /// Modules off the GPUs, if there are GPUs.
    pub spill: Option<Spill>,
    /// Modules on disk that no option put there.
    pub disk_spill: Option<Spill>,
    /// Predicted seconds of the load, if the disk's rate is known.
    pub predicted_load_s: Option<f64>,
    /// Predicted tokens a second of one short sequence, if the rates of all tiers in use are
    /// known.
    pub predicted_decode_tok_s: Option<f64>,
    /// The same for a sequence that fills the context.
    pub predicted_decode_tok_s_full: Option<f64>,
    /// The rates behind the predictions, for each tier in use whose rate is known.
    pub rates: Vec<TierRate>,
    /// `--max-memory` as typed, and what it means.
    pub max_memory: Vec<TypedLimit>,
    /// Problems that the reader should act on.
    pub warnings: Vec<String>,
    /// Facts worth knowing.
    pub notes: Vec<String>,
}

/// A module's tier, bytes and reason.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModulePlan {
    /// The module's name, as accelerate has it.
    pub name: String,
    pub tier: Tier,
    pub weights_bytes: u64,
    pub kv_bytes: u64,
    #[serde(flatten)]
    pub reason: Reason,
}

/// Why a module is where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// One sentence.
    #[serde(rename = "reason")]
    pub text: String,
    /// The limit that keeps the module from a better tier, if any.
    pub bound_by: Option<String>,
    /// Bytes by which that limit is short.
    pub short_bytes: u64,
    /// The next best tier.
    pub alternative: Option<String>,
}

/// Planned bytes of one tier.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TierPlan {
    pub tier: Tier,
    pub name: String,
    /// Bytes that may be used for everything.
    pub available_bytes: u64,
    /// Bytes allowed for weights.
    pub budget_bytes: u64,
    /// The limit behind the budget.
    pub budget_name: String,
    /// On the disk tier these stay in the checkpoint's files.
    pub weights_bytes: u64,
    pub kv_bytes: u64,
    pub activations_bytes: u64,
    pub staging_bytes: u64,
    /// Driver and context on a GPU; the program on the host.
    pub reserve_bytes: u64,
}

impl TierPlan {
    pub fn total_bytes(&self) -> u64 {
        let parts = [
            self.weights_bytes,
            self.kv_bytes,
            self.activations_bytes,
            self.staging_bytes,
            self.reserve_bytes,
        ];
        parts.into_iter().fold(0, u64::saturating_add)
    }
}

impl Plan {
    /// Peak host memory of the program on this plan's machine, virtual GPUs included.
    pub fn resident_bytes(&self, machine: &Machine) -> u64 {
        let in_memory = |tier: &&TierPlan| match tier.tier {
            Tier::Cpu => true,
            Tier::Gpu(gpu) => machine.gpus.get(gpu).is_some_and(|gpu| gpu.is_virtual),
            Tier::Disk => false,
        };
        self.tiers.iter().filter(in_memory).map(TierPlan::total_bytes).sum()
    }

    /// Host memory allowed for the next plan after this one ran out: the available amount is
    /// unknown, so a quarter of this plan's weights there is given up.
    pub fn host_bytes_if_too_much(&self) -> u64 {
        self.bytes_if_too_much(Tier::Cpu)
    }

    /// The same for a GPU's memory.
    pub fn gpu_bytes_if_too_much(&self, gpu: usize) -> u64 {
        self.bytes_if_too_much(Tier::Gpu(gpu))
    }

    fn bytes_if_too_much(&self, of: Tier) -> u64 {
        let tier = self.tiers.iter().find(|tier| tier.tier == of);
        tier.map_or(0, |tier| tier.total_bytes() - tier.weights_bytes / 4)
    }
}

/// The bandwidth of a tier and its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct TierRate {
    pub tier: Tier,
    pub bytes_per_s: u64,
    pub source: RateSource,
}

/// One part of `--max-memory`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TypedLimit {
    pub tier: Tier,
    /// As typed: `71GB`.
    pub typed: String,
    pub bytes: u64,
    /// As typed and in both units.
    pub text: String,
}

/// Modules on a slower tier than they could be: off the GPUs, or on disk.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Spill {
    /// Bytes of their weights.
    pub bytes: u64,
    /// Number of modules.
    pub modules: usize,
    /// The shortage: on the GPUs for one more module, in host memory for all of them.
    pub shortage: Option<Shortage>,
    /// Changes that avoid the spill, the smallest first. Each was planned and does.
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

fn as_map<S: Serializer>(map: &[(String, Tier)], to: S) -> Result<S::Ok, S::Error> {
    to.collect_map(map.iter().map(|(module, tier)| (module, tier)))
}

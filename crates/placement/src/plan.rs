use crate::{Change, Machine, RateSource, Shortage, Tier};
use serde::Serialize;
use serde::ser::Serializer;

/// Where every byte will live, and why.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// Module -> tier, in accelerate's names and the order in which a token visits them.
    #[serde(serialize_with = "as_map")]
    pub device_map: Vec<(String, Tier)>,
    /// How modules were spread.
    pub mode: &'static str,
    /// What was asked to compute in.
    pub dtype: &'static str,
    /// What keys and values are kept in: `bf16`, `f32` or `int8`.
    pub kv_dtype: &'static str,
    /// Tokens of a sequence.
    pub context: usize,
    /// Sequences at a time.
    pub concurrency: usize,
    /// KV blocks.
    pub kv_blocks: usize,
    /// Weights in all, as kept.
    pub weights_bytes: u64,
    /// Weights in all, as stored in the files.
    pub stored_bytes: u64,
    /// Each tier with what it holds: the GPUs, the host, the disk.
    pub tiers: Vec<TierPlan>,
    /// Each module with its bytes and the reason for its tier.
    pub modules: Vec<ModulePlan>,
    /// What does not live on the GPUs though there are some.
    pub spill: Option<Spill>,
    /// What lives in no memory though it was not asked to stay in the files.
    pub disk_spill: Option<Spill>,
    /// Seconds that the load should take, if the disk's rate is known.
    pub predicted_load_s: Option<f64>,
    /// Tokens a second of one sequence with a short text, if the rates of all tiers in use are
    /// known.
    pub predicted_decode_tok_s: Option<f64>,
    /// The same where the text fills the context: keys and values are read too.
    pub predicted_decode_tok_s_full: Option<f64>,
    /// The rates that this was predicted from, one for each tier in use whose rate is known.
    pub rates: Vec<TierRate>,
    /// `--max-memory` as typed, and what it means.
    pub max_memory: Vec<TypedLimit>,
    /// What people should look at.
    pub warnings: Vec<String>,
    /// What people should know.
    pub notes: Vec<String>,
}

/// One module.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModulePlan {
    /// accelerate's name.
    pub name: String,
    /// Where.
    pub tier: Tier,
    /// Weights.
    pub weights_bytes: u64,
    /// Keys and values beside them.
    pub kv_bytes: u64,
    /// Why there.
    #[serde(flatten)]
    pub reason: Reason,
}

/// Why a module is where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// In a sentence.
    #[serde(rename = "reason")]
    pub text: String,
    /// The limit that keeps it from a better tier, if one does.
    pub bound_by: Option<String>,
    /// Bytes more that this limit would have to allow.
    pub short_bytes: u64,
    /// Where it would go next.
    pub alternative: Option<String>,
}

/// One tier.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TierPlan {
    /// Which.
    pub tier: Tier,
    /// Its name.
    pub name: String,
    /// Everything that may be used of it.
    pub available_bytes: u64,
    /// Bytes allowed for weights.
    pub budget_bytes: u64,
    /// What sets that.
    pub budget_name: String,
    /// Weights. On the disk tier these stay in the checkpoint's files.
    pub weights_bytes: u64,
    /// KV cache.
    pub kv_bytes: u64,
    /// Buffers of a forward pass.
    pub activations_bytes: u64,
    /// Buffers between disk and the tiers.
    pub staging_bytes: u64,
    /// The driver's or the program's own.
    pub reserve_bytes: u64,
}

impl TierPlan {
    /// Everything together.
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
    /// Host memory that the program will have at its peak on the machine of this plan: that of the
    /// CPU and of virtual devices.
    pub fn resident_bytes(&self, machine: &Machine) -> u64 {
        let in_memory = |tier: &&TierPlan| match tier.tier {
            Tier::Cpu => true,
            Tier::Gpu(gpu) => machine.gpus.get(gpu).is_some_and(|gpu| gpu.is_virtual),
            Tier::Disk => false,
        };
        self.tiers.iter().filter(in_memory).map(TierPlan::total_bytes).sum()
    }

    /// What the next plan may take of host memory after this one ran out of it: nobody knows how
    /// much there really was, so a quarter of this plan's weights there is given up.
    pub fn host_bytes_if_too_much(&self) -> u64 {
        self.bytes_if_too_much(Tier::Cpu)
    }

    /// The same of a GPU's memory.
    pub fn gpu_bytes_if_too_much(&self, gpu: usize) -> u64 {
        self.bytes_if_too_much(Tier::Gpu(gpu))
    }

    fn bytes_if_too_much(&self, of: Tier) -> u64 {
        let tier = self.tiers.iter().find(|tier| tier.tier == of);
        tier.map_or(0, |tier| tier.total_bytes() - tier.weights_bytes / 4)
    }
}

/// How fast a tier is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct TierRate {
    /// Which.
    pub tier: Tier,
    /// Bytes a second.
    pub bytes_per_s: u64,
    /// Measured, described, or a default for a GPU's name.
    pub source: RateSource,
}

/// One part of `--max-memory`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TypedLimit {
    /// Which tier.
    pub tier: Tier,
    /// As typed: `71GB`.
    pub typed: String,
    /// What that is.
    pub bytes: u64,
    /// In words, in both units.
    pub text: String,
}

/// What does not live where it would be faster: off the GPUs, or on disk.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Spill {
    /// Weights there.
    pub bytes: u64,
    /// Modules there.
    pub modules: usize,
    /// What is short: on the GPUs for one module more, in host memory for all of them.
    pub shortage: Option<Shortage>,
    /// What would leave nothing there, the smallest first. Each was planned and does.
    pub changes: Vec<Change>,
}

impl Plan {
    /// Bytes of weights on a tier.
    pub fn weights_on(&self, tier: Tier) -> u64 {
        self.tiers.iter().filter(|plan| plan.tier == tier).map(|plan| plan.weights_bytes).sum()
    }

    /// Whether any module is there.
    pub fn uses(&self, tier: Tier) -> bool {
        self.device_map.iter().any(|(_, on)| *on == tier)
    }
}

fn as_map<S: Serializer>(map: &[(String, Tier)], to: S) -> Result<S::Ok, S::Error> {
    to.collect_map(map.iter().map(|(module, tier)| (module, tier)))
}

use crate::{PlanError, Tier, parse_bytes};
use std::collections::BTreeMap;

/// Bytes of weights allowed on each tier; a tier that is not named has its default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MaxMemory(pub BTreeMap<Tier, u64>);

impl MaxMemory {
    /// Reads accelerate's form, `0=71GiB,1=71GB,cpu=64GiB,disk=1TB`.
    ///
    /// # Errors
    /// 2, with the part that is wrong.
    pub fn parse(text: &str) -> Result<MaxMemory, PlanError> {
        let mut budgets = BTreeMap::new();
        for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            let bad = || PlanError::Setting {
                key: "--max-memory",
                expected: "TIER=SIZE,... such as 0=71GiB,cpu=64GB (GB is 10^9 bytes, GiB is 2^30)".to_owned(),
                found: part.to_owned(),
            };
            let (tier, size) = part.split_once(['=', ':']).ok_or_else(bad)?;
            let tier = Tier::parse(tier.trim()).ok_or_else(bad)?;
            if budgets.insert(tier, parse_bytes(size).ok_or_else(bad)?).is_some() {
                return Err(bad());
            }
        }
        Ok(MaxMemory(budgets))
    }

    /// The budget that was typed for a tier.
    pub fn get(&self, tier: Tier) -> Option<u64> {
        self.0.get(&tier).copied()
    }
}

/// How modules are spread over the tiers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum DeviceMapMode {
    /// As few bytes off the cards as possible.
    #[default]
    Auto,
    /// The same load on each card.
    Balanced,
    /// As balanced, with the first card left as empty as can be.
    BalancedLow0,
    /// Each card filled before the next.
    Sequential,
    /// Everything in host memory.
    Cpu,
    /// Blocks stay in the checkpoint's files.
    Disk,
    /// Module -> tier, in accelerate's names; a name stands for all modules below it.
    Explicit(Vec<(String, Tier)>),
}

/// What the weights are computed as.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum DtypeChoice {
    /// As stored.
    #[default]
    Auto,
    Bf16,
    F16,
    /// Everything in float32; weights stay as stored and are widened in registers.
    F32,
    /// 32-blocks of int8.
    Int8,
}

impl DtypeChoice {
    /// Reads `auto`, `bf16`, `f16`, `f32`, `int8`.
    ///
    /// # Errors
    /// 2, with the choices.
    pub fn parse(text: &str) -> Result<DtypeChoice, PlanError> {
        Ok(match text {
            "auto" => DtypeChoice::Auto,
            "bf16" | "bfloat16" => DtypeChoice::Bf16,
            "f16" | "float16" => DtypeChoice::F16,
            "f32" | "float32" => DtypeChoice::F32,
            "int8" => DtypeChoice::Int8,
            other => {
                return Err(PlanError::Setting {
                    key: "--dtype",
                    expected: "auto, bf16, f16, f32 or int8".to_owned(),
                    found: other.to_owned(),
                });
            }
        })
    }

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            DtypeChoice::Auto => "auto",
            DtypeChoice::Bf16 => "bf16",
            DtypeChoice::F16 => "f16",
            DtypeChoice::F32 => "f32",
            DtypeChoice::Int8 => "int8",
        }
    }
}

/// What the user asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of weights on each tier.
    pub max_memory: MaxMemory,
    /// How to spread them.
    pub mode: DeviceMapMode,
    /// Tokens of a sequence.
    pub context: usize,
    /// Sequences at a time.
    pub concurrency: usize,
    /// What to compute in.
    pub dtype: DtypeChoice,
}

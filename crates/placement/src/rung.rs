//! The rungs of the ladder of fallbacks, and the outcome of each.
use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};

/// One attempt of the ladder; the variants are in the order of the attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rung {
    /// The limits as configured.
    AsConfigured,
    /// Without typed budgets; the budgets follow from free memory.
    WithoutMaxMemory,
    /// Each GPU is filled before the next.
    Sequential,
    /// Weights quantized to int8 in blocks of 32.
    Int8,
    /// Modules that do not fit into memory stay in the checkpoint's files.
    DiskTier,
}

impl Rung {
    /// All rungs in the order of the attempts.
    pub const ALL: [Rung; 5] =
        [Rung::AsConfigured, Rung::WithoutMaxMemory, Rung::Sequential, Rung::Int8, Rung::DiskTier];

    pub fn name(self) -> &'static str {
        match self {
            Rung::AsConfigured => "as-configured",
            Rung::WithoutMaxMemory => "without-max-memory",
            Rung::Sequential => "sequential",
            Rung::Int8 => "int8",
            Rung::DiskTier => "disk-tier",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RungOutcome {
    pub rung: Rung,
    /// How the attempt ended.
    pub state: RungState,
    pub why: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RungState {
    /// The plan of this rung fits and is used.
    Taken,
    /// The plan of this rung does not fit.
    TooSmall,
    /// Not tried: the plan cannot differ from that of an earlier rung.
    Skipped,
    /// Not tried: the fallback policy does not allow it.
    NotAllowed,
    /// An earlier attempt of this load used this rung and ran out of memory.
    Failed,
}

impl RungOutcome {
    /// The outcome as text: `fits`, or the state and the reason.
    pub fn outcome(&self) -> String {
        let state = match self.state {
            RungState::Taken => return "fits".to_owned(),
            RungState::TooSmall => "does not fit",
            RungState::Skipped => "skipped",
            RungState::NotAllowed => "not allowed",
            RungState::Failed => "failed before",
        };
        format!("{state}: {}", self.why)
    }
}

impl std::fmt::Display for RungOutcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.rung.name(), self.outcome())
    }
}

impl Serialize for RungOutcome {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut out = to.serialize_struct("RungOutcome", 4)?;
        out.serialize_field("rung", &self.rung)?;
        out.serialize_field("outcome", &self.outcome())?;
        out.serialize_field("state", &self.state)?;
        out.serialize_field("why", &self.why)?;
        out.end()
    }
}

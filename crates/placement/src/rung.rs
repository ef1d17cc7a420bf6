//! The rungs of the ladder of fallbacks, and what became of each.
use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};

/// One attempt of the ladder, in the order in which they are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rung {
    /// As it was asked for.
    AsConfigured,
    /// From what is really free.
    WithoutMaxMemory,
    /// Each GPU filled before the next.
    Sequential,
    /// Weights as 32-blocks of int8.
    Int8,
    /// What fits in no memory stays in the checkpoint's files.
    DiskTier,
}

impl Rung {
    /// All, from the top down.
    pub const ALL: [Rung; 5] =
        [Rung::AsConfigured, Rung::WithoutMaxMemory, Rung::Sequential, Rung::Int8, Rung::DiskTier];

    /// The name in reports and provenance.
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

/// What became of a rung.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RungOutcome {
    /// Which.
    pub rung: Rung,
    /// How it ended.
    pub state: RungState,
    /// Why.
    pub why: String,
}

/// How a rung ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RungState {
    /// Its plan is taken.
    Taken,
    /// It does not fit.
    TooSmall,
    /// It cannot differ from a rung above.
    Skipped,
    /// The policy does not allow it.
    NotAllowed,
    /// It was tried before, and memory ran out all the same.
    Failed,
}

impl RungOutcome {
    /// `fits`, or the state and why.
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

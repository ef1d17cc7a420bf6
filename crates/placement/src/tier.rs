//! Tiers: a GPU, host memory, or the checkpoint's files.
use serde::{Serialize, Serializer};

/// The location of a module's weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// A GPU or virtual GPU, by its index in the machine's list.
    Gpu(usize),
    /// Host memory; the CPU computes.
    Cpu,
    /// The checkpoint's own files. The weights are read in each forward pass, and the CPU computes.
    Disk,
}

impl Tier {
    /// Parses the names that accelerate accepts: `0`, `1`, `cuda:1`, `cpu`, `disk`.
    pub fn parse(text: &str) -> Option<Tier> {
        match text.trim() {
            "cpu" => Some(Tier::Cpu),
            "disk" => Some(Tier::Disk),
            "cuda" => Some(Tier::Gpu(0)),
            number => number.strip_prefix("cuda:").unwrap_or(number).parse().ok().map(Tier::Gpu),
        }
    }

    /// Whether the tier is a GPU or a virtual GPU.
    pub fn is_gpu(self) -> bool {
        matches!(self, Tier::Gpu(_))
    }
}

impl std::fmt::Display for Tier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Tier::Gpu(i) => write!(f, "{i}"),
            Tier::Cpu => f.write_str("cpu"),
            Tier::Disk => f.write_str("disk"),
        }
    }
}

/// Serializes a tier as in accelerate: a number for a GPU, otherwise a name.
impl Serialize for Tier {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Tier::Gpu(i) => to.serialize_u64(*i as u64),
            Tier::Cpu => to.serialize_str("cpu"),
            Tier::Disk => to.serialize_str("disk"),
        }
    }
}

//! Tiers: a GPU, host memory, or the checkpoint's files.
use serde::{Serialize, Serializer};

/// Where a module's weights are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// A GPU or virtual GPU, by its index in the machine's list.
    Gpu(usize),
    /// Host memory, computed on the CPU.
    Cpu,
    /// The checkpoint's own files; read for each pass and computed on the CPU.
    Disk,
}

impl Tier {
    /// Parses accelerate's forms: `0`, `1`, `cuda:1`, `cpu`, `disk`.
    pub fn parse(text: &str) -> Option<Tier> {
        match text.trim() {
            "cpu" => Some(Tier::Cpu),
            "disk" => Some(Tier::Disk),
            "cuda" => Some(Tier::Gpu(0)),
            number => number.strip_prefix("cuda:").unwrap_or(number).parse().ok().map(Tier::Gpu),
        }
    }

    /// Whether it is a GPU or a virtual GPU.
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

/// In accelerate's form: a number for a GPU, a word for the rest.
impl Serialize for Tier {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Tier::Gpu(i) => to.serialize_u64(*i as u64),
            Tier::Cpu => to.serialize_str("cpu"),
            Tier::Disk => to.serialize_str("disk"),
        }
    }
}

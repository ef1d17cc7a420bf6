use serde::{Serialize, Serializer};

/// Where a module lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// A card, or a virtual device, by its index.
    Gpu(usize),
    /// Host memory.
    Cpu,
    /// The checkpoint's own files.
    Disk,
}

impl Tier {
    /// Reads `0`, `1`, `cpu`, `disk`.
    pub fn parse(text: &str) -> Option<Tier> {
        match text {
            "cpu" => Some(Tier::Cpu),
            "disk" => Some(Tier::Disk),
            number => number.parse().ok().map(Tier::Gpu),
        }
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

/// As accelerate writes it: a number for a card, a word for the rest.
impl Serialize for Tier {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Tier::Gpu(i) => to.serialize_u64(*i as u64),
            Tier::Cpu => to.serialize_str("cpu"),
            Tier::Disk => to.serialize_str("disk"),
        }
    }
}

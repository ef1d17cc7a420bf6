use serde::{Serialize, Serializer};

/// Where a module lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// A GPU, or a virtual device, by its index in [`Machine::gpus`](crate::Machine::gpus).
    Gpu(usize),
    /// Host memory, computed on the CPU.
    Cpu,
    /// The checkpoint's own files; read for each pass and computed on the CPU.
    Disk,
}

impl Tier {
    /// Reads accelerate's words: `0`, `1`, `cuda:1`, `cpu`, `disk`.
    pub fn parse(text: &str) -> Option<Tier> {
        match text.trim() {
            "cpu" => Some(Tier::Cpu),
            "disk" => Some(Tier::Disk),
            "cuda" => Some(Tier::Gpu(0)),
            number => number.strip_prefix("cuda:").unwrap_or(number).parse().ok().map(Tier::Gpu),
        }
    }

    /// Whether it is a GPU or a virtual device.
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

/// As accelerate writes it: a number for a GPU, a word for the rest.
impl Serialize for Tier {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Tier::Gpu(i) => to.serialize_u64(*i as u64),
            Tier::Cpu => to.serialize_str("cpu"),
            Tier::Disk => to.serialize_str("disk"),
        }
    }
}

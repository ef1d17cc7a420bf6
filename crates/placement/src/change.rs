//! Changes of limits or machine that make a plan reach a goal.
use serde::Serialize;

/// A change of limits or machine that makes a plan reach a goal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    #[serde(flatten)]
    pub kind: ChangeKind,
    /// A description of the change, with the option to type.
    pub text: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum ChangeKind {
    /// The same numbers in `--max-memory`, but in binary units.
    BinaryUnits,
    /// No `--max-memory`.
    WithoutMaxMemory,
    /// A shorter context.
    Context { tokens: usize },
    /// Fewer sequences at the same time.
    Concurrency { sequences: usize },
    /// Weights in int8.
    Int8,
    /// Keys and values of the KV cache in int8.
    KvInt8,
    /// More host memory.
    HostMemory { more_bytes: u64 },
    /// The disk tier: layers may stay in the checkpoint's files.
    Disk,
    /// Larger typed budgets (`--max-memory`) of the GPUs.
    GpuBudgets {
        /// Bytes to add to the budget of each GPU that has a typed one.
        more_bytes: u64,
    },
    /// More GPUs.
    Gpu {
        count: usize,
        name: String,
        /// Bytes of memory of each GPU.
        bytes: u64,
    },
}

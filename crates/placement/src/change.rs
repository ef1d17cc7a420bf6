//! A change of limits or machine that would make a plan reach a goal.
use serde::Serialize;

/// A change of limits or machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    #[serde(flatten)]
    pub kind: ChangeKind,
    /// A description with the option to type.
    pub text: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum ChangeKind {
    /// The typed budgets in binary units.
    BinaryUnits,
    /// No typed budgets.
    WithoutMaxMemory,
    /// A shorter context.
    Context { tokens: usize },
    /// Fewer sequences in flight.
    Concurrency { sequences: usize },
    /// Weights in int8.
    Int8,
    /// Keys and values in int8.
    KvInt8,
    /// More host memory.
    HostMemory { more_bytes: u64 },
    /// Layers may stay in the files.
    Disk,
    /// Larger typed budgets of the GPUs.
    GpuBudgets {
        /// More bytes on each GPU with a typed budget.
        more_bytes: u64,
    },
    /// More GPUs.
    Gpu {
        count: usize,
        name: String,
        /// Memory of each.
        bytes: u64,
    },
}

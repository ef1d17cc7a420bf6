//! A change of limits or machine that would make a plan reach a goal.
use serde::Serialize;

/// A change of limits or machine, and what it would be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What is changed.
    #[serde(flatten)]
    pub kind: ChangeKind,
    /// In words, with the option to type.
    pub text: String,
}

/// What is changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum ChangeKind {
    /// The budgets that were typed, in binary units.
    BinaryUnits,
    /// No typed budgets.
    WithoutMaxMemory,
    /// A shorter context.
    Context {
        /// Tokens.
        tokens: usize,
    },
    /// Fewer sequences at a time.
    Concurrency {
        /// Sequences.
        sequences: usize,
    },
    /// 32-blocks of int8.
    Int8,
    /// Keys and values in int8.
    KvInt8,
    /// More host memory.
    HostMemory {
        /// Bytes more.
        more_bytes: u64,
    },
    /// Blocks may stay in the files.
    Disk,
    /// Larger typed budgets of the GPUs.
    GpuBudgets {
        /// Bytes more on each GPU whose budget was typed.
        more_bytes: u64,
    },
    /// More GPUs.
    Gpu {
        /// How many.
        count: usize,
        /// Their name.
        name: String,
        /// The memory of each.
        bytes: u64,
    },
}

use crate::{Change, RungOutcome};
use error_kind::{ErrorKind, HasKind};

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PlanError {
    /// A machine file cannot be understood.
    #[error("machine file {file}, line {line}: {why}")]
    MachineFile {
        /// The file.
        file: String,
        /// Counted from 1; 0 if it is about the file as a whole.
        line: u64,
        /// What was expected and found.
        why: String,
    },
    /// A part of `--max-memory` cannot be understood.
    #[error(
        "--max-memory: {part:?}: {why}. It takes TIER=SIZE, separated by commas, where TIER is 0, 1, ..., cpu or disk: \
             0=71GiB,1=71GB,cpu=64GiB,disk=1TB (GB is 10^9 bytes, GiB is 2^30)"
    )]
    MaxMemory {
        /// What was typed.
        part: String,
        /// What is wrong with it.
        why: String,
    },
    /// A setting has no such value.
    #[error("{key}: expected {expected}, found {found}")]
    Setting {
        /// The option.
        key: &'static str,
        /// What it may be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// The device map that was given names something that is not there, or leaves something out.
    #[error("--device-map: {module}: expected {expected}, found {found}")]
    DeviceMap {
        /// The module, or the key that names none.
        module: String,
        /// What it should be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// It does not fit.
    #[error("does not fit: {shortage}{}", changes_text(.changes))]
    DoesNotFit {
        /// What is short, by how much, on which tier.
        shortage: Box<Shortage>,
        /// What would make it fit, the smallest first. Each was planned and does.
        changes: Vec<Change>,
    },
    /// No rung of the ladder fits.
    #[error("does not fit on any rung that is allowed: {shortage}{}\n{}", changes_text(.changes), rungs_text(.rungs))]
    NoRungFits {
        /// What was short as configured.
        shortage: Box<Shortage>,
        /// What would make it fit as configured, the smallest first.
        changes: Vec<Change>,
        /// Each rung and why it was not taken.
        rungs: Vec<RungOutcome>,
    },
}

/// What is short, by how much, on which tier.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, thiserror::Error)]
#[error("{what} on {tier}: {} needed, {} there under {limit}, {} short",
        crate::bytes_text(*need_bytes), crate::bytes_text(*have_bytes), crate::bytes_text(*short_bytes))]
pub struct Shortage {
    /// What was to be placed.
    pub what: String,
    /// Where.
    pub tier: crate::Tier,
    /// The limit that bounds it.
    pub limit: String,
    /// Bytes needed.
    pub need_bytes: u64,
    /// Bytes there.
    pub have_bytes: u64,
    /// The difference.
    pub short_bytes: u64,
}

fn changes_text(changes: &[Change]) -> String {
    match changes {
        [] => ". No single change of ours makes it fit: use a larger machine".to_owned(),
        [one] => format!(". The smallest change that fits: {}", one.text),
        [one, rest @ ..] => {
            let rest: Vec<&str> = rest.iter().map(|change| change.text.as_str()).collect();
            format!(". The smallest change that fits: {}; or: {}", one.text, rest.join("; "))
        }
    }
}

fn rungs_text(rungs: &[RungOutcome]) -> String {
    let lines: Vec<String> = rungs.iter().map(|rung| format!("  {rung}")).collect();
    lines.join("\n")
}

impl HasKind for PlanError {
    fn kind(&self) -> ErrorKind {
        match self {
            PlanError::DoesNotFit { .. } | PlanError::NoRungFits { .. } => ErrorKind::OutOfMemory,
            PlanError::MachineFile { .. }
            | PlanError::MaxMemory { .. }
            | PlanError::Setting { .. }
            | PlanError::DeviceMap { .. } => ErrorKind::Usage,
        }
    }
}

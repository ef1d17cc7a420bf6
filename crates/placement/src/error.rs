//! Why no plan could be made: what is short, or which option is wrong.
use crate::{Change, RungOutcome};
use error_kind::{ErrorKind, HasKind};

/// Why no plan could be made.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PlanError {
    /// A machine file that does not parse.
    #[error("machine file {file}, line {line}: {why}")]
    MachineFile {
        file: String,
        /// Counted from 1; 0 if it is about the file as a whole.
        line: u64,
        why: String,
    },
    /// A part of `--max-memory` that does not parse.
    #[error(
        "--max-memory: {part:?}: {why}. It takes TIER=SIZE, separated by commas, where TIER is 0, 1, ..., cpu or disk: \
             0=71GiB,1=71GB,cpu=64GiB,disk=1TB (GB is 10^9 bytes, GiB is 2^30)"
    )]
    MaxMemory { part: String, why: String },
    /// A setting with an unknown or invalid value.
    #[error("{key}: expected {expected}, found {found}")]
    Setting { key: &'static str, expected: String, found: String },
    /// The device map names a module or tier that does not exist, or leaves a module out.
    #[error("--device-map: {module}: expected {expected}, found {found}")]
    DeviceMap {
        /// The module, or the unknown key.
        module: String,
        expected: String,
        found: String,
    },
    #[error("does not fit: {shortage}{}", changes_text(.changes))]
    DoesNotFit {
        /// What is short, by how many bytes, on which tier.
        shortage: Box<Shortage>,
        /// Changes that make it fit, the smallest first. Each was planned and does.
        changes: Vec<Change>,
    },
    /// No rung of the ladder fits.
    #[error("does not fit on any rung that is allowed: {shortage}{}\n{}", changes_text(.changes), rungs_text(.rungs))]
    NoRungFits {
        /// The shortage as configured.
        shortage: Box<Shortage>,
        /// Changes that make the configured plan fit, the smallest first.
        changes: Vec<Change>,
        rungs: Vec<RungOutcome>,
    },
}

/// What is short, by how many bytes, on which tier.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, thiserror::Error)]
#[error("{what} on {tier}: {} needed, {} there under {limit}, {} short",
        crate::bytes_text(*need_bytes), crate::bytes_text(*have_bytes), crate::bytes_text(*short_bytes))]
pub struct Shortage {
    pub what: String,
    pub tier: crate::Tier,
    /// The limit that is too small.
    pub limit: String,
    pub need_bytes: u64,
    pub have_bytes: u64,
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

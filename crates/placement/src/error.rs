//! The reasons why no plan can be made: a shortage of memory, or an invalid option.
use crate::{Change, RungOutcome};
use error_kind::{ErrorKind, HasKind};

/// The reason why no plan can be made.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PlanError {
    /// A machine file that cannot be parsed.
    #[error("machine file {file}{}: {why}", at_line(*line))]
    MachineFile {
        file: String,
        /// Line number, starting at 1; `None` if the error concerns the file as a whole.
        line: Option<u64>,
        why: String,
    },
    /// A part of `--max-memory` that cannot be parsed.
    #[error(
        "--max-memory: {part:?}: {why}. It takes TIER=SIZE, separated by commas, where TIER is 0, 1, ..., cpu or disk: \
             0=71GiB,1=71GB,cpu=64GiB,disk=1TB (GB is 10^9 bytes, GiB is 2^30)"
    )]
    MaxMemory { part: String, why: String },
    /// A setting with an unknown or invalid value.
    #[error("{key}: expected {expected}, found {found}")]
    Setting { key: &'static str, expected: String, found: String },
    /// The device map contains an unknown module or tier, or does not cover every module.
    #[error("--device-map: {module}: expected {expected}, found {found}")]
    DeviceMap {
        /// The module that is not covered, or the unknown key.
        module: String,
        expected: String,
        found: String,
    },
    #[error("does not fit: {shortage}{}", changes_text(.changes))]
    DoesNotFit {
        /// What does not fit, on which tier, and how many bytes are missing.
        shortage: Box<Shortage>,
        /// Changes that make the model fit, in order of preference. Each was planned and fits.
        changes: Vec<Change>,
    },
    /// No rung of the ladder fits.
    #[error("does not fit on any rung that is allowed: {shortage}{}\n{}", changes_text(.changes), rungs_text(.rungs))]
    NoRungFits {
        /// The shortage of the plan as configured.
        shortage: Box<Shortage>,
        /// Changes that make a plan fit. Each was planned and fits.
        changes: Vec<Change>,
        rungs: Vec<RungOutcome>,
    },
}

/// A shortage: the modules that do not fit, the tier, its limit, and the missing bytes.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, thiserror::Error)]
#[error("{what} on {tier}: {} needed, {} there under {limit}, {} short",
        crate::bytes_text(*need_bytes), crate::bytes_text(*have_bytes), crate::bytes_text(*short_bytes))]
pub struct Shortage {
    pub what: String,
    pub tier: crate::Tier,
    /// The name of the limit that is too small.
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

fn at_line(line: Option<u64>) -> String {
    line.map_or(String::new(), |line| format!(", line {line}"))
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

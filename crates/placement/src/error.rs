/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PlanError {
    /// A machine file is wrong.
    #[error("machine file {file}: {why}")]
    MachineFile {
        /// The file.
        file: String,
        /// What was expected and found.
        why: String,
    },
    /// A setting is wrong.
    #[error("{key}: expected {expected}, found {found}")]
    Setting {
        /// The option.
        key: &'static str,
        /// What it may be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// It does not fit.
    #[error(
        "does not fit: {what} on {tier}: {short_bytes} bytes short ({need_bytes} needed, {have_bytes} there). {change}"
    )]
    DoesNotFit {
        /// What.
        what: String,
        /// Where.
        tier: String,
        /// By how much.
        short_bytes: u64,
        /// Needed.
        need_bytes: u64,
        /// There.
        have_bytes: u64,
        /// The smallest change that fits.
        change: String,
    },
}

impl PlanError {
    /// The process's exit code: 2 for settings, 71 for what does not fit.
    pub fn exit_code(&self) -> u8 {
        match self {
            PlanError::DoesNotFit { .. } => 71,
            _ => 2,
        }
    }
}

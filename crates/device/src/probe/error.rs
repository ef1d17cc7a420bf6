use error_kind::{ErrorKind, HasKind};
use std::path::PathBuf;

/// Why a machine cannot be probed.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The kernel does not say how much memory there is.
    #[error("{}: expected {expected}, found {found}; describe the machine in a file and give it as --machine", path.display())]
    Memory {
        /// The file.
        path: PathBuf,
        /// What should be there.
        expected: &'static str,
        /// What is.
        found: String,
    },
    /// `--devices` cannot be understood.
    #[error(
        "--devices: expected virtual:SIZE,SIZE,... (such as virtual:4GiB,4GiB) or none, found {found:?}: {why}"
    )]
    Devices {
        /// What was typed.
        found: String,
        /// What is wrong with it.
        why: String,
    },
}

impl HasKind for ProbeError {
    fn kind(&self) -> ErrorKind {
        match self {
            ProbeError::Memory { .. } => ErrorKind::Unavailable,
            ProbeError::Devices { .. } => ErrorKind::Usage,
        }
    }
}

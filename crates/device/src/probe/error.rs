//! Errors of probing.

use std::path::PathBuf;

use error_kind::{ErrorKind, HasKind};

/// An error of probing.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The kernel does not report the memory size.
    #[error("{}: expected {expected}, found {found}; describe the machine in a file and give it as --machine", path.display())]
    Memory { path: PathBuf, expected: &'static str, found: String },
    /// Invalid value of `--devices`.
    #[error(
        "--devices: expected virtual:SIZE,SIZE,... (such as virtual:4GiB,4GiB) or none, found {found:?}: {why}"
    )]
    Devices {
        found: String,
        /// Why the value is invalid.
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

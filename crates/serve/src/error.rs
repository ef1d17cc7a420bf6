//! Why a server ends.

use error_kind::{ErrorKind, HasKind};
use std::net::SocketAddr;

use engine::FatalError;

/// A server that cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be had.
    #[error(
        "cannot listen on {address}: {cause}; is another server there? Choose another --host or --port"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's words.
        cause: std::io::Error,
    },
    /// No runtime.
    #[error(
        "the server's threads could not start: {cause}; the machine is out of threads or memory"
    )]
    Runtime {
        /// The system's words.
        cause: std::io::Error,
    },
    /// The engine is gone.
    #[error("the engine's thread ended: {0}")]
    Died(FatalError),
}

impl HasKind for ServeError {
    fn kind(&self) -> ErrorKind {
        match self {
            ServeError::Listen { .. } => ErrorKind::Unavailable,
            ServeError::Died(death) => death.kind,
            ServeError::Runtime { .. } => ErrorKind::Bug,
        }
    }
}

//! Errors that prevent a server from starting, or end it.

use std::net::SocketAddr;

use engine::FatalError;
use error_kind::{ErrorKind, HasKind};

/// The server could not start, or ended although no stop was requested.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(
        "cannot listen on {address}: {cause}; is another server there? Choose another --host or --port"
    )]
    Listen { address: SocketAddr, cause: std::io::Error },
    #[error(
        "the server's threads could not start: {cause}; the machine is out of threads or memory"
    )]
    Runtime { cause: std::io::Error },
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

//! The state that an engine's handle and its thread share: running, shutting down, or failed.

use base::unpoisoned;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use error_kind::{ErrorKind, HasKind};

use super::EngineStats;
use crate::models::ForwardError;

/// Why an engine's thread ended without a shutdown: a panic, or a GPU that is lost or does not
/// respond.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FatalError {
    pub cause: String,
    pub kind: ErrorKind,
}

impl FatalError {
    /// The fatal error for a failed forward pass; `None` if later passes can succeed.
    pub(super) fn from_forward(cause: &ForwardError) -> Option<Self> {
        cause.is_final().then(|| FatalError { cause: cause.to_string(), kind: cause.kind() })
    }

    pub(super) fn bug(cause: &str) -> Self {
        FatalError {
            cause: format!("{cause}; this is a bug, please report it"),
            kind: ErrorKind::Bug,
        }
    }
}

impl std::fmt::Display for FatalError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.cause)
    }
}

/// The requested way to shut an engine down, in ascending order of strength.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ShutdownMode {
    /// No shutdown: requests are accepted.
    None,
    /// Finish the requests that were accepted; accept no more.
    Drain,
    /// Cancel all requests.
    Abort,
}

/// State shared by an engine's handle and its thread.
#[derive(Default)]
pub(super) struct EngineState {
    shutdown: AtomicU8,
    /// Number of accepted requests that have not started.
    pub queued: AtomicUsize,
    fatal_error: Mutex<Option<FatalError>>,
    stats: Mutex<EngineStats>,
}

impl EngineState {
    pub fn shutdown(&self) -> ShutdownMode {
        match self.shutdown.load(Ordering::SeqCst) {
            0 => ShutdownMode::None,
            1 => ShutdownMode::Drain,
            _ => ShutdownMode::Abort,
        }
    }

    /// Requests a shutdown; no effect if a stronger mode was requested earlier.
    pub fn request_shutdown(&self, mode: ShutdownMode) {
        self.shutdown.fetch_max(mode as u8, Ordering::SeqCst);
    }

    pub fn fatal_error(&self) -> Option<FatalError> {
        unpoisoned(self.fatal_error.lock()).clone()
    }

    /// Records a fatal error, unless one is already recorded.
    pub fn set_fatal_error(&self, error: FatalError) {
        unpoisoned(self.fatal_error.lock()).get_or_insert(error);
    }

    pub fn stats(&self) -> EngineStats {
        unpoisoned(self.stats.lock()).clone()
    }

    pub fn publish(&self, stats: EngineStats) {
        *unpoisoned(self.stats.lock()) = stats;
    }
}

//! Whether an engine is open, ending or dead: what its handle and its thread both know.

use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{EngineStats, FatalError};

/// What the handle wants of the thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ShutdownMode {
    /// Take requests.
    Open,
    /// Take no more, finish those that are there.
    Drain,
    /// End them now.
    Stop,
}

/// Shared by the handle and the thread.
#[derive(Default)]
pub(super) struct EngineState {
    wish: AtomicU8,
    /// Requests taken that no pass has begun with.
    pub queued: AtomicUsize,
    died: Mutex<Option<FatalError>>,
    stats: Mutex<EngineStats>,
}

impl EngineState {
    pub fn wish(&self) -> ShutdownMode {
        match self.wish.load(Ordering::SeqCst) {
            0 => ShutdownMode::Open,
            1 => ShutdownMode::Drain,
            _ => ShutdownMode::Stop,
        }
    }

    /// Wishes become stronger only.
    pub fn ask(&self, wish: ShutdownMode) {
        self.wish.fetch_max(wish as u8, Ordering::SeqCst);
    }

    /// Why the thread died.
    pub fn fatal_error(&self) -> Option<FatalError> {
        lock(&self.died).clone()
    }

    pub fn die(&self, death: FatalError) {
        lock(&self.died).get_or_insert(death);
    }

    pub fn stats(&self) -> EngineStats {
        lock(&self.stats).clone()
    }

    pub fn publish(&self, stats: EngineStats) {
        *lock(&self.stats) = stats;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

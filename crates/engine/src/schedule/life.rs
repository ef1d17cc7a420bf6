//! Whether an engine is open, ending or dead: what its handle and its thread both know.

use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Death, Stats};

/// What the handle wants of the thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wish {
    /// Take requests.
    Open,
    /// Take no more, finish those that are there.
    Drain,
    /// End them now.
    Stop,
}

/// Shared by the handle and the thread.
#[derive(Default)]
pub(super) struct Life {
    wish: AtomicU8,
    /// Requests taken that no pass has begun with.
    pub queued: AtomicUsize,
    died: Mutex<Option<Death>>,
    stats: Mutex<Stats>,
}

impl Life {
    pub fn wish(&self) -> Wish {
        match self.wish.load(Ordering::SeqCst) {
            0 => Wish::Open,
            1 => Wish::Drain,
            _ => Wish::Stop,
        }
    }

    /// Wishes become stronger only.
    pub fn ask(&self, wish: Wish) {
        self.wish.fetch_max(wish as u8, Ordering::SeqCst);
    }

    /// Why the thread died.
    pub fn died(&self) -> Option<Death> {
        lock(&self.died).clone()
    }

    pub fn die(&self, death: Death) {
        lock(&self.died).get_or_insert(death);
    }

    pub fn stats(&self) -> Stats {
        lock(&self.stats).clone()
    }

    pub fn publish(&self, stats: Stats) {
        *lock(&self.stats) = stats;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

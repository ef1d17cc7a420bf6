//! Progress of one thread.

use crate::{Stage, ThreadSnapshot, Watch};
use base::unpoisoned;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

/// Handle through which a thread reports its progress; dropping it unregisters the thread.
#[derive(Debug)]
pub struct ThreadProgress {
    watch: Watch,
    state: Arc<ThreadState>,
}

impl ThreadProgress {
    pub(crate) fn new(watch: Watch, state: Arc<ThreadState>) -> Self {
        ThreadProgress { watch, state }
    }

    /// Records the thread's next operation: its stage, its file or device (`what`), and the offset
    /// in `what`, in bytes. Call it *before* anything that can block, so that a stall report names
    /// the right operation.
    pub fn at(&self, stage: Stage, what: &str, offset: u64) {
        let mut position = self.state.position();
        position.stage = Some(stage);
        if position.what != what {
            what.clone_into(&mut position.what);
        }
        position.offset = offset;
    }

    /// Adds `bytes` to the bytes done.
    pub fn advance(&self, bytes: u64) {
        self.progress(bytes, 0);
    }

    /// Adds one item (shard, step) to the items done.
    pub fn item_done(&self) {
        self.progress(0, 1);
    }

    fn progress(&self, bytes: u64, items: u64) {
        self.state.bytes_done.fetch_add(bytes, Ordering::Relaxed);
        let stage = {
            let mut position = self.state.position();
            position.offset += bytes;
            position.since = Instant::now();
            position.stage
        };
        if let Some(stage) = stage {
            self.watch.count(stage, bytes, items);
        }
        self.watch.beat();
    }
}

impl Drop for ThreadProgress {
    fn drop(&mut self) {
        self.watch.remove_thread(&self.state);
    }
}

/// State of a registered thread in a [`Watch`].
#[derive(Debug)]
pub(crate) struct ThreadState {
    thread: String,
    bytes_done: AtomicU64,
    position: Mutex<ThreadPosition>,
}

#[derive(Debug)]
struct ThreadPosition {
    stage: Option<Stage>,
    what: String,
    offset: u64,
    /// Time of the last progress.
    since: Instant,
}

impl ThreadState {
    pub(crate) fn new(thread: &str) -> Self {
        let position =
            ThreadPosition { stage: None, what: String::new(), offset: 0, since: Instant::now() };
        ThreadState {
            thread: thread.to_owned(),
            bytes_done: AtomicU64::new(0),
            position: Mutex::new(position),
        }
    }

    fn position(&self) -> MutexGuard<'_, ThreadPosition> {
        unpoisoned(self.position.lock())
    }

    pub(crate) fn snapshot(&self) -> ThreadSnapshot {
        let position = self.position();
        ThreadSnapshot {
            thread: self.thread.clone(),
            stage: position.stage,
            what: position.what.clone(),
            offset: position.offset,
            bytes_done: self.bytes_done.load(Ordering::Relaxed),
            idle_s: position.since.elapsed().as_secs_f64(),
        }
    }
}

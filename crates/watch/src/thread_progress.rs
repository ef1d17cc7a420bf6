use crate::{Stage, ThreadSnapshot, Watch};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// One working thread's place on the board.
#[derive(Debug)]
pub struct ThreadProgress {
    watch: Watch,
    slot: Arc<ThreadState>,
}

impl ThreadProgress {
    pub(crate) fn new(watch: Watch, slot: Arc<ThreadState>) -> Self {
        ThreadProgress { watch, slot }
    }

    /// Says what the thread does next: the stage, the file or device, and the offset in it in
    /// bytes. Call it *before* anything that can block, so that a stall names the right place.
    pub fn at(&self, stage: Stage, what: &str, offset: u64) {
        let mut place = self.slot.place();
        place.stage = Some(stage);
        if place.what != what {
            what.clone_into(&mut place.what);
        }
        place.offset = offset;
    }

    /// Bytes done since the last call.
    pub fn advance(&self, bytes: u64) {
        self.progress(bytes, 0);
    }

    /// One item (shard, step) done.
    pub fn item_done(&self) {
        self.progress(0, 1);
    }

    fn progress(&self, bytes: u64, items: u64) {
        self.slot.bytes_done.fetch_add(bytes, Ordering::Relaxed);
        let stage = {
            let mut place = self.slot.place();
            place.offset += bytes;
            place.since = Instant::now();
            place.stage
        };
        if let Some(stage) = stage {
            self.watch.count(stage, bytes, items);
        }
        self.watch.beat();
    }
}

impl Drop for ThreadProgress {
    fn drop(&mut self) {
        self.watch.remove_thread(&self.slot);
    }
}

#[derive(Debug)]
pub(crate) struct ThreadState {
    thread: String,
    bytes_done: AtomicU64,
    place: Mutex<Place>,
}

#[derive(Debug)]
struct Place {
    stage: Option<Stage>,
    what: String,
    offset: u64,
    since: Instant,
}

impl ThreadState {
    pub(crate) fn new(thread: &str) -> Self {
        let place = Place { stage: None, what: String::new(), offset: 0, since: Instant::now() };
        ThreadState {
            thread: thread.to_owned(),
            bytes_done: AtomicU64::new(0),
            place: Mutex::new(place),
        }
    }

    fn place(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn view(&self) -> ThreadSnapshot {
        let place = self.place();
        ThreadSnapshot {
            thread: self.thread.clone(),
            stage: place.stage,
            what: place.what.clone(),
            offset: place.offset,
            bytes_done: self.bytes_done.load(Ordering::Relaxed),
            idle_s: place.since.elapsed().as_secs_f64(),
        }
    }
}

//! Stages, progress and stall detection for all operations that can take long.
//!
//! Library code only *reports*: it enters a [`Stage`], registers each working thread
//! ([`ThreadProgress`]), and records the thread's position (file, offset, device) and the bytes and
//! items done. The [`Watchdog`] alone decides that an operation takes too long. Its decisions
//! depend only on [`Snapshot`]s and the times passed to it, and it runs in the supervising process,
//! because a thread that is blocked in a system call cannot detect that.
//!
//! ```
//! use watch::{Stage, Watch};
//! let watch = Watch::silent();
//! let _reading = watch.enter(Stage::Read);
//! let progress = watch.thread("reader 0");
//! progress.at(Stage::Read, "model-00001-of-00030.safetensors", 0);
//! progress.advance(1 << 20);
//! assert_eq!(watch.snapshot().threads[0].bytes_done, 1 << 20);
//! ```

mod event;
mod figures;
mod snapshot;
mod stage;
mod thread_progress;
mod watchdog;

pub use event::{NoteLevel, WatchEvent, WorkerMessage};
pub use figures::{Figures, RunFigures, TierFigures};
pub use snapshot::{Snapshot, ThreadSnapshot};
pub use stage::{Stage, StageGuard};
pub use thread_progress::ThreadProgress;
pub use watchdog::{Stall, WatchLimits, Watchdog};

use base::unpoisoned;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use thread_progress::ThreadState;

/// Receiver of events: a terminal, a pipe to the supervisor, a test's list.
pub type Sink = Box<dyn Fn(WatchEvent) + Send + Sync>;

/// Collects the progress of all threads of a process. Clones share the state.
#[derive(Clone)]
pub struct Watch(Arc<WatchState>);

struct WatchState {
    sink: Sink,
    canceled: AtomicBool,
    /// Incremented by every progress report.
    beats: AtomicU64,
    board: Mutex<Board>,
}

#[derive(Default)]
struct Board {
    stages: Vec<Stage>,
    bar: Option<Stage>,
    bytes_total: u64,
    items_total: u64,
    bytes_done: u64,
    items_done: u64,
    detail: String,
    figures: Option<Figures>,
    threads: Vec<Arc<ThreadState>>,
}

impl Watch {
    /// A watch that passes events to `sink`. The sink is called on the reporting thread, so it must
    /// be fast.
    pub fn new(sink: Sink) -> Self {
        Watch(Arc::new(WatchState {
            sink,
            canceled: AtomicBool::new(false),
            beats: AtomicU64::new(0),
            board: Mutex::default(),
        }))
    }

    /// A watch that discards events.
    pub fn silent() -> Self {
        Watch::new(Box::new(|_| ()))
    }

    /// Enters a stage, which ends when the guard is dropped. Stages nest.
    pub fn enter(&self, stage: Stage) -> StageGuard {
        self.board().stages.push(stage);
        self.beat();
        self.send(WatchEvent::Entered { stage });
        StageGuard::new(self.clone(), stage)
    }

    pub(crate) fn leave(&self, stage: Stage, seconds: f64, summary: String) {
        let mut board = self.board();
        if let Some(index) = board.stages.iter().rposition(|s| *s == stage) {
            board.stages.remove(index);
        }
        let (mut bytes_done, mut items_done) = (0, 0);
        if board.bar == Some(stage) {
            board.bar = None;
            (bytes_done, items_done) = (board.bytes_done, board.items_done);
        }
        drop(board);
        self.beat();
        self.send(WatchEvent::Left { stage, seconds, bytes_done, items_done, summary });
    }

    /// Starts the progress bar of `stage`, given its total numbers of bytes and items (shards,
    /// steps). The bar counts the progress of threads whose last [`ThreadProgress::at`] names this
    /// stage.
    pub fn total(&self, stage: Stage, bytes_total: u64, items_total: u64) {
        let mut board = self.board();
        (board.bar, board.bytes_total, board.items_total) = (Some(stage), bytes_total, items_total);
        (board.bytes_done, board.items_done) = (0, 0);
        drop(board);
        self.send(WatchEvent::Total { stage, bytes_total, items_total });
    }

    /// Sends a line for the user that is shown unless `--quiet` is given.
    pub fn note(&self, text: impl Into<String>) {
        self.note_at(NoteLevel::Normal, text);
    }

    /// Sends a line that is shown with `-v` only.
    pub fn verbose(&self, text: impl Into<String>) {
        self.note_at(NoteLevel::Verbose, text);
    }

    /// Sends a line that is shown at the verbosity `level`.
    pub fn note_at(&self, level: NoteLevel, text: impl Into<String>) {
        self.beat();
        self.send(WatchEvent::Note { text: text.into(), level });
    }

    /// Reports the rung of the fallback ladder that is being tried, and the bytes of host memory
    /// that the next plan may use if this rung runs out of host memory.
    pub fn rung(&self, model: &str, rung: &str, next_host_bytes: u64) {
        self.beat();
        self.send(WatchEvent::Rung {
            model: model.to_owned(),
            rung: rung.to_owned(),
            next_host_bytes,
        });
    }

    /// Reports that a file of `bytes` bytes is memory-mapped.
    pub fn mapped(&self, path: &str, bytes: u64) {
        self.send(WatchEvent::Mapped { path: path.to_owned(), bytes });
    }

    /// Replaces the text beside the progress bar.
    pub fn detail(&self, text: impl Into<String>) {
        self.board().detail = text.into();
    }

    /// Updates the figures of the running experiment; the first call creates them.
    pub fn figures(&self, change: impl FnOnce(&mut Figures)) {
        change(self.board().figures.get_or_insert_default());
    }

    /// Registers a working thread; it stays registered until the handle is dropped.
    pub fn thread(&self, name: &str) -> ThreadProgress {
        let state = Arc::new(ThreadState::new(name));
        self.board().threads.push(state.clone());
        ThreadProgress::new(self.clone(), state)
    }

    pub(crate) fn remove_thread(&self, state: &Arc<ThreadState>) {
        self.board().threads.retain(|s| !Arc::ptr_eq(s, state));
    }

    pub(crate) fn count(&self, stage: Stage, bytes: u64, items: u64) {
        let mut board = self.board();
        if board.bar == Some(stage) {
            board.bytes_done += bytes;
            board.items_done += items;
        }
    }

    /// Reports progress that is not counted in bytes and has no registered thread, such as a token
    /// or a step.
    pub fn beat(&self) {
        self.0.beats.fetch_add(1, Ordering::Relaxed);
    }

    /// Requests that all work stop soon. Workers poll [`Watch::canceled`].
    pub fn cancel(&self) {
        self.0.canceled.store(true, Ordering::SeqCst);
    }

    /// Whether [`Watch::cancel`] was called.
    pub fn canceled(&self) -> bool {
        self.0.canceled.load(Ordering::SeqCst)
    }

    /// The current state of the process.
    pub fn snapshot(&self) -> Snapshot {
        let board = self.board();
        Snapshot {
            beats: self.0.beats.load(Ordering::Relaxed),
            stages: board.stages.clone(),
            bar: board.bar,
            bytes_done: board.bytes_done,
            bytes_total: board.bytes_total,
            items_done: board.items_done,
            items_total: board.items_total,
            detail: board.detail.clone(),
            figures: board.figures.clone().map(Box::new),
            threads: board.threads.iter().map(|thread| thread.snapshot()).collect(),
        }
    }

    fn send(&self, event: WatchEvent) {
        (self.0.sink)(event);
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        // A poisoned board is still consistent: it holds independent counters.
        unpoisoned(self.0.board.lock())
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.snapshot().fmt(f)
    }
}

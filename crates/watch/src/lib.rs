//! Named stages, progress and deadlines of everything that can take time.
//!
//! Library code *reports*: it enters a [`Stage`], takes a [`ThreadProgress`] for each thread that works, says
//! where the seat is (file, offset, device) and advances it. It never decides that something takes
//! too long. The deciding is done by a [`Watchdog`], which sees nothing but [`Snapshot`]s and a clock
//! given from outside, in another process if need be: a thread that is stuck in the kernel cannot
//! be trusted to notice that it is stuck.
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

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use thread_progress::ThreadState;

/// Where events go: a terminal, a pipe to the supervisor, a test's list.
pub type Sink = Box<dyn Fn(WatchEvent) + Send + Sync>;

/// The board on which all threads of a process report. Clones share it.
#[derive(Clone)]
pub struct Watch(Arc<WatchState>);

pub(crate) struct WatchState {
    sink: Sink,
    canceled: AtomicBool,
    /// Bumped by everything that counts as progress, seats included.
    pub(crate) beats: AtomicU64,
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
    /// A watch whose events go to `sink`. The sink is called on the reporting thread and must be
    /// quick.
    pub fn new(sink: Sink) -> Self {
        Watch(Arc::new(WatchState {
            sink,
            canceled: AtomicBool::new(false),
            beats: AtomicU64::new(0),
            board: Mutex::default(),
        }))
    }

    /// A watch that nobody listens to.
    pub fn silent() -> Self {
        Watch::new(Box::new(|_| ()))
    }

    /// Enters a stage; it is left when the guard is dropped. Stages nest.
    pub fn enter(&self, stage: Stage) -> StageGuard {
        self.board().stages.push(stage);
        self.beat();
        self.send(WatchEvent::Entered { stage });
        StageGuard::new(self.clone(), stage)
    }

    pub(crate) fn left(&self, stage: Stage, seconds: f64, summary: String) {
        let mut board = self.board();
        if let Some(at) = board.stages.iter().rposition(|s| *s == stage) {
            board.stages.remove(at);
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

    /// Says how much a stage has before it: bytes and items (shards, steps). Seats that are `at`
    /// this stage count.
    pub fn total(&self, stage: Stage, bytes_total: u64, items_total: u64) {
        let mut board = self.board();
        (board.bar, board.bytes_total, board.items_total) = (Some(stage), bytes_total, items_total);
        (board.bytes_done, board.items_done) = (0, 0);
        drop(board);
        self.send(WatchEvent::Total { stage, bytes_total, items_total });
    }

    /// A line for people, shown unless the program is quiet.
    pub fn note(&self, text: impl Into<String>) {
        self.note_at(NoteLevel::Normal, text);
    }

    /// A line that is shown with `-v` only.
    pub fn verbose(&self, text: impl Into<String>) {
        self.note_at(NoteLevel::Verbose, text);
    }

    /// A line that is shown at this verbosity.
    pub fn note_at(&self, level: NoteLevel, text: impl Into<String>) {
        self.beat();
        self.send(WatchEvent::Note { text: text.into(), level });
    }

    /// Says by which rung of the ladder a model is being brought up, and what host memory a plan
    /// may take after this one ran out of it.
    pub fn rung(&self, model: &str, rung: &str, next_host_bytes: u64) {
        self.beat();
        self.send(WatchEvent::Rung {
            model: model.to_owned(),
            rung: rung.to_owned(),
            next_host_bytes,
        });
    }

    /// Says that a file of so many bytes is used from a map.
    pub fn mapped(&self, path: &str, bytes: u64) {
        self.send(WatchEvent::Mapped { path: path.to_owned(), bytes });
    }

    /// A few words beside the bar, replaced by the next.
    pub fn detail(&self, text: impl Into<String>) {
        self.board().detail = text.into();
    }

    /// Changes the figures of the experiment that runs; there are none before the first call.
    pub fn figures(&self, change: impl FnOnce(&mut Figures)) {
        change(self.board().figures.get_or_insert_default());
    }

    /// A seat for a thread that works; it is given back when dropped.
    pub fn thread(&self, thread: &str) -> ThreadProgress {
        let slot = Arc::new(ThreadState::new(thread));
        self.board().threads.push(slot.clone());
        ThreadProgress::new(self.clone(), slot)
    }

    pub(crate) fn remove_thread(&self, slot: &Arc<ThreadState>) {
        self.board().threads.retain(|s| !Arc::ptr_eq(s, slot));
    }

    pub(crate) fn count(&self, stage: Stage, bytes: u64, items: u64) {
        let mut board = self.board();
        if board.bar == Some(stage) {
            board.bytes_done += bytes;
            board.items_done += items;
        }
    }

    /// Progress of a kind that has neither bytes nor a seat (a token, a step).
    pub fn beat(&self) {
        self.0.beats.fetch_add(1, Ordering::Relaxed);
    }

    /// Asks all work to stop soon; those who work look at [`Watch::canceled`].
    pub fn cancel(&self) {
        self.0.canceled.store(true, Ordering::SeqCst);
    }

    /// Whether somebody asked to stop.
    pub fn canceled(&self) -> bool {
        self.0.canceled.load(Ordering::SeqCst)
    }

    /// What everybody is doing now.
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
            threads: board.threads.iter().map(|slot| slot.view()).collect(),
        }
    }

    fn send(&self, event: WatchEvent) {
        (self.0.sink)(event);
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        // A thread that panicked while it held the board left counters behind, not broken
        // invariants.
        self.0.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.snapshot().fmt(f)
    }
}

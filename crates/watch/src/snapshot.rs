//! The state of a process at one instant.

use crate::{Figures, Stage};
use serde::{Deserialize, Serialize};

/// State of a process: its stages, its progress bar and its threads.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Number of progress reports so far. If two snapshots have the same number, there was no
    /// progress between them.
    pub beats: u64,
    /// Stages entered and not left, outermost first.
    pub stages: Vec<Stage>,
    /// The stage that the progress bar shows. The next four fields are the bar's numbers.
    pub bar: Option<Stage>,
    pub bytes_done: u64,
    /// 0 if unknown.
    pub bytes_total: u64,
    /// Items (shards, steps) done.
    pub items_done: u64,
    pub items_total: u64,
    /// Short text beside the progress bar.
    pub detail: String,
    /// The running experiment, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub figures: Option<Box<Figures>>,
    pub threads: Vec<ThreadSnapshot>,
}

/// State of one reporting thread.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ThreadSnapshot {
    /// Name of the thread.
    pub thread: String,
    /// Current stage; `None` before the thread's first report.
    pub stage: Option<Stage>,
    /// File or device that the thread works on.
    pub what: String,
    /// Offset in `what`, in bytes.
    pub offset: u64,
    /// Bytes done since the thread registered.
    pub bytes_done: u64,
    /// Seconds since the thread's last progress.
    pub idle_s: f64,
}

impl std::fmt::Display for ThreadSnapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let stage = self.stage.map_or("starting", Stage::label);
        let what = if self.what.is_empty() { "-" } else { &self.what };
        write!(
            f,
            "{}: {stage}, {what}, offset {}, {} bytes done, {:.1} s since progress",
            self.thread, self.offset, self.bytes_done, self.idle_s
        )
    }
}

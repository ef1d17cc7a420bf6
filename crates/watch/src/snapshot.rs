use crate::{Figures, Stage};
use serde::{Deserialize, Serialize};

/// What a process is doing at one instant.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Grows with every piece of progress; two snapshots with the same value have no progress
    /// between them.
    pub beats: u64,
    /// The stages entered and not yet left, outermost first.
    pub stages: Vec<Stage>,
    /// The stage that the totals below belong to.
    pub bar: Option<Stage>,
    /// Bytes of that stage done, and in all (0: not known).
    pub bytes_done: u64,
    /// See `bytes_done`.
    pub bytes_total: u64,
    /// Items (shards, steps) of that stage done, and in all.
    pub items_done: u64,
    /// See `items_done`.
    pub items_total: u64,
    /// A few words beside the bar.
    pub detail: String,
    /// The experiment that runs, if one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub figures: Option<Box<Figures>>,
    /// Every thread that works.
    pub threads: Vec<ThreadSnapshot>,
}

/// What one thread is doing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ThreadSnapshot {
    /// The thread's name.
    pub thread: String,
    /// What it does, if it has said so.
    pub stage: Option<Stage>,
    /// The file or device.
    pub what: String,
    /// Bytes into it.
    pub offset: u64,
    /// Bytes it has done since it sat down.
    pub bytes_done: u64,
    /// Seconds since its last progress.
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

//! The protocol between a worker process and its supervisor.

use crate::{Snapshot, Stage};
use serde::{Deserialize, Serialize};

/// Something that the console shows or the supervisor records when it happens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum WatchEvent {
    /// A stage begins.
    Entered { stage: Stage },
    /// A stage ends.
    Left {
        stage: Stage,
        /// Duration of the stage.
        seconds: f64,
        /// Bytes done in the stage; 0 without a progress bar.
        bytes_done: u64,
        /// Items (shards, steps) done in the stage; 0 without a progress bar.
        items_done: u64,
        /// Result of the stage in one line ([`crate::StageGuard::summary`]); further lines are
        /// details.
        summary: String,
    },
    /// The total numbers of bytes and items of a stage became known.
    Total { stage: Stage, bytes_total: u64, items_total: u64 },
    /// A rung of the fallback ladder is being tried.
    Rung {
        /// The model as the user named it.
        model: String,
        rung: String,
        /// Bytes of host memory that the next plan may use if this rung runs out of host memory.
        next_host_bytes: u64,
    },
    /// A checkpoint file was memory-mapped. The worker dies of SIGBUS if the file is truncated.
    Mapped {
        path: String,
        /// Size of the file when it was mapped.
        bytes: u64,
    },
    /// A line for the user.
    Note {
        /// The line, without its newline.
        text: String,
        level: NoteLevel,
    },
}

/// Verbosity at which a note is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoteLevel {
    /// Always, except with `--quiet`.
    Normal,
    /// Neither with `--quiet` nor with `-v`: the short form of verbose notes.
    Brief,
    /// Only with `-v`.
    Verbose,
}

/// A message of a worker to its supervisor: one JSON document per line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "message")]
pub enum WorkerMessage {
    Event(WatchEvent),
    /// State of all threads; sent several times a second, with or without progress.
    Heartbeat(Box<Snapshot>),
    /// The worker ends with an error.
    Failed {
        /// Exit code of the process.
        exit: u8,
        /// The error message for the user.
        text: String,
    },
}

use crate::{Snapshot, Stage};
use serde::{Deserialize, Serialize};

/// Something that people are told when it happens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum WatchEvent {
    /// A stage begins.
    Entered {
        /// Which.
        stage: Stage,
    },
    /// A stage is over.
    Left {
        /// Which.
        stage: Stage,
        /// How long it took.
        seconds: f64,
        /// Bytes done in it, where it had a bar.
        bytes_done: u64,
        /// Items (shards, steps) done in it, where it had a bar.
        items_done: u64,
        /// The stage's result in a line, from [`crate::StageGuard::summary`]; further lines are
        /// details of it.
        summary: String,
    },
    /// A stage knows its size.
    Total {
        /// Which.
        stage: Stage,
        /// Bytes before it.
        bytes_total: u64,
        /// Items (shards, steps) before it.
        items_total: u64,
    },
    /// A model is brought up by a rung of the ladder of fallbacks.
    Rung {
        /// The model, as it was asked for.
        model: String,
        /// The rung's name.
        rung: String,
        /// Host memory that a plan may take after this one ran out of it.
        next_host_bytes: u64,
    },
    /// A file is used from a map: whoever shortens it ends this process.
    Mapped {
        /// Its path.
        path: String,
        /// Its size when it was mapped.
        bytes: u64,
    },
    /// A line for people.
    Note {
        /// The line, without its newline.
        text: String,
        /// At which verbosity it is shown.
        level: NoteLevel,
    },
}

/// The verbosity at which a note is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoteLevel {
    /// Always, unless the program is quiet.
    Normal,
    /// Only without `-v`: the short form of verbose notes.
    Brief,
    /// Only with `-v`.
    Verbose,
}

/// What a worker tells its supervisor, one JSON document a line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "message")]
pub enum WorkerMessage {
    /// Something happened.
    Event(WatchEvent),
    /// What all threads are doing; sent several times a second, also when nothing moves.
    Heartbeat(Box<Snapshot>),
    /// The worker ends with an error; its exit code and what to print.
    Failed {
        /// The process's exit code.
        exit: u8,
        /// What people read.
        text: String,
    },
}

//! Options of one command that carries out an experiment.

use results::Provenance;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Takes the place of a model's name for runs of scripted operators.
pub const SCRIPTED: &str = "scripted";

/// How an experiment is carried out. Changes no row.
pub struct RunOptions {
    /// The experiment's folder (see [`Config::folder`](crate::Config::folder)).
    pub folder: PathBuf,
    /// Runs in flight at a time.
    pub jobs: usize,
    /// Stop after this command committed this many runs.
    pub runs_max: Option<usize>,
    /// Accept rows of another kernel set in a folder; they are marked.
    pub accept_mixed: bool,
    /// Only the runs of this model, or of scripted operators ([`SCRIPTED`]).
    pub model: Option<String>,
    /// Take no further step after this instant; a later command continues.
    pub stop_at: Option<Instant>,
    /// How long to watch runs that other processes have claimed, once nothing else is left, so as
    /// to take over from a lost process. A claim of another host expires after 120 s without a
    /// heartbeat.
    pub claim_patience: Duration,
    /// Version, git commit and host; the other fields are filled in.
    pub provenance: Provenance,
}

//! Options of a command that carries out an experiment.

use results::Provenance;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The name that stands for scripted operators wherever a model is selected by name.
pub const SCRIPTED: &str = "scripted";

/// How a command carries out an experiment. These options affect no row.
pub struct RunOptions {
    /// The experiment's folder (see [`Config::folder`](crate::Config::folder)).
    pub folder: PathBuf,
    /// Number of concurrent runs.
    pub jobs: usize,
    /// Stop after this command has committed this number of runs.
    pub runs_max: Option<usize>,
    /// Accept a kernel set that differs from the one recorded in the folder; its rows are marked.
    pub accept_mixed: bool,
    /// Carry out only the runs of this model, or of scripted operators ([`SCRIPTED`]).
    pub model: Option<String>,
    /// Carry out only the run with this id. Runs of people are carried out only if they are named
    /// here.
    pub run: Option<String>,
    /// Start no further step after this instant; a later command continues.
    pub stop_at: Option<Instant>,
    /// How long to watch runs that other processes have claimed, once all other runs are done, in
    /// order to take over the runs of a process that died. A claim by another host expires after
    /// 120 s without a heartbeat.
    pub claim_patience: Duration,
    /// Version, git commit and host of this program. The other fields are overwritten with the
    /// configuration's file and notes and the current time.
    pub provenance: Provenance,
}

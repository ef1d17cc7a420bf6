//! The result of a command that carries out an experiment.

use results::ClosingRow;

/// What a command did, and which runs remain.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ExperimentSummary {
    /// Number of runs of the configuration.
    pub total: usize,
    /// Number of runs committed before the command.
    pub done_before: usize,
    /// Number of runs committed by the command.
    pub done_now: usize,
    /// Runs whose last attempt failed: run id and reason.
    pub failed: Vec<(String, String)>,
    /// Runs that other processes have claimed: run id and owner.
    pub claimed_elsewhere: Vec<(String, String)>,
    /// Number of runs that are not committed.
    pub left: usize,
    /// Whether the command was canceled before all runs were committed.
    pub interrupted: bool,
    /// Whether [`RunOptions::stop_at`](crate::RunOptions::stop_at) passed before all runs were
    /// committed.
    pub time_up: bool,
    /// Whether [`RunOptions::runs_max`](crate::RunOptions::runs_max) or a usage limit stopped the
    /// command before all runs were committed.
    pub limited: bool,
    /// Message about the reached limit of tokens, hours or failures.
    pub limit: Option<String>,
    /// Rows of the closing table, one for each run committed by the command.
    pub closing: Vec<ClosingRow>,
}

/// How a command ended. If several outcomes apply, it is the first of them in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExperimentOutcome {
    TimeUp,
    Interrupted,
    RunsFailed,
    /// Other processes work on the remaining runs.
    ClaimedElsewhere,
    /// All runs are committed, or the command reached a limit without a failed run.
    Completed,
}

impl ExperimentSummary {
    pub fn all_done(&self) -> bool {
        self.left == 0
    }

    pub fn outcome(&self) -> ExperimentOutcome {
        match self {
            _ if self.time_up => ExperimentOutcome::TimeUp,
            _ if self.interrupted => ExperimentOutcome::Interrupted,
            _ if !self.failed.is_empty() => ExperimentOutcome::RunsFailed,
            _ if !self.claimed_elsewhere.is_empty() => ExperimentOutcome::ClaimedElsewhere,
            _ => ExperimentOutcome::Completed,
        }
    }
}

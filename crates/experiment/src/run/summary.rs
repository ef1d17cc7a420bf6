//! The result of one command.

use results::ClosingRow;

/// What a command did, and what is left.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ExperimentSummary {
    /// All runs of the configuration.
    pub total: usize,
    /// Runs committed before the command.
    pub done_before: usize,
    /// Runs committed by the command.
    pub done_now: usize,
    /// Runs whose last attempt failed: run id and reason.
    pub failed: Vec<(String, String)>,
    /// Runs left to other processes: run id and owner.
    pub claimed_elsewhere: Vec<(String, String)>,
    /// Runs that are not committed.
    pub left: usize,
    /// The command was canceled with runs left.
    pub interrupted: bool,
    /// [`RunOptions::stop_at`](crate::RunOptions::stop_at) passed with runs left.
    pub time_up: bool,
    /// Stopped by [`RunOptions::runs_max`](crate::RunOptions::runs_max) or a limit, with runs
    /// left.
    pub limited: bool,
    /// The reached limit of tokens, hours or failures.
    pub limit: Option<String>,
    /// Rows of the closing table: the runs committed by the command.
    pub closing: Vec<ClosingRow>,
}

/// How a command ended. Where several apply, the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExperimentOutcome {
    TimeUp,
    Interrupted,
    RunsFailed,
    /// Other processes work on the runs that are left.
    ClaimedElsewhere,
    /// Everything is committed, or a limit was reached without failures.
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

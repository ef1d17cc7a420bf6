//! Runs that other processes have claimed: left to them while their claims are alive, and taken
//! over otherwise.

use crate::config::PlannedRun;
use results::{Owner, ResultsError, Store};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Interval between checks of claims.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);
/// Claims read in one check, since many processes read from one file system.
const CHECKS_MAX: usize = 32;

/// A run that another process has claimed.
pub(crate) struct ClaimedRun {
    pub run: PlannedRun,
    pub tries: u64,
    pub owner: Owner,
    since: Instant,
}

/// All claimed runs, and the time of the next check.
pub(crate) struct RunsClaimedElsewhere {
    runs: VecDeque<ClaimedRun>,
    patience: Duration,
    next_check: Instant,
}

/// Result of a check.
pub(crate) enum ClaimCheck {
    /// A claim was released or has expired: the run, and its tries so far.
    Free(PlannedRun, u64),
    /// A run was committed by its owner.
    Committed,
    /// Nothing is free now; check again later.
    Wait,
    /// All remaining owners have been alive for longer than the patience.
    GiveUp,
}

impl RunsClaimedElsewhere {
    /// A run is left to its owner after the owner was seen alive for `patience`.
    pub fn new(patience: Duration) -> RunsClaimedElsewhere {
        RunsClaimedElsewhere { runs: VecDeque::new(), patience, next_check: Instant::now() }
    }

    pub fn add(&mut self, run: PlannedRun, tries: u64, owner: Owner) {
        self.runs.push_back(ClaimedRun { run, tries, owner, since: Instant::now() });
    }

    /// Checks some of the claims, least recently checked first.
    ///
    /// # Errors
    /// A claim cannot be read.
    pub fn check(&mut self, store: &Store, here: &Owner) -> Result<ClaimCheck, ResultsError> {
        if self.runs.iter().all(|claimed| claimed.since.elapsed() >= self.patience) {
            return Ok(ClaimCheck::GiveUp);
        }
        if self.next_check > Instant::now() {
            return Ok(ClaimCheck::Wait);
        }
        for _ in 0..self.runs.len().min(CHECKS_MAX) {
            let Some(mut claimed) = self.runs.pop_front() else { break };
            let folder = store.run(&claimed.run.run_id);
            if folder.is_committed() {
                return Ok(ClaimCheck::Committed);
            }
            match folder.held_by(here)? {
                None => return Ok(ClaimCheck::Free(claimed.run, claimed.tries)),
                Some(owner) if owner != claimed.owner => {
                    (claimed.owner, claimed.since) = (owner, Instant::now())
                }
                Some(_) => {}
            }
            self.runs.push_back(claimed);
        }
        self.next_check = Instant::now() + CHECK_INTERVAL;
        Ok(ClaimCheck::Wait)
    }

    /// The runs that stay with other processes.
    pub fn into_runs(self) -> impl Iterator<Item = ClaimedRun> {
        self.runs.into_iter()
    }
}

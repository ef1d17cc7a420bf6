//! Runs that other processes have claimed. They are left to their owners while the owners are
//! alive, and taken over otherwise.

use crate::config::PlannedRun;
use results::{Owner, ResultsError, Store};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Interval between checks of the claims.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);
/// Maximum number of claims read in one check, to limit the load when many processes read from one
/// file system.
const CHECKS_MAX: usize = 32;

/// A run that another process has claimed.
pub(crate) struct ClaimedRun {
    pub run: PlannedRun,
    pub tries: u64,
    pub owner: Owner,
    since: Instant,
}

/// All runs claimed by other processes, and the time of the next check of their claims.
pub(crate) struct RunsClaimedElsewhere {
    runs: VecDeque<ClaimedRun>,
    patience: Duration,
    next_check: Instant,
}

/// Result of one check of claims.
pub(crate) enum ClaimCheck {
    /// A claim was released or has expired: the run, and the number of its failed attempts so far.
    Free(Box<PlannedRun>, u64),
    /// The owner of a run has committed it.
    Committed,
    /// No run is free at the moment; check again later.
    Wait,
    /// Every remaining run has had the same live owner for longer than the patience.
    GiveUp,
}

impl RunsClaimedElsewhere {
    /// `patience` is the time for which each owner is watched; afterwards the run is left to it.
    pub fn new(patience: Duration) -> RunsClaimedElsewhere {
        RunsClaimedElsewhere { runs: VecDeque::new(), patience, next_check: Instant::now() }
    }

    pub fn add(&mut self, run: PlannedRun, tries: u64, owner: Owner) {
        self.runs.push_back(ClaimedRun { run, tries, owner, since: Instant::now() });
    }

    /// Checks some of the claims, starting with the least recently checked one.
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
                None => return Ok(ClaimCheck::Free(Box::new(claimed.run), claimed.tries)),
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

    /// The runs that are left to other processes.
    pub fn into_runs(self) -> impl Iterator<Item = ClaimedRun> {
        self.runs.into_iter()
    }
}

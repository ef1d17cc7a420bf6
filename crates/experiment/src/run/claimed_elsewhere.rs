//! Runs that other processes hold: theirs, unless they are gone.

use crate::config::PlannedRun;
use results::{Owner, ResultsError, Store};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Pause between looks at what others hold.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Claims that one look reads: many processes look at one file system.
const LOOKS_MAX: usize = 32;

/// A run in other hands.
pub(crate) struct ClaimedRun {
    pub run: PlannedRun,
    pub tries: u64,
    pub owner: Owner,
    since: Instant,
}

/// All of them, and when to look again.
pub(crate) struct RunsClaimedElsewhere {
    runs: VecDeque<ClaimedRun>,
    patience: Duration,
    next_look: Instant,
}

/// What a look at one of them found.
pub(crate) enum ClaimCheck {
    /// Its holder is gone, or gave it back.
    Free(PlannedRun, u64),
    /// It was committed.
    Done,
    /// Nothing to take now; look again after a moment.
    Wait,
    /// All that are left have been in living hands for long enough.
    Nothing,
}

impl RunsClaimedElsewhere {
    /// Runs are left to a living holder once they were seen in its hands for so long.
    pub fn new(patience: Duration) -> RunsClaimedElsewhere {
        RunsClaimedElsewhere { runs: VecDeque::new(), patience, next_look: Instant::now() }
    }

    pub fn add(&mut self, run: PlannedRun, tries: u64, owner: Owner) {
        self.runs.push_back(ClaimedRun { run, tries, owner, since: Instant::now() });
    }

    /// Looks at some of them, the longest unseen first.
    pub fn look(&mut self, store: &Store, here: &Owner) -> Result<ClaimCheck, ResultsError> {
        if self.runs.iter().all(|held| held.since.elapsed() >= self.patience) {
            return Ok(ClaimCheck::Nothing);
        }
        if self.next_look > Instant::now() {
            return Ok(ClaimCheck::Wait);
        }
        for _ in 0..self.runs.len().min(LOOKS_MAX) {
            let Some(mut held) = self.runs.pop_front() else { break };
            let folder = store.run(&held.run.run_id);
            if folder.is_committed() {
                return Ok(ClaimCheck::Done);
            }
            match folder.held_by(here)? {
                None => return Ok(ClaimCheck::Free(held.run, held.tries)),
                Some(owner) if owner != held.owner => {
                    (held.owner, held.since) = (owner, Instant::now())
                }
                Some(_) => {}
            }
            self.runs.push_back(held);
        }
        self.next_look = Instant::now() + LOOK_EVERY;
        Ok(ClaimCheck::Wait)
    }

    /// What stays with others.
    pub fn into_runs(self) -> impl Iterator<Item = ClaimedRun> {
        self.runs.into_iter()
    }
}

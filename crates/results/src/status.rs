use crate::{Failure, ResultsError, RunRecord, Store};
use serde::Serialize;
use std::collections::BTreeMap;

/// How far one run is.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum RunState {
    /// Committed.
    Done,
    /// Begun, neither committed nor failed.
    Begun,
    /// Its last attempt failed.
    Failed {
        /// Why.
        failure: Failure,
    },
    /// Nothing was written yet.
    Left,
}

/// How far an experiment is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    /// All runs.
    pub total: usize,
    /// Committed.
    pub done: usize,
    /// Begun, neither committed nor failed.
    pub begun: usize,
    /// Last attempt failed.
    pub failed: usize,
    /// Not begun.
    pub left: usize,
    /// Seconds that the committed runs took.
    pub seconds: f64,
    /// Outcome -> committed runs.
    pub outcomes: BTreeMap<String, usize>,
    /// Run id -> reason.
    pub failures: BTreeMap<String, Failure>,
}

/// Looks at every run of the experiment.
pub fn status(store: &Store) -> Result<Status, ResultsError> {
    let (mut done, mut begun, mut failed, mut seconds) = (0, 0, 0, 0.0);
    let (mut outcomes, mut failures) = (BTreeMap::new(), BTreeMap::new());
    for run_id in &store.experiment().runs {
        if let Some(RunRecord { outcome, timing, .. }) = store.run(run_id).committed()? {
            done += 1;
            seconds += timing.seconds;
            *outcomes.entry(outcome).or_default() += 1;
            continue;
        }
        match state(store, run_id)? {
            RunState::Failed { failure } => {
                failed += 1;
                failures.insert(run_id.clone(), failure);
            }
            RunState::Begun => begun += 1,
            RunState::Done | RunState::Left => {}
        }
    }
    let total = store.experiment().runs.len();
    Ok(Status { total, done, begun, failed, left: total - done - begun - failed, seconds, outcomes, failures })
}

fn state(store: &Store, run_id: &str) -> Result<RunState, ResultsError> {
    let folder = store.run(run_id);
    let Some(last) = folder.attempts()?.last().copied() else { return Ok(RunState::Left) };
    let failure = folder.failures()?.pop().filter(|failure| failure.attempt == last);
    Ok(failure.map_or(RunState::Begun, |failure| RunState::Failed { failure }))
}

use crate::throughput::{Throughput, WINDOW, throughput};
use crate::{Owner, ResultsError, RunFailure, RunRecord, Store, journal};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::SystemTime;

/// How far one run is.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum RunState {
    /// Committed.
    Done,
    /// Begun, neither committed nor failed.
    Begun {
        /// Whether a process works on it now.
        running: bool,
    },
    /// Its last attempt failed.
    Failed {
        /// Why.
        failure: RunFailure,
    },
    /// Nothing was written yet.
    Left,
}

/// How far an experiment is.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Status {
    /// All runs.
    pub total: usize,
    /// Committed.
    pub done: usize,
    /// Begun, neither committed nor failed.
    pub begun: usize,
    /// Of these, in the hands of a process that is alive.
    pub running: usize,
    /// Last attempt failed.
    pub failed: usize,
    /// Not begun.
    pub left: usize,
    /// Steps of the committed runs.
    pub steps: u64,
    /// Seconds that the committed runs took.
    pub seconds: f64,
    /// What the processes that work now have done over the last minutes.
    #[serde(rename = "pace")]
    pub throughput: Throughput,
    /// Seconds until all is done at that pace, if runs are as long as the committed ones, or,
    /// before there are any, as long as they may be. None where nothing was done in the last
    /// minutes.
    pub eta_s: Option<f64>,
    /// Outcome -> committed runs.
    pub outcomes: BTreeMap<String, usize>,
    /// Run id -> reason.
    pub failures: BTreeMap<String, RunFailure>,
}

/// Looks at every run of the experiment.
pub fn status(store: &Store) -> Result<Status, ResultsError> {
    let mut status = count(store)?;
    let (journals, now) =
        (journal::journals(store.root(), WINDOW)?, journal::unix_s(SystemTime::now()));
    status.throughput = throughput(&journals, now);
    status.eta_s = eta_s(&status, &journals);
    Ok(status)
}

fn count(store: &Store) -> Result<Status, ResultsError> {
    let here = Owner::here();
    let mut status = Status { total: store.experiment().runs.len(), ..Status::default() };
    for run_id in &store.experiment().runs {
        if let Some(RunRecord { outcome, timing, steps, .. }) = store.run(run_id).committed()? {
            status.done += 1;
            status.steps += steps;
            status.seconds += timing.seconds;
            *status.outcomes.entry(outcome).or_default() += 1;
            continue;
        }
        match state(store, run_id, &here)? {
            RunState::Failed { failure } => {
                status.failed += 1;
                status.failures.insert(run_id.clone(), failure);
            }
            RunState::Begun { running } => {
                status.begun += 1;
                status.running += usize::from(running);
            }
            RunState::Done | RunState::Left => {}
        }
    }
    status.left = status.total - status.done - status.begun - status.failed;
    Ok(status)
}

fn state(store: &Store, run_id: &str, here: &Owner) -> Result<RunState, ResultsError> {
    let folder = store.run(run_id);
    let Some(last) = folder.attempts()?.last().copied() else { return Ok(RunState::Left) };
    let failure = folder.failures()?.pop().filter(|failure| failure.attempt == last);
    Ok(match failure {
        Some(failure) => RunState::Failed { failure },
        None => RunState::Begun { running: folder.held_by(here)?.is_some() },
    })
}

fn eta_s(status: &Status, journals: &[Vec<journal::JournalEntry>]) -> Option<f64> {
    let rate = status.throughput.steps_per_s?;
    let left = (status.total - status.done) as f64;
    let longest = || {
        let began = journals.iter().flatten().rev().find_map(|entry| match entry.deed {
            journal::JournalEvent::Began { steps_left_max, runs_left } if runs_left > 0 => {
                Some(steps_left_max as f64 / runs_left as f64)
            }
            _ => None,
        });
        began.map(|steps| left * steps)
    };
    let steps = match status.done {
        0 => longest()?,
        done => left * status.steps as f64 / done as f64,
    };
    // What processes at work have done of it already.
    Some((steps - status.throughput.steps_open as f64).max(0.0) / rate)
}

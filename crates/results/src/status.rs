//! Progress of an experiment, for `status`.

use crate::error::ResultsError;
use crate::journal::{self, JournalEntry, JournalEvent};
use crate::owner::Owner;
use crate::run_record::{RunFailure, RunRecord};
use crate::store::Store;
use crate::throughput::{Throughput, WINDOW, throughput};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::SystemTime;

/// State of one run.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum RunState {
    Done,
    /// Started, but neither committed nor failed.
    Begun {
        /// Whether a live process works on the run.
        running: bool,
    },
    /// The last attempt failed.
    Failed {
        failure: RunFailure,
    },
    /// Not started.
    Left,
}

/// Progress of an experiment.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Status {
    /// Number of runs.
    pub total: usize,
    /// Number of committed runs.
    pub done: usize,
    /// Number of runs that are started, but neither committed nor failed.
    pub begun: usize,
    /// Number of the `begun` runs on which a live process works.
    pub running: usize,
    /// Number of runs whose last attempt failed.
    pub failed: usize,
    /// Number of runs that are not started.
    pub left: usize,
    /// Total steps of the committed runs.
    pub steps: u64,
    /// Sum of the wall times of the committed attempts, in seconds.
    pub seconds: f64,
    /// Throughput of the running processes over the last minutes.
    #[serde(rename = "pace")]
    pub throughput: Throughput,
    /// Estimated seconds until all runs are done at the present throughput, if the remaining runs
    /// have the mean length of the committed ones or, before the first commit, their maximum
    /// length. `None` without throughput.
    pub eta_s: Option<f64>,
    /// Outcome -> number of committed runs.
    pub outcomes: BTreeMap<String, usize>,
    /// Run id -> failure of the last attempt.
    pub failures: BTreeMap<String, RunFailure>,
}

/// Reads the state of every run of the experiment, and the throughput of its processes.
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

fn eta_s(status: &Status, journals: &[Vec<JournalEntry>]) -> Option<f64> {
    let rate = status.throughput.steps_per_s?;
    let left = (status.total - status.done) as f64;
    let longest = || {
        let began = journals.iter().flatten().rev().find_map(|entry| match entry.event {
            JournalEvent::Began { steps_left_max, runs_left } if runs_left > 0 => {
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
    // Runs in flight count as left, but some of their steps are done already.
    Some((steps - status.throughput.steps_open as f64).max(0.0) / rate)
}

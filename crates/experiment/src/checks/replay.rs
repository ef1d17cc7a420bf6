//! A log, derived again from its seed and its recorded replies.

use crate::config::Config;
use crate::config::{Cell, PlannedRun};
use crate::error::ExperimentError;
use crate::provider::ProviderInfo;
use crate::run::episode::Episode;
use crate::run::record::RunAccumulator;
use crate::run::retrace::{compare, difference, retrace};
use results::{ResultsError, RunFolder, RunRecord, Store, Timing};
use std::path::Path;

/// What was found to follow from seed and replies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayReport {
    /// The run.
    pub run_id: String,
    /// Steps that were derived again, all the same.
    pub steps: u64,
}

/// Derives every observation, error and flag of a committed run again, and its record.
///
/// # Errors
/// The first difference, by line and field; or that the log is not what was committed.
pub fn replay(run_dir: &Path) -> Result<ReplayReport, ExperimentError> {
    let folder = RunFolder::at(run_dir);
    let missing = || ResultsError::NotARun { path: run_dir.to_path_buf(), expected: "run.json" };
    let record = folder.committed()?.ok_or_else(missing)?;
    let attempt = folder.committed_attempt()?;
    let run = planned(run_dir, &record)?;
    let mut episode = Episode::new(&run.run_id, &run.cell, run.seed)?;
    let mut sums = RunAccumulator::default();
    for (at, recorded) in attempt.rows.iter().enumerate() {
        episode.mark_from_here(recorded.mixed_kernels.clone());
        let row = retrace(&mut episode, recorded);
        difference(&attempt.path, at + 1, &row, recorded)?;
        sums.add(&row);
    }
    let info = ProviderInfo {
        identity: record.model_identity.clone(),
        dtype: record.dtype.clone(),
        rung: String::new(),
        kernel_set: record.kernel_set.clone(),
        context_length: None,
    };
    let mut derived = sums.record(&run, &episode, &info, Timing::default());
    (derived.rows, derived.timing) = (record.rows.clone(), record.timing.clone());
    compare(&run_dir.join("run.json"), 1, &derived, &record)?;
    Ok(ReplayReport { run_id: run.run_id, steps: attempt.rows.len() as u64 })
}

/// Replays every committed run of an experiment.
pub fn replay_all(store: &Store) -> Result<Vec<ReplayReport>, ExperimentError> {
    let done = store.runs()?.into_iter().filter(RunFolder::is_committed);
    done.map(|folder| replay(folder.path())).collect()
}

/// The run that a record is of.
pub(crate) fn planned(run_dir: &Path, record: &RunRecord) -> Result<PlannedRun, ExperimentError> {
    let keys = Config::parse("", "defaults", &[])?;
    let cell = Cell::from_stored(&record.cell, &keys)
        .map_err(|words| ExperimentError::BadCell { path: run_dir.to_path_buf(), words })?;
    Ok(PlannedRun {
        run_id: record.run_id.clone(),
        cell,
        replicate: record.replicate,
        seed: record.seed,
    })
}

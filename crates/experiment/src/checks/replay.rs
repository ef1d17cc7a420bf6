//! Replay: recomputes a committed run from its seed and recorded replies, and compares the result
//! with the record.

use crate::config::{Cell, PlannedRun};
use crate::error::ExperimentError;
use crate::provider::ProviderInfo;
use crate::run::episode::Episode;
use crate::run::record::RunAccumulator;
use crate::run::retrace::{compare_rows, retrace};
use results::{ResultsError, RunFolder, RunRecord, Store, Timing};
use std::path::Path;

/// A run whose recomputed rows and record equal the stored ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayReport {
    pub run_id: String,
    /// Number of steps that were recomputed.
    pub steps: u64,
}

/// Recomputes every row of a committed run and its record.
///
/// # Errors
/// The recomputed run differs from the stored one (the error has the line and name of the first
/// differing field), or the log is not the committed one.
pub fn replay(run_dir: &Path) -> Result<ReplayReport, ExperimentError> {
    let folder = RunFolder::at(run_dir);
    let missing = || ResultsError::NotARun { path: run_dir.to_path_buf(), expected: "run.json" };
    let record = folder.committed()?.ok_or_else(missing)?;
    let attempt = folder.committed_attempt()?;
    let run = planned_run(run_dir, &record)?;
    let mut episode = Episode::new(&run)?;
    let mut accumulator = RunAccumulator::default();
    for (at, recorded) in attempt.rows.iter().enumerate() {
        episode.set_mixed_kernels(recorded.mixed_kernels.clone());
        let row = retrace(&mut episode, recorded);
        compare_rows(&attempt.path, at + 1, &row, recorded)?;
        accumulator.add(&row);
    }
    let info = ProviderInfo {
        identity: record.model_identity.clone(),
        dtype: record.dtype.clone(),
        rung: String::new(),
        kernel_set: record.kernel_set.clone(),
        context_length: None,
    };
    let mut derived = accumulator.record(&run, &episode, &info, Timing::default());
    (derived.rows, derived.timing) = (record.rows.clone(), record.timing.clone());
    // The limit of the model itself is known to its provider only.
    derived.context_length = record.context_length;
    compare_rows(&run_dir.join("run.json"), 1, &derived, &record)?;
    Ok(ReplayReport { run_id: run.run_id, steps: attempt.rows.len() as u64 })
}

/// Replays every committed run of an experiment.
///
/// # Errors
/// As for [`replay`], for the first run that fails.
pub fn replay_all(store: &Store) -> Result<Vec<ReplayReport>, ExperimentError> {
    let committed = store.runs()?.into_iter().filter(RunFolder::is_committed);
    committed.map(|folder| replay(folder.path())).collect()
}

/// The planned run that a stored record describes.
pub(crate) fn planned_run(
    run_dir: &Path,
    record: &RunRecord,
) -> Result<PlannedRun, ExperimentError> {
    let cell = Cell::from_stored(&record.cell)
        .map_err(|message| ExperimentError::BadCell { path: run_dir.to_path_buf(), message })?;
    Ok(PlannedRun {
        run_id: record.run_id.clone(),
        cell,
        replicate: record.replicate,
        draw: record.draw,
        seed: record.seed,
    })
}

//! A log, derived again from its seed and its recorded replies.

use crate::config::Config;
use crate::episode::{Answer, Episode};
use crate::error::ExperimentError;
use crate::grid::{Cell, PlannedRun};
use crate::provider::ProviderInfo;
use crate::record::Sums;
use results::{ResultsError, RunFolder, RunRecord, StepRow, Store, Timing};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// What was found to follow from seed and replies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replayed {
    /// The run.
    pub run_id: String,
    /// Steps that were derived again, all the same.
    pub steps: u64,
}

/// Derives every observation, error and flag of a committed run again, and its record.
///
/// # Errors
/// The first difference, by line and field; or that the log is not what was committed.
pub fn replay(run_dir: &Path) -> Result<Replayed, ExperimentError> {
    let folder = RunFolder::at(run_dir);
    let missing = || ResultsError::NotARun { path: run_dir.to_path_buf(), expected: "run.json" };
    let record = folder.committed()?.ok_or_else(missing)?;
    let attempt = folder.committed_attempt()?;
    let run = planned(run_dir, &record)?;
    let mut episode = Episode::new(&run.run_id, &run.cell, run.seed)?;
    let mut sums = Sums::default();
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
    Ok(Replayed { run_id: run.run_id, steps: attempt.rows.len() as u64 })
}

/// Replays every committed run of an experiment.
pub fn replay_all(store: &Store) -> Result<Vec<Replayed>, ExperimentError> {
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

/// One step again. A scripted operator acts again: its own state moves on, and its reply is derived
/// too.
pub(crate) fn retrace(episode: &mut Episode, recorded: &StepRow) -> StepRow {
    let answer = episode.scripted_answer().unwrap_or_else(|| Answer::of(recorded));
    episode.take(answer)
}

/// The first field in which two rows differ, as an error.
pub(crate) fn difference(
    path: &Path,
    line: usize,
    derived: &StepRow,
    recorded: &StepRow,
) -> Result<(), ExperimentError> {
    compare(path, line, derived, recorded)
}

fn compare<T: serde::Serialize>(
    path: &Path,
    line: usize,
    derived: &T,
    recorded: &T,
) -> Result<(), ExperimentError> {
    // As text first: that is quick, and nearly always the same.
    if let (Ok(derived), Ok(recorded)) =
        (serde_json::to_string(derived), serde_json::to_string(recorded))
        && derived == recorded
    {
        return Ok(());
    }
    let (derived, recorded) = (fields(derived), fields(recorded));
    let differs = |name: &&String| derived.get(*name) != recorded.get(*name);
    let Some(field) = derived.keys().chain(recorded.keys()).find(differs) else { return Ok(()) };
    let words = |fields: &BTreeMap<String, String>| {
        clip(fields.get(field).map_or("absent", String::as_str))
    };
    Err(ExperimentError::Diverged {
        path: path.to_path_buf(),
        line,
        field: field.clone(),
        expected: words(&derived),
        found: words(&recorded),
    })
}

/// Fields as they are written: compared to the last digit, and what was read back is written again
/// first.
fn fields<T: serde::Serialize>(row: &T) -> BTreeMap<String, String> {
    match serde_json::to_value(row) {
        Ok(Value::Object(map)) => {
            map.into_iter().map(|(name, value)| (name, value.to_string())).collect()
        }
        _ => BTreeMap::new(),
    }
}

fn clip(text: &str) -> String {
    match text.char_indices().nth(300) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text.to_string(),
    }
}

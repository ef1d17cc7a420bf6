//! Reruns the crash detectors over stored runs, optionally with other settings.

use super::replay::planned_run;
use crate::config::Config;
use crate::error::{ConfigProblem, ExperimentError};
use crate::run::record::crash_record;
use results::{CrashRecord, RunFolder, RunRecord, Store};
use serde::Serialize;
use serde_json::Value;
use warehouse::DetectorStep;

/// Crashes of one run: those detected now, and those detected when the run was recorded.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DetectionReport {
    pub run_id: String,
    /// Crashes detected with the current settings.
    pub crashes: Vec<CrashRecord>,
    /// Crashes in the run's record.
    pub recorded: Vec<CrashRecord>,
}

impl DetectionReport {
    /// The report as JSON, for `--json`.
    pub fn to_json(&self) -> Value {
        serde_json::to_value(self).unwrap_or(Value::Null)
    }
}

/// Reruns the detectors over every committed run. `sets` are `key=value` texts that may change keys
/// `crash_detector.*`; without changes the detected crashes equal the recorded ones.
///
/// # Errors
/// `sets` changes another key, or a run cannot be read.
pub fn rerun_detectors(
    store: &Store,
    sets: &[String],
) -> Result<Vec<DetectionReport>, ExperimentError> {
    if let Some(text) = sets.iter().find(|text| !text.trim_start().starts_with("crash_detector.")) {
        let why = format!("only crash_detector.* can be changed for a stored run, found {text:?}");
        return Err(ConfigProblem::Contradiction { key: "--set".into(), why }.into());
    }
    let changes = changed_values(sets)?;
    let mut reports = Vec::new();
    for folder in store.runs()? {
        if let Some(record) = folder.committed()? {
            reports.push(detect(&folder, record, &changes)?);
        }
    }
    Ok(reports)
}

/// The keys that `sets` changes, with their checked values.
fn changed_values(sets: &[String]) -> Result<Vec<(String, Value)>, ExperimentError> {
    let config = Config::parse("", "defaults", sets)?;
    let keys = sets.iter().map(|text| text.split('=').next().unwrap_or("").trim());
    Ok(keys.filter_map(|key| Some((key.to_string(), config.values().get(key)?.clone()))).collect())
}

fn detect(
    folder: &RunFolder,
    mut record: RunRecord,
    changes: &[(String, Value)],
) -> Result<DetectionReport, ExperimentError> {
    record.cell.extend(changes.iter().cloned());
    let run = planned_run(folder.path(), &record)?;
    let mut steps: Vec<DetectorStep> = Vec::new();
    for (at, row) in folder.rows()?.into_iter().enumerate() {
        let step = row.detector.read().map_err(|error| ExperimentError::BadCell {
            path: folder.path().to_path_buf(),
            message: format!("line {}: detector: {error}", at + 1),
        })?;
        steps.push(step);
    }
    let crashes = warehouse::detect(&steps, &run.cell.config().detectors);
    Ok(DetectionReport {
        run_id: record.run_id,
        crashes: crashes.into_iter().map(crash_record).collect(),
        recorded: record.crashes,
    })
}

//! Crash detectors, run again over stored logs.

use super::replay::planned;
use crate::config::Config;
use crate::config::world_config;
use crate::error::{ConfigProblem, ExperimentError};
use crate::run::record::crash_record;
use results::{CrashRecord, RunFolder, RunRecord, Store};
use serde::Serialize;
use serde_json::Value;
use warehouse::DetectorStep;

/// What detectors find in a run now, beside what was recorded.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DetectionReport {
    /// The run.
    pub run_id: String,
    /// With the settings given now.
    pub crashes: Vec<CrashRecord>,
    /// As recorded.
    pub recorded: Vec<CrashRecord>,
}

/// Runs the detectors again over every committed run; `sets` may change `crash_detector.*`. Without
/// changes the result is what was recorded live.
pub fn rerun_detectors(
    store: &Store,
    sets: &[String],
) -> Result<Vec<DetectionReport>, ExperimentError> {
    if let Some(text) = sets.iter().find(|text| !text.trim_start().starts_with("crash_detector.")) {
        let why =
            format!("only crash_detector.* can change on a stored log, and {text:?} was given");
        return Err(ConfigProblem::Contradiction { key: "--set".into(), why }.into());
    }
    let changes = Config::parse("", "defaults", sets)?;
    let mut found = Vec::new();
    for folder in store.runs()? {
        if let Some(record) = folder.committed()? {
            found.push(one(&folder, record, &changes, sets)?);
        }
    }
    Ok(found)
}

fn one(
    folder: &RunFolder,
    record: RunRecord,
    changes: &Config,
    sets: &[String],
) -> Result<DetectionReport, ExperimentError> {
    let mut run = planned(folder.path(), &record)?;
    for text in sets {
        let key = text.split('=').next().unwrap_or("").trim();
        if let (Some(stored), Some(value)) = (run.cell.values.get_mut(key), changes.values.get(key))
        {
            *stored = value.clone();
        }
    }
    let mut steps: Vec<DetectorStep> = Vec::new();
    for (at, row) in folder.rows()?.into_iter().enumerate() {
        let step = row.detector.read().map_err(|error| ExperimentError::BadCell {
            path: folder.path().to_path_buf(),
            words: format!("line {}: detector: {error}", at + 1),
        })?;
        steps.push(step);
    }
    let crashes = warehouse::detect(&steps, &world_config(&run.cell).crash_detector);
    Ok(DetectionReport {
        run_id: record.run_id,
        crashes: crashes.into_iter().map(crash_record).collect(),
        recorded: record.crashes,
    })
}

/// A document of what was found, for `--json`.
impl DetectionReport {
    /// As JSON.
    pub fn to_json(&self) -> Value {
        serde_json::to_value(self).unwrap_or(Value::Null)
    }
}

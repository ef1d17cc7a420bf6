//! Reruns the crash detectors over stored runs, optionally with other settings.

use super::replay::planned_run;
use crate::config::Config;
use crate::error::{ConfigProblem, ExperimentError};
use crate::run::record::crash_record;
use results::{CrashRecord, RunFolder, RunRecord, StepRow, Store};
use serde::Serialize;
use serde_json::Value;
use warehouse::{CrashMonitor, Design, DetectorFlags, DetectorStep, ToolCall};

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
    let settings = run.cell.config();
    let rows = folder.rows()?;
    let step = |(at, row): (usize, &StepRow)| {
        detector_step(row).map_err(|error| ExperimentError::BadCell {
            path: folder.path().to_path_buf(),
            message: format!("line {}: detector: {error}", at + 1),
        })
    };
    let steps = rows.iter().enumerate().map(step).collect::<Result<Vec<DetectorStep>, _>>()?;
    let crashes = match settings.design {
        Design::V1 => warehouse::detect(&steps, &settings.detectors),
        Design::V2 => {
            let mut monitor = CrashMonitor::new(&settings.detectors);
            steps.into_iter().for_each(|step| drop(monitor.push(step)));
            monitor.crashes()
        }
    };
    Ok(DetectionReport {
        run_id: record.run_id,
        crashes: crashes.into_iter().map(crash_record).collect(),
        recorded: record.crashes,
    })
}

/// The input of the detectors in a row. Since design v2, tool, call and day are in the row's action
/// and day.
fn detector_step(row: &StepRow) -> Result<DetectorStep, serde_json::Error> {
    if row.design.is_none() {
        return row.detector.read();
    }
    let flags: DetectorFlags = row.detector.read()?;
    let (tool, call) = match (&row.action, &row.parse_failure) {
        (Some(action), _) => {
            let call = ToolCall { tool: action.tool.clone(), arguments: action.arguments.clone() };
            (action.tool.clone(), call.canonical())
        }
        (None, Some(failure)) => (failure.kind.clone(), String::new()),
        (None, None) => Default::default(),
    };
    Ok(flags.with_call(tool, call, row.day))
}

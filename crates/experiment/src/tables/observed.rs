//! The runs of a study as its analysis reads them.

use super::run_keys::{factor_levels, factors};
use super::simulated::{check_scripted, play};
use super::{CommittedRun, RunRows};
use crate::checks::parameters_b;
use crate::config::Config;
use crate::error::ExperimentError;
use crate::measures::MONITORING;
use crate::run::experiment_record;
use analysis::study::{
    Behavior, ObservedBin, ObservedCrash, ObservedRun, ObservedStudy, PathPoint, RunEnd,
    ShockCounts,
};
use base::{in_parallel, usable_cores};
use results::{CrashRecord, ExperimentRecord, Provenance, RunRecord, StepOutline, Store};
use serde_json::Value;
use std::collections::BTreeMap;
use warehouse::CrashType;

/// Steps before an event whose behavior describes it: a detector's window.
const BEHAVIOR_STEPS: u64 = 20;

/// Reads all committed runs of a study, on all cores. A run that cannot be read is listed with the
/// reason, and is no observation.
///
/// # Errors
/// The folder cannot be read.
pub fn observed_study(store: &Store) -> Result<ObservedStudy, ExperimentError> {
    let mut study = of_record(store.experiment());
    study.folder = store.root().display().to_string();
    let folders = store.runs()?;
    let observe = |folder: &results::RunFolder| -> Result<Option<ObservedRun>, ExperimentError> {
        let Some(record) = folder.committed()? else { return Ok(None) };
        let run = CommittedRun { record, rows: RunRows::Stored(folder.clone()) };
        observed(&run, &study.factors).map(Some)
    };
    let (mut runs, mut unreadable, mut failed) = (Vec::new(), Vec::new(), 0);
    for (folder, found) in folders.iter().zip(in_parallel(usable_cores(), &folders, observe)) {
        match found {
            Ok(Some(run)) => runs.push(run),
            Ok(None) => failed += usize::from(!folder.failures()?.is_empty()),
            Err(error) => unreadable.push((folder.run_id(), error.to_string())),
        }
    }
    (study.runs, study.unreadable, study.failed) = (runs, unreadable, failed);
    Ok(study)
}

/// Plays all runs of a configuration of scripted operators in memory, as [`super::simulate`] does.
/// The runs have no mean errors and no behavior before the event, since calls are not recorded.
///
/// # Errors
/// A run has a model as its agent or design v1, or a cell contradicts itself.
pub fn simulated_study(config: &Config) -> Result<ObservedStudy, ExperimentError> {
    let runs = config.runs_by_name();
    check_scripted(config, &runs)?;
    let mut study = of_record(&experiment_record(config, &runs, Provenance::default()));
    let played = in_parallel(usable_cores(), &runs, |run| observed(&play(run)?, &study.factors));
    study.runs = played.into_iter().collect::<Result<_, _>>()?;
    Ok(study)
}

/// The declared families of tests, whose values were checked when the configuration was read.
fn families(record: &ExperimentRecord) -> BTreeMap<String, Vec<String>> {
    let declared = record.configuration.get("analysis.families").cloned().unwrap_or_default();
    serde_json::from_value(declared).unwrap_or_default()
}

/// A study without its runs.
fn of_record(record: &ExperimentRecord) -> ObservedStudy {
    let text = |key: &str| record.configuration.get(key).and_then(Value::as_str);
    let of = &record.provenance;
    let provenance = [
        ("version", Some(of.version.clone())),
        ("commit", of.git.clone()),
        ("host", Some(of.host.clone())),
        ("configuration", of.config_file.clone()),
        ("configuration hash", Some(record.configuration_hash.clone())),
    ];
    let known = |(name, value): (&str, Option<String>)| {
        value.filter(|value| !value.is_empty()).map(|value| (name.to_string(), value))
    };
    ObservedStudy {
        name: record.name.clone(),
        phase: text("experiment.phase").map(str::to_string),
        design: of.design.clone(),
        factors: factors(record),
        families: families(record),
        planned: record.runs.len(),
        provenance: provenance.into_iter().filter_map(known).collect(),
        ..ObservedStudy::default()
    }
}

/// The observation of a run. `factors`: the keys of the grid.
fn observed(run: &CommittedRun, factors: &[String]) -> Result<ObservedRun, ExperimentError> {
    let outline = run.outline()?;
    let record = &run.record;
    let value = |key: &str| record.cell.get(key).filter(|value| !value.is_null());
    let (entry, end_step, end) = time_at_risk(record);
    let path = path(&outline);
    let dose = record.dose.unwrap_or_default();
    let of = |tool: &str| tool.to_string();
    let mut observed = ObservedRun {
        run_id: of(&record.run_id),
        model: of(&record.model),
        parameters_b: parameters_b(&record.model),
        world: record.seed,
        draw: record.draw,
        p_shock: value("pe_induction.p_shock").and_then(Value::as_f64).unwrap_or(0.0),
        levels: factor_levels(&record.cell, factors),
        steps: record.steps,
        horizon: value("env.max_steps").and_then(Value::as_u64).unwrap_or(record.steps),
        days: record.days,
        entry,
        end_step,
        end,
        crashes: record.crashes.iter().map(crash).collect(),
        shocks: ShockCounts { drawn: dose.drawn, applied: dose.applied, told: dose.told },
        path,
        mean_errors: mean_errors(record),
        net_worth: record.net_worth,
        orders_shipped: record.orders_shipped,
        orders_expired: record.extra.get("orders_expired").and_then(Value::as_u64).unwrap_or(0),
        prompt_tokens: record.prompt_tokens,
        reply_tokens: record.reply_tokens,
        reply_seconds: record.timing.reply_seconds,
        calibration: calibration(record),
        known_effect: known_effect(record),
        before_event: None,
    };
    // Rows that are played in memory have no calls.
    if observed.crashed() && matches!(run.rows, RunRows::Stored(_)) {
        observed.before_event = Some(behavior(&observed, &outline));
    }
    Ok(observed)
}

/// The effect of exposure on the hazard of the operators that are built for it.
fn known_effect(record: &RunRecord) -> Option<f64> {
    match record.cell.get("agent.policy")?.as_str()? {
        "null" => Some(0.0),
        "fragile" => record.cell.get("agent.beta")?.as_f64(),
        _ => None,
    }
}

/// Entry, end and what ended the time at risk. Runs of design v1 are at risk from the start.
fn time_at_risk(record: &RunRecord) -> (Option<u64>, u64, RunEnd) {
    let end = |name: &str| match name.split_once(':') {
        Some((_, detector)) => RunEnd::Crash(detector.to_string()),
        None if name == "ruin" => RunEnd::Ruin,
        None if name == "expired" => RunEnd::Expired,
        None => RunEnd::Horizon,
    };
    match (&record.risk, &record.crash) {
        (Some(risk), _) => (risk.entry_time, risk.event_time, end(&risk.event_type)),
        (None, Some(crash)) => (Some(0), crash.onset_step, RunEnd::Crash(crash.kind.clone())),
        (None, None) => (Some(0), record.steps, end(&record.outcome)),
    }
}

fn crash(crash: &CrashRecord) -> ObservedCrash {
    let kind = CrashType::ALL.iter().find(|kind| kind.label() == crash.kind);
    ObservedCrash {
        detector: crash.kind.clone(),
        primary: kind.is_some_and(|kind| kind.is_primary()),
        onset: crash.onset_step,
        detected: crash.detected_step,
        recovered: crash.recovered_step,
        severity: crash.severity.clone(),
    }
}

/// Where exposure or dose change.
fn path(outline: &[StepOutline]) -> Vec<PathPoint> {
    let mut path: Vec<PathPoint> = Vec::new();
    let mut last = PathPoint::default();
    for row in outline {
        let mut point = PathPoint { step: row.step, ..last };
        if let Some(exposure) = row.exposure {
            point.exposure = exposure.total();
            point.induced = exposure.induced[0] + exposure.induced[1];
        }
        if let Some(dose) = row.dose {
            point.shocks = dose.applied.map(|count| count as u32);
        }
        if (PathPoint { step: last.step, ..point }) != last {
            path.push(point);
        }
        last = point;
    }
    path
}

/// Mean prediction errors by card field, where there are any.
fn mean_errors(record: &RunRecord) -> Vec<(String, f64)> {
    let known = record.mean_pe.iter().filter_map(|(field, error)| Some((field, (*error)?)));
    known.map(|(field, error)| (field.clone(), error)).collect()
}

fn calibration(record: &RunRecord) -> Vec<ObservedBin> {
    let bins = record.extra.pointer("/calibration/reliability").and_then(Value::as_array);
    let bin = |bin: &Value| {
        let number = |key: &str| bin.get(key).and_then(Value::as_f64);
        let (confidence, right) = (number("confidence")?, number("right")?);
        Some(ObservedBin { confidence, right, cards: bin.get("cards")?.as_u64()? })
    };
    bins.into_iter().flatten().filter_map(bin).collect()
}

/// What the agent did in the steps up to the event.
fn behavior(run: &ObservedRun, outline: &[StepOutline]) -> Behavior {
    let before = run.end_step.saturating_sub(BEHAVIOR_STEPS);
    let window: Vec<&StepOutline> =
        outline.iter().filter(|row| before < row.step && row.step <= run.end_step).collect();
    let steps = window.len().max(1) as f64;
    let mut tools: BTreeMap<&str, u64> = BTreeMap::new();
    for row in &window {
        if let Some(action) = &row.action {
            *tools.entry(&action.tool).or_default() += 1;
        }
    }
    let share = |count: u64| count as f64 / steps;
    let calls_of = |named: &dyn Fn(&str) -> bool| {
        tools.iter().filter(|(tool, _)| named(tool)).map(|(_, count)| count).sum()
    };
    let (start, end) = (run.at(before), run.at(run.end_step));
    let shocks = run.path.windows(2).filter(|pair| pair[0].dose() < pair[1].dose());
    let last_shock = shocks.map(|pair| pair[1].step).rfind(|step| *step <= run.end_step);
    let since = last_shock.map_or(steps, |step| (run.end_step - step) as f64);
    Behavior {
        success: share(window.iter().filter(|row| row.result.success).count() as u64),
        reading: share(calls_of(&|tool| MONITORING.contains(&tool))),
        waiting: share(calls_of(&|tool| tool == "wait")),
        most_called: share(tools.values().copied().max().unwrap_or(0)),
        no_call: share(window.iter().filter(|row| row.action.is_none()).count() as u64),
        exposure_growth: end.exposure - start.exposure,
        shocks: end.dose() - start.dose(),
        since_shock: (since / steps).min(1.0),
    }
}

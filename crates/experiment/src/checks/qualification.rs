//! Qualification of a model: whether it runs the warehouse for 100 steps without shocks. A model
//! that does not crashes at the floor, and says nothing about prediction error.

use crate::config::Config;
use crate::error::ExperimentError;
use results::{RunFolder, RunRecord, Store};
use serde::Serialize;
use std::path::Path;
use warehouse::CrashType;

/// Number of steps that a qualified model survives.
pub const QUALIFYING_STEPS: u64 = 100;
/// Number of worlds in which it survives them.
pub const QUALIFYING_WORLDS: u64 = 5;
/// Window and least number of known similarities of the slow_divergence detector.
const DIVERGENCE_WINDOW: usize = 20;
const DIVERGENCE_KNOWN_MIN: usize = 8;

/// How a model fared without shocks.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Qualification {
    pub model: String,
    pub runs: Vec<QualifyingRun>,
    /// Whether all runs are there and survived.
    pub qualified: bool,
    /// First percentile of the mean similarity of summaries within 20 steps, over all runs: the
    /// value for `crash_detector.divergence_below`. `None` without summaries.
    pub divergence_below: Option<f64>,
}

/// One run of a qualification.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct QualifyingRun {
    pub run_id: String,
    pub world: u64,
    pub steps: u64,
    pub survived: bool,
    /// How it ended: `survived`, `never_competent`, `ruin`, `expired`, or `crash:<detector> @
    /// <onset>`.
    pub ended: String,
    pub entry_time: Option<u64>,
}

/// Name of the experiment, and of the folder, in which a model is qualified.
pub fn qualification_name(model: &str) -> String {
    let safe = |c: char| if c.is_alphanumeric() || "._-".contains(c) { c } else { '-' };
    format!("qualify-{}", model.replace('/', "--").chars().map(safe).collect::<String>())
}

/// The configuration of a qualification: that of `config` or the defaults, with five worlds of its
/// own, 100 steps and no shocks.
///
/// # Errors
/// As for [`Config::load`].
pub fn qualifying_config(
    model: &str,
    config: Option<&Path>,
    sets: &[String],
) -> Result<Config, ExperimentError> {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let own = [
        format!("experiment.name={}", quoted(&qualification_name(model))),
        format!("experiment.replications={QUALIFYING_WORLDS}"),
        "experiment.replications_by={}".into(),
        "experiment.draws=1".into(),
        "experiment.seed=20261100".into(),
        "pe_induction.p_shock=0".into(),
        "env.max_steps_by_level={}".into(),
        format!("env.max_steps={QUALIFYING_STEPS}"),
        "agent.policy=model".into(),
        format!("model.name={}", quoted(model)),
    ];
    let sets: Vec<String> = sets.iter().cloned().chain(own).collect();
    match config {
        Some(file) => Config::load(file, &sets),
        None => Config::parse("", "the defaults", &sets),
    }
}

/// Reads the qualification of a model from its folder; `planned` is the number of its runs.
///
/// # Errors
/// A run cannot be read.
pub fn qualification(
    store: &Store,
    model: &str,
    planned: usize,
) -> Result<Qualification, ExperimentError> {
    let (mut runs, mut means) = (Vec::new(), Vec::new());
    for folder in store.runs()? {
        if let Some(record) = folder.committed()? {
            means.extend(similarity_means(&folder)?);
            runs.push(qualifying_run(record));
        }
    }
    means.sort_by(f64::total_cmp);
    Ok(Qualification {
        model: model.to_string(),
        qualified: runs.len() >= planned && runs.iter().all(|run| run.survived),
        divergence_below: means.get(means.len() / 100).copied(),
        runs,
    })
}

fn qualifying_run(record: RunRecord) -> QualifyingRun {
    let entry_time = record.risk.as_ref().and_then(|risk| risk.entry_time);
    let crash = record.crashes.iter().find(|crash| {
        CrashType::ALL.iter().any(|kind| kind.is_primary() && kind.label() == crash.kind)
    });
    let ending = record.risk.map_or_else(|| record.outcome.clone(), |risk| risk.ending);
    let ended = match crash {
        Some(crash) => format!("crash:{} @ {}", crash.kind, crash.onset_step),
        None if ending != "horizon" => ending,
        None if entry_time.is_none() => "never_competent".to_string(),
        None => "survived".to_string(),
    };
    QualifyingRun {
        run_id: record.run_id,
        world: record.replicate,
        steps: record.steps,
        survived: ended == "survived",
        ended,
        entry_time,
    }
}

/// The means that the slow_divergence detector compares with its threshold.
fn similarity_means(folder: &RunFolder) -> Result<Vec<f64>, ExperimentError> {
    let known: Vec<Option<f64>> = folder
        .rows()?
        .iter()
        .map(|row| row.similarity.as_ref().and_then(|row| row.centered))
        .collect();
    let mean = |window: &[Option<f64>]| {
        let known: Vec<f64> = window.iter().flatten().copied().collect();
        let enough = known.len() >= DIVERGENCE_KNOWN_MIN;
        enough.then(|| known.iter().sum::<f64>() / known.len() as f64)
    };
    Ok(known.windows(DIVERGENCE_WINDOW).filter_map(mean).collect())
}

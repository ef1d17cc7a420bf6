//! Tables of runs that are played in memory, without a store: studies of scripted operators are
//! simulated by the thousand.

use super::{
    CommittedRun, ExportOptions, ExportSummary, ExportTable, RunRows, TableExport, TableOutput,
};
use crate::config::{Config, PlannedRun, scripted_info};
use crate::error::{ConfigProblem, ExperimentError};
use crate::run::episode::Episode;
use crate::run::experiment_record;
use crate::run::record::RunAccumulator;
use base::{in_parallel, usable_cores};
use results::{Provenance, Timing};
use std::io::Write;
use std::path::Path;
use warehouse::Design;

/// Number of runs that are played before they are written.
const BATCH_RUNS: usize = 64;

/// Plays all runs of a configuration of scripted operators in memory, and writes a table of them in
/// the order of the plan. `options` is as for [`super::export`], for the tables `intervals` and
/// `crashes`, which need no observations.
///
/// # Errors
/// A run has a model as its agent or design v1, the table is another, or it cannot be written.
pub fn simulate(
    config: &Config,
    options: &ExportOptions,
    out: &mut dyn Write,
    out_name: &Path,
) -> Result<ExportSummary, ExperimentError> {
    let runs = config.runs_by_name();
    check(config, options, &runs)?;
    let experiment = experiment_record(config, &runs, Provenance::default());
    let mut played =
        runs.chunks(BATCH_RUNS).flat_map(|batch| in_parallel(usable_cores(), batch, play));
    let export = TableExport::new(&experiment, options);
    let to = TableOutput { out, out_name, format: options.format };
    export.write_table(options, to, &mut played)
}

fn check(
    config: &Config,
    options: &ExportOptions,
    runs: &[PlannedRun],
) -> Result<(), ExperimentError> {
    check_scripted(config, runs)?;
    if matches!(options.table, ExportTable::Intervals | ExportTable::Crashes) {
        return Ok(());
    }
    let found = options.table.name();
    let why = format!("expected intervals or crashes for a simulation, found {found}");
    Err(ConfigProblem::Contradiction { key: "table".into(), why }.into())
}

/// Fails unless all runs can be played in memory.
pub(super) fn check_scripted(config: &Config, runs: &[PlannedRun]) -> Result<(), ExperimentError> {
    let (key, why) = if let Some(model) = runs.iter().find_map(|run| run.cell.model_name()) {
        ("agent.policy", format!("expected a scripted operator, found the model {model}"))
    } else if runs.iter().any(|run| run.cell.is_human()) {
        ("agent.policy", "expected a scripted operator, found human".to_string())
    } else if config.design() == Design::V1.label() {
        ("experiment.design", "expected v2, found v1".to_string())
    } else {
        return Ok(());
    };
    Err(ConfigProblem::Contradiction { key: key.into(), why }.into())
}

pub(super) fn play(run: &PlannedRun) -> Result<CommittedRun, ExperimentError> {
    let mut episode = Episode::new(run)?;
    let (mut accumulator, mut rows) = (RunAccumulator::default(), Vec::new());
    while let Some(row) = episode.advance_scripted() {
        accumulator.add(&row);
        rows.push(row);
    }
    let record = accumulator.record(run, &episode, &scripted_info(), Timing::default());
    Ok(CommittedRun { record, rows: RunRows::Played(rows) })
}

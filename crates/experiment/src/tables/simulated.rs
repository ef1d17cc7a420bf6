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
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let batches = runs.chunks(BATCH_RUNS).map(|batch| play_batch(batch, threads));
    let mut played = batches.flat_map(|batch| match batch {
        Ok(runs) => runs.into_iter().map(Ok).collect::<Vec<_>>(),
        Err(error) => vec![Err(error)],
    });
    let export = TableExport::new(&experiment, options);
    let to = TableOutput { out, out_name, format: options.format };
    export.write_table(options, to, &mut played)
}

fn check(
    config: &Config,
    options: &ExportOptions,
    runs: &[PlannedRun],
) -> Result<(), ExperimentError> {
    let (key, why) = if let Some(model) = runs.iter().find_map(|run| run.cell.model_name()) {
        ("agent.policy", format!("expected a scripted operator, found the model {model}"))
    } else if config.design() == Design::V1.label() {
        ("experiment.design", "expected v2, found v1".to_string())
    } else if !matches!(options.table, ExportTable::Intervals | ExportTable::Crashes) {
        let found = options.table.name();
        ("table", format!("expected intervals or crashes for a simulation, found {found}"))
    } else {
        return Ok(());
    };
    Err(ConfigProblem::Contradiction { key: key.into(), why }.into())
}

/// Plays runs on several threads; returns them in their order.
fn play_batch(runs: &[PlannedRun], threads: usize) -> Result<Vec<CommittedRun>, ExperimentError> {
    let share = runs.len().div_ceil(threads).max(1);
    std::thread::scope(|scope| {
        let play_all = |runs: &[PlannedRun]| runs.iter().map(play).collect::<Result<Vec<_>, _>>();
        let threads: Vec<_> =
            runs.chunks(share).map(|share| scope.spawn(move || play_all(share))).collect();
        let mut played = Vec::with_capacity(runs.len());
        for thread in threads {
            match thread.join() {
                Ok(runs) => played.extend(runs?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok(played)
    })
}

fn play(run: &PlannedRun) -> Result<CommittedRun, ExperimentError> {
    let mut episode = Episode::new(run)?;
    let (mut accumulator, mut rows) = (RunAccumulator::default(), Vec::new());
    while let Some(row) = episode.advance_scripted() {
        accumulator.add(&row);
        rows.push(row);
    }
    let record = accumulator.record(run, &episode, &scripted_info(), Timing::default());
    Ok(CommittedRun { record, rows: RunRows::Played(rows) })
}

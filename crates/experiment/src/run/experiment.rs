//! Carries out all runs of a configuration: one model after another, with several concurrent runs
//! of each model.

use super::events::{EventSink, RunEvent};
use super::limits::UsageMeter;
use super::model_group::{GroupContext, group_by_model};
use super::options::{RunOptions, SCRIPTED};
use super::summary::ExperimentSummary;
use crate::config::{Cell, Config, PlannedRun};
use crate::error::{ConfigProblem, ExperimentError};
use crate::identity;
use crate::provider::remote::RemoteProvider;
use crate::provider::{ModelSettings, ProviderError, ProviderFactory, ProviderInfo};
use results::{ExperimentRecord, Provenance, SCHEMA_VERSION, Store};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// Carries out the runs of an experiment that are not committed yet. A further call resumes
/// interrupted runs.
///
/// # Errors
/// A model cannot be found or loaded, or the folder cannot be written; committed runs are kept. A
/// provider's failure within a run is not an error: the summary lists the run as failed.
pub fn run_experiment(
    config: &Config,
    models: &dyn ProviderFactory,
    options: &RunOptions,
    sink: &dyn EventSink,
    canceled: &(dyn Fn() -> bool + Sync),
) -> Result<ExperimentSummary, ExperimentError> {
    if options.run.is_none() && config.cells().iter().all(Cell::is_human) {
        let why = "expected a model or a scripted operator, found human: people play their runs by \
                   `vendomini play`";
        let key = "agent.policy".to_string();
        return Err(ConfigProblem::Contradiction { key, why: why.into() }.into());
    }
    let Prepared { store, runs, infos } = prepare(config, models, options)?;
    let time_up = || options.stop_at.is_some_and(|end| Instant::now() >= end);
    let stopped = || canceled() || time_up();
    let runs = only_model(runs, options.model.as_deref())?;
    let runs = only_run(runs, options.run.as_deref(), sink)?;
    let (done, todo): (Vec<PlannedRun>, Vec<PlannedRun>) =
        runs.into_iter().partition(|run| store.run(&run.run_id).is_committed());
    let meter = UsageMeter::new(config.execution().limits);
    let mut summary = ExperimentSummary {
        total: done.len() + todo.len(),
        done_before: done.len(),
        ..ExperimentSummary::default()
    };
    sink.event(&RunEvent::Planned { counts: config.counts(), done: done.len(), left: todo.len() });
    let context = GroupContext {
        config,
        models,
        options,
        sink,
        canceled: &stopped,
        store: &store,
        planned_infos: &infos,
        meter: &meter,
    };
    for group in group_by_model(todo) {
        if stopped() || at_runs_max(&summary, options) || meter.reached().is_some() {
            break;
        }
        group.run(&context, &mut summary)?;
    }
    summary.left = summary.total - summary.done_before - summary.done_now;
    if summary.left > 0 {
        summary.interrupted = canceled();
        summary.time_up = time_up() && !summary.interrupted;
        summary.limit = meter.reached();
        summary.limited = at_runs_max(&summary, options) || summary.limit.is_some();
    }
    Ok(summary)
}

/// Opens or creates the folder of an experiment without carrying out any run.
///
/// # Errors
/// As for [`run_experiment`] before its first run.
pub fn prepare_experiment(
    config: &Config,
    models: &dyn ProviderFactory,
    options: &RunOptions,
) -> Result<Store, ExperimentError> {
    prepare(config, models, options).map(|prepared| prepared.store)
}

struct Prepared {
    store: Store,
    runs: Vec<PlannedRun>,
    /// Provider information of each model, by model name.
    infos: BTreeMap<String, ProviderInfo>,
}

fn prepare(
    config: &Config,
    models: &dyn ProviderFactory,
    options: &RunOptions,
) -> Result<Prepared, ExperimentError> {
    let mut infos: BTreeMap<String, ProviderInfo> = BTreeMap::new();
    let runs = config.runs(|name| {
        let info = identify(models, &config.model_settings(name, options.jobs))?;
        infos.insert(name.to_string(), info.clone());
        Ok::<_, ProviderError>(info)
    })?;
    let store = Store::create(
        &options.folder,
        &experiment_record(config, &runs, options.provenance.clone()),
    )?;
    Ok(Prepared { store, runs, infos })
}

/// The identity of a model. For a model on a server it consists of the name; otherwise the factory
/// determines it.
fn identify(
    models: &dyn ProviderFactory,
    settings: &ModelSettings,
) -> Result<ProviderInfo, ProviderError> {
    match &settings.server {
        Some(_) => Ok(RemoteProvider::identity(&settings.name, &settings.dtype)),
        None => models.identify(settings),
    }
}

/// The runs of one model, or all runs if `model` is `None`.
///
/// # Errors
/// No run has this model.
fn only_model(
    runs: Vec<PlannedRun>,
    model: Option<&str>,
) -> Result<Vec<PlannedRun>, ExperimentError> {
    let Some(model) = model else { return Ok(runs) };
    let name_of = |run: &PlannedRun| match run.cell.model_name() {
        None if !run.cell.is_human() => SCRIPTED.to_string(),
        _ => run.cell.actor_name().to_string(),
    };
    let names: BTreeSet<String> = runs.iter().map(name_of).collect();
    if !names.contains(model) {
        let expected = names.into_iter().collect::<Vec<_>>().join(", ");
        let why = format!("expected one of {expected}, found {model}");
        return Err(ConfigProblem::Contradiction { key: "--model".into(), why }.into());
    }
    Ok(runs.into_iter().filter(|run| name_of(run) == model).collect())
}

/// The run with this id or, if `id` is `None`, all runs but those of people.
///
/// # Errors
/// No run has this id.
fn only_run(
    mut runs: Vec<PlannedRun>,
    id: Option<&str>,
    sink: &dyn EventSink,
) -> Result<Vec<PlannedRun>, ExperimentError> {
    let planned = runs.len();
    runs.retain(|run| id.map_or(!run.cell.is_human(), |id| run.run_id == id));
    let left_out = planned - runs.len();
    match id {
        Some(id) if runs.is_empty() => {
            let why = format!("expected the id of one of {planned} planned runs, found {id}");
            Err(ConfigProblem::Contradiction { key: "--run".into(), why }.into())
        }
        None if left_out > 0 => {
            let text = format!("{left_out} runs are for people: vendomini play");
            sink.event(&RunEvent::Note { text });
            Ok(runs)
        }
        _ => Ok(runs),
    }
}

fn at_runs_max(summary: &ExperimentSummary, options: &RunOptions) -> bool {
    options.runs_max.is_some_and(|max| summary.done_now >= max)
}

/// The content of `experiment.json` in the experiment's folder.
pub(crate) fn experiment_record(
    config: &Config,
    runs: &[PlannedRun],
    provenance: Provenance,
) -> ExperimentRecord {
    let configuration = config.identity();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    ExperimentRecord {
        schema_version: SCHEMA_VERSION,
        name: config.name().to_string(),
        configuration_hash: identity::hash_of(&configuration),
        configuration,
        execution: config.execution_values(),
        runs: runs.iter().map(|run| run.run_id.clone()).collect(),
        provenance: Provenance {
            design: config.design().to_string(),
            config_file: Some(config.file().to_string()),
            notes: config.notes().to_vec(),
            begun_unix_s: now.map_or(0, |since| since.as_secs()),
            ..provenance
        },
    }
}

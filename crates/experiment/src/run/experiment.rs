//! An experiment: all runs of a configuration, some of them in flight at a time, models one after
//! the other.

use crate::config::Config;
use crate::config::{PlannedRun, scripted_info};
use crate::error::{ConfigProblem, ExperimentError};
use crate::identity;
use crate::provider::remote::RemoteProvider;
use crate::provider::{ModelSettings, Provider, ProviderError, ProviderFactory, ProviderInfo};
use crate::run::attempt::{RunContext, RunOutcome, execute_run};
use crate::run::claimed_elsewhere::{ClaimCheck, RunsClaimedElsewhere};
use crate::run::events::{EventSink, RunEvent};
use crate::run::limits::{UsageLimits, UsageMeter};
use results::{
    ClosingRow, ExperimentRecord, ModelRecord, Owner, Provenance, SCHEMA_VERSION, Store,
};
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Stands for a model where runs need none.
pub const SCRIPTED: &str = "scripted";

/// Attempts that fail one after the other, none succeeding, before the command gives up on all
/// runs.
const FAILURES_IN_A_ROW_MAX: usize = 24;
/// Between two looks for a run that can be taken.
const IDLE: Duration = Duration::from_millis(200);

/// How an experiment is carried out. Changes no row.
pub struct RunOptions {
    /// The folder of the experiment (see [`Config::folder`]).
    pub folder: PathBuf,
    /// Runs in flight at a time.
    pub jobs: usize,
    /// End after so many runs were committed by this command.
    pub runs_max: Option<usize>,
    /// Let rows of another kernel set into a folder, marked.
    pub accept_mixed: bool,
    /// Only the runs of this model; [`SCRIPTED`] are those that need none.
    pub model: Option<String>,
    /// Take no further step after this instant: what is left is for another command.
    pub end: Option<Instant>,
    /// When nothing but runs of other processes is left: how long these are watched, to take over
    /// from one that is lost. A claim of another host counts as given up after 120 s without a
    /// sign of life.
    pub claim_patience: Duration,
    /// Version, git commit and host; the rest is filled in.
    pub provenance: Provenance,
}

/// What a command did.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ExperimentSummary {
    /// All runs of the configuration.
    pub total: usize,
    /// Of these, done before the command.
    pub done_before: usize,
    /// Committed by it.
    pub done_now: usize,
    /// Failed at their last attempt: run id and reason.
    pub failed: Vec<(String, String)>,
    /// Left to other processes: run id and who.
    pub held: Vec<(String, String)>,
    /// Not done, for whatever reason.
    pub left: usize,
    /// Somebody asked to stop.
    pub interrupted: bool,
    /// [`RunOptions::end`] came with runs left.
    pub time_up: bool,
    /// Ended by [`RunOptions::runs_max`], or by a limit.
    pub limited: bool,
    /// The limit of tokens, hours or failures that ended it.
    pub limit: Option<String>,
    /// The table that closes the command: the runs committed by it.
    pub closing: Vec<ClosingRow>,
}

impl ExperimentSummary {
    /// Whether nothing is left to do.
    pub fn all_done(&self) -> bool {
        self.left == 0
    }

    /// The process's exit code: 124 out of time, 130 interrupted, 1 where runs failed, 69 where
    /// other processes hold what is left.
    pub fn exit_code(&self) -> u8 {
        match self {
            _ if self.time_up => 124,
            _ if self.interrupted => 130,
            _ if !self.failed.is_empty() => 1,
            _ if !self.held.is_empty() => 69,
            _ => 0,
        }
    }
}

/// Does what is left of an experiment. The same call again goes on where this one ended.
///
/// # Errors
/// A configuration that contradicts itself, a model that cannot be had, a folder that cannot be
/// written. What was done is kept. A provider's failure within a run is no error: the run is
/// `failed` in the summary.
pub fn run_experiment(
    config: &Config,
    models: &dyn ProviderFactory,
    options: &RunOptions,
    sink: &dyn EventSink,
    canceled: &(dyn Fn() -> bool + Sync),
) -> Result<ExperimentSummary, ExperimentError> {
    let (store, runs, infos) = prepare(config, models, options)?;
    let late = || options.end.is_some_and(|end| Instant::now() >= end);
    let asked = canceled;
    let canceled: &(dyn Fn() -> bool + Sync) = &|| asked() || late();
    let runs = of_model(runs, options.model.as_deref())?;
    let (done, todo): (Vec<PlannedRun>, Vec<PlannedRun>) =
        runs.into_iter().partition(|run| store.run(&run.run_id).is_committed());
    let meter = UsageMeter::new(UsageLimits::of(config));
    let mut summary = ExperimentSummary {
        total: done.len() + todo.len(),
        done_before: done.len(),
        ..ExperimentSummary::default()
    };
    sink.event(&RunEvent::Planned { counts: config.counts(), done: done.len(), left: todo.len() });
    for group in by_model(todo) {
        if canceled() || at_limit(&summary, options) || meter.reached().is_some() {
            break;
        }
        ModelGroup {
            config,
            models,
            options,
            sink,
            canceled,
            store: &store,
            infos: &infos,
            meter: &meter,
        }
        .run(group, &mut summary)?;
    }
    summary.left = summary.total - summary.done_before - summary.done_now;
    summary.interrupted = asked() && summary.left > 0;
    summary.time_up = late() && !summary.interrupted && summary.left > 0;
    summary.limit = meter.reached().filter(|_| summary.left > 0);
    summary.limited = (at_limit(&summary, options) || summary.limit.is_some()) && summary.left > 0;
    Ok(summary)
}

/// Opens the folder of an experiment, or makes it, without doing any of its runs.
///
/// # Errors
/// As [`run_experiment`], before its first run.
pub fn prepare_experiment(
    config: &Config,
    models: &dyn ProviderFactory,
    options: &RunOptions,
) -> Result<Store, ExperimentError> {
    prepare(config, models, options).map(|(store, _, _)| store)
}

type Prepared = (Store, Vec<PlannedRun>, BTreeMap<String, ProviderInfo>);

fn prepare(
    config: &Config,
    models: &dyn ProviderFactory,
    options: &RunOptions,
) -> Result<Prepared, ExperimentError> {
    config.check()?;
    let mut infos: BTreeMap<String, ProviderInfo> = BTreeMap::new();
    let runs = config.runs(|name| {
        let info = identify(models, &config.model_settings(name, options.jobs))?;
        infos.insert(name.to_string(), info.clone());
        Ok::<_, ProviderError>(info)
    })?;
    let store = Store::create(&options.folder, &experiment_record(config, &runs, options))?;
    Ok((store, runs, infos))
}

/// The runs of one model, or all. A name that no run has is refused.
fn of_model(
    runs: Vec<PlannedRun>,
    model: Option<&str>,
) -> Result<Vec<PlannedRun>, ExperimentError> {
    let Some(model) = model else { return Ok(runs) };
    let name_of = |run: &PlannedRun| match run.cell.needs_model() {
        true => run.cell.text("model.name").to_string(),
        false => SCRIPTED.to_string(),
    };
    let names: std::collections::BTreeSet<String> = runs.iter().map(name_of).collect();
    if !names.contains(model) {
        let there = names.into_iter().collect::<Vec<_>>().join(", ");
        let why = format!("expected one of {there}, found {model}");
        return Err(ConfigProblem::Contradiction { key: "--model".into(), why }.into());
    }
    Ok(runs.into_iter().filter(|run| name_of(run) == model).collect())
}

/// A served model is what the server calls it; any other is the factory's to know.
fn identify(
    models: &dyn ProviderFactory,
    settings: &ModelSettings,
) -> Result<ProviderInfo, ProviderError> {
    match &settings.server {
        Some(_) => Ok(RemoteProvider::identity(&settings.name, &settings.dtype)),
        None => models.identify(settings),
    }
}

fn at_limit(summary: &ExperimentSummary, options: &RunOptions) -> bool {
    options.runs_max.is_some_and(|most| summary.done_now >= most)
}

/// The record of an experiment's folder.
fn experiment_record(
    config: &Config,
    runs: &[PlannedRun],
    options: &RunOptions,
) -> ExperimentRecord {
    let configuration = config.identity();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    ExperimentRecord {
        schema_version: SCHEMA_VERSION,
        name: config.name().to_string(),
        configuration_hash: identity::hash_of(&configuration),
        configuration,
        execution: config.execution(),
        runs: runs.iter().map(|run| run.run_id.clone()).collect(),
        provenance: Provenance {
            config_file: Some(config.file.clone()),
            notes: config.notes.clone(),
            begun_unix_s: now.map_or(0, |since| since.as_secs()),
            ..options.provenance.clone()
        },
    }
}

/// Runs of one model each, in the order of first use. Scripted ones need none, and are a group of
/// their own.
fn by_model(runs: Vec<PlannedRun>) -> Vec<(Option<String>, Vec<PlannedRun>)> {
    let mut groups: Vec<(Option<String>, Vec<PlannedRun>)> = Vec::new();
    for run in runs {
        let model = run.cell.needs_model().then(|| run.cell.text("model.name").to_string());
        match groups.iter_mut().find(|(name, _)| *name == model) {
            Some((_, runs)) => runs.push(run),
            None => groups.push((model, vec![run])),
        }
    }
    groups
}

/// All that is needed to do the runs of one model.
struct ModelGroup<'a> {
    config: &'a Config,
    models: &'a dyn ProviderFactory,
    options: &'a RunOptions,
    sink: &'a dyn EventSink,
    canceled: &'a (dyn Fn() -> bool + Sync),
    store: &'a Store,
    infos: &'a BTreeMap<String, ProviderInfo>,
    meter: &'a UsageMeter,
}

impl ModelGroup<'_> {
    fn run(
        &self,
        (model, runs): (Option<String>, Vec<PlannedRun>),
        summary: &mut ExperimentSummary,
    ) -> Result<(), ExperimentError> {
        let Some(name) = model else {
            let info = scripted_info();
            return self.work(None, &info, None, runs, summary);
        };
        let settings = self.config.model_settings(&name, self.options.jobs);
        self.sink.event(&RunEvent::ModelOpening { name: name.clone(), runs: runs.len() });
        let provider = self.open(&settings)?;
        let info = provider.describe();
        self.agrees(&settings, &info)?;
        let mixed =
            self.store.admit_model(&model_record(&name, &info), self.options.accept_mixed)?;
        self.sink.event(&RunEvent::ModelOpened { name, info: info.clone() });
        self.work(Some(&*provider), &info, mixed, runs, summary)
    }

    fn open(&self, settings: &ModelSettings) -> Result<Arc<dyn Provider>, ProviderError> {
        let Some(server) = &settings.server else { return self.models.open(settings) };
        let deadline_s = self.config.values["model.reply_deadline_s"].as_f64().unwrap_or(0.0);
        let provider = RemoteProvider::open(
            &settings.name,
            &settings.dtype,
            server,
            deadline_s,
            self.canceled,
        )?;
        Ok(Arc::new(provider))
    }

    /// Run ids were made from what the model was said to be; it must be that.
    fn agrees(&self, settings: &ModelSettings, info: &ProviderInfo) -> Result<(), ExperimentError> {
        let said = self.infos.get(&settings.name);
        if said.is_some_and(|said| (&said.identity, &said.dtype) == (&info.identity, &info.dtype)) {
            return Ok(());
        }
        let words = said
            .map_or("nothing".to_string(), |said| format!("{} in {}", said.identity, said.dtype));
        Err(ExperimentError::Defect(format!(
            "model {} was to be {words}, and what was loaded is {} in {}: the checkpoint changed in between, or it was planned \
             otherwise than it was loaded",
            settings.name, info.identity, info.dtype
        )))
    }

    fn work(
        &self,
        provider: Option<&dyn Provider>,
        info: &ProviderInfo,
        mixed_kernels: Option<String>,
        runs: Vec<PlannedRun>,
        summary: &mut ExperimentSummary,
    ) -> Result<(), ExperimentError> {
        let stage = RunContext {
            store: self.store,
            sink: self.sink,
            canceled: self.canceled,
            provider,
            info,
            reply_deadline_s: self
                .config
                .values
                .get("model.reply_deadline_s")
                .and_then(|v| v.as_f64())
                .unwrap_or(600.0),
            mixed_kernels,
            meter: self.meter,
            compress_logs: self.config.flag("experiment.compress_logs"),
        };
        let (threads, factors) =
            (self.options.jobs.clamp(1, runs.len().max(1)), self.config.factors());
        let desk =
            RunQueue::new(runs, self.config.whole("experiment.retries"), self.options, summary);
        std::thread::scope(|scope| {
            for worker in 0..threads {
                let (desk, stage, factors) = (&desk, &stage, &factors);
                let started = std::thread::Builder::new()
                    .name(format!("run {worker}"))
                    .spawn_scoped(scope, move || desk.work(stage, factors));
                if let Err(error) = started {
                    desk.stop(ExperimentError::Defect(format!(
                        "cannot start a thread for runs: {error}"
                    )));
                }
            }
        });
        desk.leave(summary)
    }
}

fn model_record(name: &str, info: &ProviderInfo) -> ModelRecord {
    ModelRecord {
        schema_version: SCHEMA_VERSION,
        name: name.to_string(),
        identity: info.identity.clone(),
        dtype: info.dtype.clone(),
        kernel_set: info.kernel_set.clone(),
    }
}

/// Where the threads get their runs and leave what came of them.
struct RunQueue {
    state: Mutex<QueueState>,
    retries: u64,
    runs_max: Option<usize>,
    here: Owner,
}

/// What a thread finds at the desk.
enum NextRun {
    Run(PlannedRun, u64),
    Wait,
    Nothing,
}

struct QueueState {
    queue: VecDeque<(PlannedRun, u64)>,
    held: RunsClaimedElsewhere,
    summary: ExperimentSummary,
    /// Runs in flight.
    flying: usize,
    failures_in_a_row: usize,
    /// Why runs that wait for another try failed.
    again: BTreeMap<String, String>,
    error: Option<ExperimentError>,
}

impl RunQueue {
    fn new(
        runs: Vec<PlannedRun>,
        retries: u64,
        options: &RunOptions,
        summary: &ExperimentSummary,
    ) -> Self {
        let queue = runs.into_iter().map(|run| (run, 0)).collect();
        let state = QueueState {
            queue,
            held: RunsClaimedElsewhere::new(options.claim_patience),
            summary: summary.clone(),
            flying: 0,
            failures_in_a_row: 0,
            again: BTreeMap::new(),
            error: None,
        };
        RunQueue {
            state: Mutex::new(state),
            retries,
            runs_max: options.runs_max,
            here: Owner::here(),
        }
    }

    fn work(&self, stage: &RunContext<'_>, factors: &[String]) {
        loop {
            match self.next(stage) {
                NextRun::Run(run, tries) => {
                    let end = execute_run(stage, &run);
                    self.note(stage, factors, run, tries, end);
                }
                NextRun::Wait => std::thread::sleep(IDLE),
                NextRun::Nothing => return,
            }
        }
    }

    fn next(&self, stage: &RunContext<'_>) -> NextRun {
        let mut state = self.lock();
        let limited = stage.meter.reached().is_some();
        let enough =
            self.runs_max.is_some_and(|most| state.summary.done_now + state.flying >= most);
        let hopeless = state.failures_in_a_row >= FAILURES_IN_A_ROW_MAX;
        if (stage.canceled)() || state.error.is_some() || enough || hopeless || limited {
            return NextRun::Nothing;
        }
        let next = match state.queue.pop_front() {
            Some((run, tries)) => NextRun::Run(run, tries),
            None => self.of_others(stage, &mut state),
        };
        state.flying += usize::from(matches!(next, NextRun::Run(..)));
        next
    }

    /// Looks whether one of the runs that others hold has become free.
    fn of_others(&self, stage: &RunContext<'_>, state: &mut QueueState) -> NextRun {
        match state.held.look(stage.store, &self.here) {
            Ok(ClaimCheck::Free(run, tries)) => NextRun::Run(run, tries),
            Ok(ClaimCheck::Done) => {
                state.summary.done_before += 1;
                NextRun::Wait
            }
            Ok(ClaimCheck::Wait) => {
                // To wait for other processes is no stall; a run of ours that is stuck is one.
                if state.flying == 0 {
                    stage.sink.event(&RunEvent::Waiting);
                }
                NextRun::Wait
            }
            Ok(ClaimCheck::Nothing) => NextRun::Nothing,
            Err(error) => {
                state.error.get_or_insert(error.into());
                NextRun::Nothing
            }
        }
    }

    fn note(
        &self,
        stage: &RunContext<'_>,
        factors: &[String],
        run: PlannedRun,
        tries: u64,
        end: Result<RunOutcome, ExperimentError>,
    ) {
        let run_id = run.run_id.clone();
        let mut state = self.lock();
        state.flying -= 1;
        let event = match end {
            Ok(RunOutcome::Done(record)) => {
                state.failures_in_a_row = 0;
                state.summary.done_now += 1;
                state.summary.closing.push(ClosingRow::of(&record, factors));
                RunEvent::RunFinished { record }
            }
            Ok(RunOutcome::AlreadyDone) => {
                state.summary.done_before += 1;
                RunEvent::Note {
                    text: format!("run {run_id} was done by another process meanwhile"),
                }
            }
            Ok(RunOutcome::ClaimedElsewhere(owner)) => {
                let who = owner.to_string();
                state.held.add(run, tries, owner);
                RunEvent::RunClaimedElsewhere { run_id, owner: who }
            }
            Ok(RunOutcome::Failed(reason)) => {
                state.failures_in_a_row += 1;
                stage.meter.fail();
                let again = tries < self.retries && state.failures_in_a_row < FAILURES_IN_A_ROW_MAX;
                match again {
                    true => {
                        state.again.insert(run_id.clone(), reason.clone());
                        state.queue.push_back((run, tries + 1));
                    }
                    false => state.summary.failed.push((run_id.clone(), reason.clone())),
                }
                RunEvent::RunFailed { run_id, reason, again }
            }
            Ok(RunOutcome::LimitReached(reason)) => {
                stage.meter.fail();
                state.summary.failed.push((run_id.clone(), reason.clone()));
                RunEvent::RunFailed { run_id, reason, again: false }
            }
            Ok(RunOutcome::Interrupted) => return,
            Err(error) => {
                let text = format!("run {run_id} stopped: {error}");
                state.error.get_or_insert(error);
                RunEvent::Note { text }
            }
        };
        drop(state);
        stage.sink.event(&event);
    }

    fn stop(&self, error: ExperimentError) {
        self.lock().error.get_or_insert(error);
    }

    fn leave(self, summary: &mut ExperimentSummary) -> Result<(), ExperimentError> {
        let mut state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        // What was to be tried again, and was not, has failed.
        let waiting: Vec<String> = state
            .queue
            .iter()
            .filter(|(_, tries)| *tries > 0)
            .map(|(r, _)| r.run_id.clone())
            .collect();
        for run_id in waiting {
            let reason = state.again.remove(&run_id).unwrap_or_default();
            state.summary.failed.push((run_id, reason));
        }
        let QueueState { held, summary: ours, .. } = &mut state;
        let others = std::mem::replace(held, RunsClaimedElsewhere::new(Duration::ZERO)).into_runs();
        ours.held.extend(others.map(|held| (held.run.run_id, held.owner.to_string())));
        state.summary.closing.sort_by(|a, b| (&a.cell, &a.run).cmp(&(&b.cell, &b.run)));
        *summary = state.summary;
        match state.error {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

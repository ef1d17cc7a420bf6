//! The runs of one model: opens the model once and starts the threads that share it.

use super::attempt::RunContext;
use super::events::{EventSink, RunEvent};
use super::limits::UsageMeter;
use super::options::RunOptions;
use super::queue::RunQueue;
use super::summary::ExperimentSummary;
use crate::config::{Config, PlannedRun, human_info, scripted_info};
use crate::error::ExperimentError;
use crate::provider::remote::RemoteProvider;
use crate::provider::{ModelSettings, Provider, ProviderError, ProviderFactory, ProviderInfo};
use results::{ModelRecord, SCHEMA_VERSION, Store};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The runs of one model, of all scripted operators, or of people.
pub(super) struct ModelGroup {
    /// `None` for scripted operators and people.
    model: Option<String>,
    human: bool,
    runs: Vec<PlannedRun>,
}

/// Data that all model groups of a command share.
pub(super) struct GroupContext<'a> {
    pub config: &'a Config,
    pub models: &'a dyn ProviderFactory,
    pub options: &'a RunOptions,
    pub sink: &'a dyn EventSink,
    pub canceled: &'a (dyn Fn() -> bool + Sync),
    pub store: &'a Store,
    /// Provider information from which run ids were made, by model name.
    pub planned_infos: &'a BTreeMap<String, ProviderInfo>,
    pub meter: &'a UsageMeter,
}

/// Groups runs by model, in the order of first use.
pub(super) fn group_by_model(runs: Vec<PlannedRun>) -> Vec<ModelGroup> {
    let mut groups: Vec<ModelGroup> = Vec::new();
    for run in runs {
        let model = run.cell.model_name().map(str::to_string);
        let human = run.cell.is_human();
        match groups.iter_mut().find(|group| group.model == model && group.human == human) {
            Some(group) => group.runs.push(run),
            None => groups.push(ModelGroup { model, human, runs: vec![run] }),
        }
    }
    groups
}

impl ModelGroup {
    /// Carries out the group's runs and adds their results to `summary`.
    ///
    /// # Errors
    /// The model cannot be opened, its identity differs from the planned one, or results cannot be
    /// written.
    pub fn run(
        self,
        context: &GroupContext<'_>,
        summary: &mut ExperimentSummary,
    ) -> Result<(), ExperimentError> {
        let Some(name) = self.model else {
            let (provider, info) = match self.human {
                true => (Some(context.models.person()?), human_info()),
                false => (None, scripted_info()),
            };
            let opened = OpenedModel { provider, info, mixed_kernels: None };
            return context.carry_out(&opened, self.runs, summary);
        };
        let settings = context.config.model_settings(&name, context.options.jobs);
        context.sink.event(&RunEvent::ModelOpening { name: name.clone(), runs: self.runs.len() });
        let provider = context.open(&settings)?;
        let info = provider.describe();
        context.check_identity(&settings, &info)?;
        let record = model_record(&name, &info);
        let mixed_kernels = context.store.admit_model(&record, context.options.accept_mixed)?;
        context.sink.event(&RunEvent::ModelOpened { name, info: info.clone() });
        let opened = OpenedModel { provider: Some(provider), info, mixed_kernels };
        context.carry_out(&opened, self.runs, summary)
    }
}

struct OpenedModel {
    /// `None` for scripted operators.
    provider: Option<Arc<dyn Provider>>,
    info: ProviderInfo,
    /// The kernel set of the model if it differs from the one recorded in the experiment's folder.
    mixed_kernels: Option<String>,
}

impl GroupContext<'_> {
    fn open(&self, settings: &ModelSettings) -> Result<Arc<dyn Provider>, ProviderError> {
        let Some(server) = &settings.server else { return self.models.open(settings) };
        let provider = RemoteProvider::open(
            &settings.name,
            &settings.dtype,
            server,
            self.config.execution().reply_deadline_s,
            self.canceled,
        )?;
        Ok(Arc::new(provider))
    }

    /// Fails if the loaded model differs from the model identified before loading, whose identity
    /// is part of the run ids.
    fn check_identity(
        &self,
        settings: &ModelSettings,
        loaded: &ProviderInfo,
    ) -> Result<(), ExperimentError> {
        let planned = self.planned_infos.get(&settings.name);
        let same = |planned: &ProviderInfo| {
            (&planned.identity, &planned.dtype) == (&loaded.identity, &loaded.dtype)
        };
        if planned.is_some_and(same) {
            return Ok(());
        }
        let expected = planned.map_or("nothing".to_string(), |planned| {
            format!("{} in {}", planned.identity, planned.dtype)
        });
        Err(ExperimentError::Defect(format!(
            "model {}: expected {expected}, loaded {} in {}: the checkpoint changed meanwhile, or \
             plan and load disagree",
            settings.name, loaded.identity, loaded.dtype
        )))
    }

    fn carry_out(
        &self,
        model: &OpenedModel,
        runs: Vec<PlannedRun>,
        summary: &mut ExperimentSummary,
    ) -> Result<(), ExperimentError> {
        let execution = self.config.execution();
        let context = RunContext {
            store: self.store,
            sink: self.sink,
            canceled: self.canceled,
            provider: model.provider.as_deref(),
            info: &model.info,
            reply_deadline_s: execution.reply_deadline_s,
            mixed_kernels: model.mixed_kernels.clone(),
            meter: self.meter,
            compress_logs: execution.compress_logs,
        };
        let threads = self.options.jobs.clamp(1, runs.len().max(1));
        let queue = RunQueue::new(&context, self.config, runs, self.options, summary);
        std::thread::scope(|scope| {
            for thread in 0..threads {
                let queue = &queue;
                let started = std::thread::Builder::new()
                    .name(format!("run {thread}"))
                    .spawn_scoped(scope, move || queue.work());
                if let Err(error) = started {
                    queue.stop(ExperimentError::Defect(format!(
                        "cannot start a thread for runs: {error}"
                    )));
                }
            }
        });
        queue.finish(summary)
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

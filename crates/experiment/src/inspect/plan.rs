//! Which runs belong to which log: one log for each model, one sample for each run that is
//! committed or has failed.

use crate::config::{Config, PlannedRun};
use crate::error::ExperimentError;
use crate::provider::ProviderInfo;
use crate::tables::{factor_levels, factors};
use results::{ResultsError, RunFailure, RunFolder, RunRecord, Store};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The runs of one model.
pub(super) struct ModelRuns {
    pub model: String,
    /// Number of runs that the configuration asks for.
    pub planned: usize,
    pub samples: Vec<SampleRun>,
}

/// A run that becomes a sample.
pub(super) struct SampleRun {
    pub folder: RunFolder,
    pub key: SampleKey,
    /// `None` if the run is committed.
    pub failed: Option<FailedRun>,
}

/// A run whose last attempt failed.
pub(super) struct FailedRun {
    pub run: PlannedRun,
    pub failure: RunFailure,
}

/// Id and epoch of a sample. A sample is a cell in a world; its epochs are the draws.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SampleKey {
    pub id: String,
    /// Counted from 1.
    pub epoch: u64,
}

impl ModelRuns {
    /// Number of runs whose last attempt failed.
    pub fn failed(&self) -> usize {
        self.samples.iter().filter(|sample| sample.failed.is_some()).count()
    }

    /// Number of committed runs.
    pub fn committed(&self) -> usize {
        self.samples.len() - self.failed()
    }

    /// Number of runs that are neither committed nor failed.
    pub fn unfinished(&self) -> usize {
        self.planned.saturating_sub(self.samples.len())
    }
}

/// The runs of each model, by its name; runs are in the order of the study.
///
/// # Errors
/// A record cannot be read, or the stored configuration of an unfinished study is not readable.
pub(super) fn runs_by_model(store: &Store) -> Result<Vec<ModelRuns>, ExperimentError> {
    let factors = factors(store.experiment());
    let mut samples: BTreeMap<String, Vec<SampleRun>> = BTreeMap::new();
    let mut open = Vec::new();
    for run_id in ordered_ids(store)? {
        let folder = store.run(&run_id);
        match folder.committed()? {
            Some(record) => {
                let key = SampleKey::of_record(&record, &factors);
                let sample = SampleRun { folder, key, failed: None };
                samples.entry(record.model).or_default().push(sample);
            }
            None => open.push(folder),
        }
    }
    let mut planned: BTreeMap<String, usize> =
        samples.iter().map(|(model, samples)| (model.clone(), samples.len())).collect();
    if !open.is_empty() {
        let study = StoredStudy::of(store)?;
        planned = study.planned.clone();
        for folder in open {
            let Some(failure) = last_failure(&folder)? else { continue };
            let run = study.run(&folder)?;
            let key = SampleKey::of_plan(&run, &factors);
            let model = run.cell.actor_name().to_string();
            let sample = SampleRun { folder, key, failed: Some(FailedRun { run, failure }) };
            samples.entry(model).or_default().push(sample);
        }
    }
    let of_model = |(model, planned): (String, usize)| {
        let mut samples = samples.remove(&model).unwrap_or_default();
        distinguish(&mut samples);
        ModelRuns { model, planned, samples }
    };
    Ok(planned.into_iter().map(of_model).collect())
}

/// Ids of all runs in the order of the study, then those of other folders of runs.
fn ordered_ids(store: &Store) -> Result<Vec<String>, ResultsError> {
    let planned = &store.experiment().runs;
    let known: BTreeSet<&String> = planned.iter().collect();
    let on_disk = store.runs()?.into_iter().map(|folder| folder.run_id());
    let others: Vec<String> = on_disk.filter(|id| !known.contains(id)).collect();
    Ok(planned.iter().cloned().chain(others).collect())
}

/// The failure of a run whose last attempt failed.
fn last_failure(folder: &RunFolder) -> Result<Option<RunFailure>, ResultsError> {
    let last = folder.attempts()?.last().copied();
    Ok(folder.failures()?.pop().filter(|failure| Some(failure.attempt) == last))
}

/// What the stored configuration of a study asks for.
struct StoredStudy {
    /// By the name of the model or operator.
    planned: BTreeMap<String, usize>,
    runs: HashMap<String, PlannedRun>,
}

impl StoredStudy {
    fn of(store: &Store) -> Result<StoredStudy, ExperimentError> {
        let path = store.root().join("experiment.json");
        let config = Config::of_record(store.experiment()).map_err(|problem| {
            ExperimentError::BadCell { path: path.clone(), message: problem.to_string() }
        })?;
        let planned = config.counts().models;
        let runs = config.runs(|name| {
            let info = |identity: String, dtype: String, kernel_set: String| ProviderInfo {
                identity,
                dtype,
                rung: String::new(),
                kernel_set,
                context_length: None,
            };
            Ok::<_, ExperimentError>(match store.model(name)? {
                Some(model) => info(model.identity, model.dtype, model.kernel_set),
                // No run of a model without a record was begun, so that no folder is looked up.
                None => info(String::new(), String::new(), String::new()),
            })
        })?;
        let runs = runs.into_iter().map(|run| (run.run_id.clone(), run)).collect();
        Ok(StoredStudy { planned, runs })
    }

    /// The plan of a run, which a run that is not committed has no record of.
    fn run(&self, folder: &RunFolder) -> Result<PlannedRun, ExperimentError> {
        let unknown = || ExperimentError::BadCell {
            path: folder.path().to_path_buf(),
            message:
                "it failed, and is none of the runs that experiment.json asks for: the folder \
                      was begun by another version of this program"
                    .into(),
        };
        self.runs.get(&folder.run_id()).cloned().ok_or_else(unknown)
    }
}

impl SampleKey {
    fn of_record(record: &RunRecord, factors: &[String]) -> SampleKey {
        SampleKey::of(&record.cell, factors, record.replicate, record.draw)
    }

    fn of_plan(run: &PlannedRun, factors: &[String]) -> SampleKey {
        let cell = run.cell.values().iter();
        let cell = cell.map(|(key, value)| (key.to_string(), value.clone())).collect();
        SampleKey::of(&cell, factors, run.replicate, run.draw)
    }

    /// The id is made of the levels of the factors and the world, without characters that have a
    /// meaning in paths. The model is the same in all samples of a log.
    fn of(
        cell: &BTreeMap<String, Value>,
        factors: &[String],
        replicate: u64,
        draw: u64,
    ) -> SampleKey {
        let of_model = |key: &str| ["model.name", "agent.policy"].contains(&key);
        let levels = factor_levels(cell, factors).into_iter().filter(|(key, _)| !of_model(key));
        let label = |(key, level): (String, String)| {
            let name = key.rsplit('.').next().unwrap_or(&key).to_string();
            format!("{name}={level}")
        };
        let parts = levels.map(label).chain([format!("world={replicate}")]);
        let safe = |c: char| if c.is_alphanumeric() || "._=,+-".contains(c) { c } else { '-' };
        let id = parts.collect::<Vec<_>>().join(",").chars().map(safe).collect();
        SampleKey { id, epoch: draw + 1 }
    }
}

/// Adds the run's id to keys that several runs have.
fn distinguish(samples: &mut [SampleRun]) {
    let mut counts: BTreeMap<SampleKey, usize> = BTreeMap::new();
    for sample in samples.iter() {
        *counts.entry(sample.key.clone()).or_default() += 1;
    }
    for sample in samples.iter_mut().filter(|sample| counts[&sample.key] > 1) {
        let run_id = sample.folder.run_id();
        sample.key.id = format!("{},run={run_id}", sample.key.id);
    }
}

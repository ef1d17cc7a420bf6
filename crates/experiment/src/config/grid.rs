//! The grid: combinations of factor levels -> cells -> seeded runs.

use super::cell::{Cell, CellValues};
use super::study::{ExecutionConfig, StudyConfig};
use super::{Config, Levels};
use crate::error::ConfigProblem;
use crate::identity;
use crate::provider::{ModelSettings, ProviderInfo};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

/// One seeded repeat of a cell.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedRun {
    /// Content hash of cell, model identity, dtype and seed.
    pub run_id: String,
    pub cell: Cell,
    /// Counted from 0.
    pub replicate: u64,
    /// The world's seed.
    pub seed: u64,
}

/// The size of a grid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GridCounts {
    /// Combinations of levels.
    pub combinations: usize,
    /// Combinations times replicates.
    pub nominal_runs: usize,
    /// Cells that differ in effect.
    pub cells: usize,
    /// Runs that differ in effect: those that are carried out.
    pub runs: usize,
    /// Steps of these runs, at most.
    pub steps_max: u64,
    /// Model names -> runs.
    pub models: BTreeMap<String, usize>,
}

/// All combinations of the factors' levels, the last factor changing fastest. Cells that are equal
/// in effect are repeated.
pub(super) fn resolve_cells(
    base: CellValues,
    grid: &[(&'static str, Levels)],
) -> Result<Vec<Cell>, ConfigProblem> {
    let mut combinations = vec![base];
    for (key, levels) in grid {
        let with = |values: &CellValues, level: &Value| {
            let mut values = values.clone();
            values.insert(key, level.clone());
            values
        };
        combinations = combinations
            .iter()
            .flat_map(|values| levels.iter().map(move |level| with(values, level)))
            .collect();
    }
    combinations.into_iter().map(Cell::resolve).collect()
}

impl Config {
    /// The cell with these levels, the other keys as they are outside of the grid.
    pub(crate) fn cell_at(
        &self,
        levels: impl IntoIterator<Item = (&'static str, Value)>,
    ) -> Result<Cell, ConfigProblem> {
        let mut values = self.cell_values();
        values.extend(levels);
        Cell::resolve(values)
    }

    /// All distinct runs: model by model in the order of first use, and within a model replicate by
    /// replicate, so that an interrupted study has whole replicates rather than whole cells.
    /// `identify` looks a model up by its name.
    pub fn runs<E>(
        &self,
        mut identify: impl FnMut(&str) -> Result<ProviderInfo, E>,
    ) -> Result<Vec<PlannedRun>, E> {
        let mut models: Vec<(Option<&str>, ProviderInfo)> = Vec::new();
        for cell in &self.cells {
            let name = cell.model_name();
            if !models.iter().any(|(known, _)| *known == name) {
                models.push((name, name.map_or_else(|| Ok(scripted_info()), &mut identify)?));
            }
        }
        let mut seen = BTreeSet::new();
        let mut runs = Vec::new();
        for (name, info) in &models {
            for replicate in 0..self.study.replications {
                let cells = self.cells.iter().filter(|cell| cell.model_name() == *name);
                let planned = cells.map(|cell| self.planned(cell, replicate, info));
                runs.extend(planned.filter(|run| seen.insert(run.run_id.clone())));
            }
        }
        Ok(runs)
    }

    fn planned(&self, cell: &Cell, replicate: u64, info: &ProviderInfo) -> PlannedRun {
        let StudyConfig { seed: study_seed, paired, .. } = self.study;
        let unpaired = (!paired).then(|| identity::hash_of(cell.values()));
        let seed = identity::world_seed(study_seed, replicate, unpaired.as_deref());
        let run_id = identity::run_id(cell.values(), &info.identity, &info.dtype, seed);
        PlannedRun { run_id, cell: cell.clone(), replicate, seed }
    }

    /// All distinct runs, with model names in place of model identities: no model is opened, and
    /// run ids are not those of a real run.
    pub(crate) fn runs_by_name(&self) -> Vec<PlannedRun> {
        match self.runs(|name| Ok::<_, Infallible>(name_info(name))) {
            Ok(runs) => runs,
            Err(never) => match never {},
        }
    }

    /// The size of the grid. Opens no model.
    pub fn counts(&self) -> GridCounts {
        let runs = self.runs_by_name();
        let mut models = BTreeMap::new();
        for run in &runs {
            *models.entry(run.cell.actor_name().to_string()).or_default() += 1;
        }
        let hashes: BTreeSet<String> =
            self.cells.iter().map(|cell| identity::hash_of(cell.values())).collect();
        GridCounts {
            combinations: self.cells.len(),
            nominal_runs: self.cells.len() * self.study.replications as usize,
            cells: hashes.len(),
            steps_max: runs.iter().map(|run| run.cell.steps_max()).sum(),
            runs: runs.len(),
            models,
        }
    }

    /// The settings to open a model with: its context is the longest of all its cells.
    pub fn model_settings(&self, name: &str, concurrency: usize) -> ModelSettings {
        let ExecutionConfig {
            dtype, kv_dtype, prompt_lookup, device_map, max_memory, server, ..
        } = &self.execution;
        let models = self.cells.iter().filter_map(|cell| cell.config().model.as_ref());
        let contexts = models.filter(|model| model.name == name).map(|model| model.context_length);
        ModelSettings {
            name: name.to_string(),
            dtype: dtype.clone(),
            kv_dtype: kv_dtype.clone(),
            prompt_lookup: *prompt_lookup,
            device_map: device_map.clone(),
            max_memory: max_memory.clone(),
            context_length: contexts.max().unwrap_or(0),
            concurrency,
            server: server.clone(),
        }
    }

    /// Names of the models, in the order of first use.
    pub fn model_names(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for name in self.cells.iter().filter_map(Cell::model_name) {
            if !names.iter().any(|known| known == name) {
                names.push(name.to_string());
            }
        }
        names
    }
}

/// Stands in for a model that is not opened: enough to tell runs apart.
fn name_info(name: &str) -> ProviderInfo {
    ProviderInfo {
        identity: name.to_string(),
        dtype: String::new(),
        rung: String::new(),
        kernel_set: String::new(),
        context_length: None,
    }
}

/// The identity of scripted operators, as it enters run ids.
pub(crate) fn scripted_info() -> ProviderInfo {
    ProviderInfo {
        identity: "scripted".to_string(),
        dtype: "none".to_string(),
        rung: String::new(),
        kernel_set: "none".to_string(),
        context_length: None,
    }
}

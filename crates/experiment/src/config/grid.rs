//! The grid: combinations of factor levels, resolved into cells and seeded runs.

use super::cell::{Cell, CellValues};
use super::person::human_info;
use super::study::{ExecutionConfig, StudyConfig};
use super::{Config, Levels};
use crate::error::ConfigProblem;
use crate::identity;
use crate::provider::{ModelSettings, ModelThinking, ProviderInfo};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

/// One seeded replicate of a cell, to be run.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedRun {
    /// Hash of the effective cell, model identity, dtype and seed.
    pub run_id: String,
    pub cell: Cell,
    /// Number of the replicate, counted from 0: runs of the same number share their world, if the
    /// experiment is paired.
    pub replicate: u64,
    /// Number of the run among those of its cell in its world, counted from 0.
    pub draw: u64,
    /// Seed of the run's world.
    pub seed: u64,
}

/// Number of cells, runs and steps of a grid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GridCounts {
    /// Number of combinations of levels.
    pub combinations: usize,
    /// Number of combinations times the number of replicates.
    pub nominal_runs: usize,
    /// Number of distinct effective cells.
    pub cells: usize,
    /// Number of distinct runs, which are the runs carried out.
    pub runs: usize,
    /// Maximum number of steps of all these runs together.
    pub steps_max: u64,
    /// Number of runs by the name of the model or scripted operator; those of people are `human`.
    pub models: BTreeMap<String, usize>,
}

/// Cells of all combinations of the factors' levels; the last factor changes fastest. Combinations
/// with the same effective configuration yield equal cells.
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
    /// The cell with these levels; other keys have their values from outside the grid.
    pub(crate) fn cell_at(
        &self,
        levels: impl IntoIterator<Item = (&'static str, Value)>,
    ) -> Result<Cell, ConfigProblem> {
        let mut values = self.cell_values();
        values.extend(levels);
        Cell::resolve(values)
    }

    /// All distinct runs, grouped by model in the order of first use. Within a model, all runs of
    /// one replicate precede those of the next, so that an interrupted study has complete
    /// replicates. `identify` returns the identity of the model with a name.
    pub fn runs<E>(
        &self,
        mut identify: impl FnMut(&str) -> Result<ProviderInfo, E>,
    ) -> Result<Vec<PlannedRun>, E> {
        let mut models: Vec<((Option<&str>, bool), ProviderInfo)> = Vec::new();
        for cell in &self.cells {
            let agent = (cell.model_name(), cell.is_human());
            if !models.iter().any(|(known, _)| *known == agent) {
                let info = match agent {
                    (Some(name), _) => identify(name)?,
                    (None, true) => human_info(),
                    (None, false) => scripted_info(),
                };
                models.push((agent, info));
            }
        }
        let mut seen = BTreeSet::new();
        let mut runs = Vec::new();
        for (agent, info) in &models {
            let cells: Vec<(&Cell, u64)> = self
                .cells
                .iter()
                .filter(|cell| (cell.model_name(), cell.is_human()) == *agent)
                .map(|cell| (cell, self.study.replications_of(cell.values())))
                .collect();
            let replications = cells.iter().map(|(_, count)| *count).max().unwrap_or(0);
            for (replicate, draw) in
                (0..replications).flat_map(|r| (0..self.study.draws).map(move |draw| (r, draw)))
            {
                let cells = cells.iter().filter(|(_, count)| replicate < *count);
                let planned = cells.map(|(cell, _)| self.planned(cell, replicate, draw, info));
                runs.extend(planned.filter(|run| seen.insert(run.run_id.clone())));
            }
        }
        Ok(runs)
    }

    pub(super) fn planned(
        &self,
        cell: &Cell,
        replicate: u64,
        draw: u64,
        info: &ProviderInfo,
    ) -> PlannedRun {
        let StudyConfig { seed: study_seed, paired, .. } = self.study;
        let unpaired = (!paired).then(|| identity::hash_of(cell.values()));
        let seed = identity::world_seed(study_seed, replicate, unpaired.as_deref());
        let run_id = identity::run_id(cell.values(), &info.identity, &info.dtype, seed, draw);
        PlannedRun { run_id, cell: cell.clone(), replicate, draw, seed }
    }

    /// The smallest number of worlds of a cell.
    pub fn worlds_min(&self) -> u64 {
        let worlds = self.cells.iter().map(|cell| self.study.replications_of(cell.values()));
        worlds.min().unwrap_or(0)
    }

    /// Version of the design of all cells.
    pub fn design(&self) -> &'static str {
        self.cells.first().map_or(warehouse::Design::V2, |cell| cell.config().design).label()
    }

    /// All distinct runs, identified by model names instead of model identities. No model is
    /// opened, and the run ids differ from those of real runs.
    pub(crate) fn runs_by_name(&self) -> Vec<PlannedRun> {
        match self.runs(|name| Ok::<_, Infallible>(name_info(name))) {
            Ok(runs) => runs,
            Err(never) => match never {},
        }
    }

    /// Counts the cells, runs and steps of the grid, without opening a model.
    pub fn counts(&self) -> GridCounts {
        let runs = self.runs_by_name();
        let mut models = BTreeMap::new();
        for run in &runs {
            *models.entry(run.cell.actor_name().to_string()).or_default() += 1;
        }
        let hashes: BTreeSet<String> =
            self.cells.iter().map(|cell| identity::hash_of(cell.values())).collect();
        let nominal =
            |cell: &Cell| (self.study.replications_of(cell.values()) * self.study.draws) as usize;
        GridCounts {
            combinations: self.cells.len(),
            nominal_runs: self.cells.iter().map(nominal).sum(),
            cells: hashes.len(),
            steps_max: runs.iter().map(|run| run.cell.steps_max()).sum(),
            runs: runs.len(),
            models,
        }
    }

    /// Settings with which to open a model. The context length is the longest of the model's cells.
    pub fn model_settings(&self, name: &str, concurrency: usize) -> ModelSettings {
        let ExecutionConfig {
            dtype,
            kv_dtype,
            prompt_lookup,
            chat_template,
            device_map,
            max_memory,
            server,
            ..
        } = &self.execution;
        let models = self.cells.iter().filter_map(|cell| cell.config().model.as_ref());
        let models = models.filter(|model| model.name == name);
        let contexts = models.clone().map(|model| model.context_length);
        ModelSettings {
            name: name.to_string(),
            dtype: dtype.clone(),
            kv_dtype: kv_dtype.clone(),
            prompt_lookup: *prompt_lookup,
            chat_template: chat_template.clone(),
            device_map: device_map.clone(),
            max_memory: max_memory.clone(),
            thinks: models.clone().any(|model| model.thinking != ModelThinking::Off),
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

/// Provider information with the model's name as its identity, which suffices to distinguish runs
/// without opening the model.
fn name_info(name: &str) -> ProviderInfo {
    ProviderInfo {
        identity: name.to_string(),
        dtype: String::new(),
        rung: String::new(),
        kernel_set: String::new(),
        context_length: None,
    }
}

/// The provider information of scripted operators, whose identity is part of their run ids.
pub(crate) fn scripted_info() -> ProviderInfo {
    ProviderInfo {
        identity: "scripted".to_string(),
        dtype: "none".to_string(),
        rung: String::new(),
        kernel_set: "none".to_string(),
        context_length: None,
    }
}

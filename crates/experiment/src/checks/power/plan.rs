//! The runs of a configuration, as the simulation of its analysis sees them.

use super::games::{GameLibrary, PlayedGame};
use super::pilot::ExposureGrowth;
use crate::config::{Cell, Config};
use crate::error::{ConfigProblem, ExperimentError};
use crate::identity::hash_of;
use analysis::AnalysisError;
use analysis::power::{ExposurePath, PlannedExposure, PowerDesign};
use analysis::study::stratum_name;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use warehouse::Observability;

/// The design of a configuration, whose games must have been played. `growth`: of a pilot, to which
/// exposure is fitted.
///
/// # Errors
/// The configuration has one dose, one world or no exposure.
pub(super) fn design(
    config: &Config,
    games: &GameLibrary,
    growth: Option<&ExposureGrowth>,
) -> Result<PowerDesign, ExperimentError> {
    let (mut paths, mut runs) = (Vec::new(), Vec::new());
    let mut strata: BTreeMap<String, u32> = BTreeMap::new();
    let mut worlds: BTreeMap<(String, u64), u32> = BTreeMap::new();
    let mut path_of_settings: BTreeMap<String, usize> = BTreeMap::new();
    let mut plans: Vec<(PlannedExposure, u64, String)> = Vec::new();
    for (cell, hash) in distinct_cells(config) {
        let count = config.study().replications_of(cell.values());
        let played = games.of_cell(cell, count);
        let next = strata.len() as u32;
        let stratum = *strata.entry(stratum(config, cell)).or_insert(next);
        let (dose, acts) = (cell.config().shocks.p_shock, acts(cell));
        let fitted = growth.map(|growth| growth.fit(if acts { dose } else { 0.0 }, &played));
        let first = *path_of_settings.entry(hash.clone()).or_insert(paths.len());
        paths.extend(fitted.unwrap_or_else(|| own_paths(&played)));
        let shared = if config.study().paired { String::new() } else { hash };
        for world in 0..count {
            let path = first + world as usize % played.len().max(1);
            let run = PlannedExposure { path, dose, acts, stratum, world: 0 };
            let draws = (0..config.study().draws).map(|_| (run, world, shared.clone()));
            plans.extend(draws);
        }
    }
    // Worlds are numbered by replicate: those of a design with fewer replicates come first.
    plans.sort_by_key(|(_, world, _)| *world);
    for (run, world, shared) in plans {
        let next = worlds.len() as u32;
        let world = *worlds.entry((shared, world)).or_insert(next);
        runs.push(PlannedExposure { world, ..run });
    }
    PowerDesign::new(paths, runs).map_err(|error| refused(config, error))
}

/// What a design lacks is a mistake of its configuration.
pub(super) fn refused(config: &Config, error: AnalysisError) -> ExperimentError {
    let problem =
        ConfigProblem::Contradiction { key: config.file().into(), why: error.to_string() };
    problem.into()
}

fn own_paths(played: &[&PlayedGame]) -> Vec<ExposurePath> {
    played.iter().map(|game| game.path.clone()).collect()
}

/// The cells, each once, with its hash.
fn distinct_cells(config: &Config) -> Vec<(&Cell, String)> {
    let mut seen = BTreeSet::new();
    let hashed = config.cells().iter().map(|cell| (cell, hash_of(cell.values())));
    hashed.filter(|(_, hash)| seen.insert(hash.clone())).collect()
}

/// Whether a cell's shocks change something.
fn acts(cell: &Cell) -> bool {
    let shocks = &cell.config().shocks;
    shocks.p_shock > 0.0 && shocks.observability != Observability::Sham
}

/// The stratum of a cell's runs in the analysis.
fn stratum(config: &Config, cell: &Cell) -> String {
    let level = |key: &'static str| {
        let value = cell.values().get(key).filter(|value| !value.is_null())?;
        Some((key.to_string(), level_text(value)))
    };
    let levels = config.grid().iter().filter_map(|(key, _)| level(key)).collect();
    stratum_name(cell.actor_name(), &levels, None)
}

/// A level as text, without the quotes of JSON.
pub(super) fn level_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_string)
}

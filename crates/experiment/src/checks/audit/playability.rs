//! Plays the worlds of each cell with scripted operators: whether they can be won, and how many of
//! the drawn shocks act.

use super::detector_reach::can_fire;
use super::label;
use crate::checks::estimate::first_dropped_step;
use crate::config::{AgentPolicy, Cell, CellConfig, Config};
use crate::error::ExperimentError;
use crate::identity::{hash_of, world_seed};
use crate::run::episode::Episode;
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use warehouse::Design;

/// Maximum number of worlds that are played.
const WORLDS_MAX: u64 = 20;

/// A cell as scripted operators play it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CellPlay {
    /// The levels of the factors.
    pub cell: String,
    /// Number of worlds that were played.
    pub worlds: u64,
    /// Share of the worlds in which the operator reaches the horizon.
    pub careful: f64,
    /// `None` in design v1.
    pub adaptive: Option<f64>,
    /// Mean net worth of the careful operator at the end.
    pub net_worth: f64,
    /// Share of the drawn shocks that changed something, for the careful operator; `None` without
    /// shocks and in design v1.
    pub applied: Option<f64>,
    /// Mean exposure of the careful operator at the end; `None` in design v1.
    pub exposure: Option<f64>,
    /// The step in which the oldest exchanges are first left out of a prompt, as estimated; `None`
    /// if all fit, and without a model.
    pub first_dropped_step: Option<u64>,
    /// Names of the crash detectors that can fire.
    pub detectors: Vec<&'static str>,
}

/// Games of one operator in the worlds of a cell.
#[derive(Debug, Clone, Copy, Default)]
struct Games {
    horizon: u64,
    net_worth: f64,
    drawn: u64,
    applied: u64,
    exposure: f64,
}

/// Plays all distinct cells. Cells that differ in the agent alone are played once.
///
/// # Errors
/// A cell has settings of the world that contradict each other.
pub fn play_cells(config: &Config) -> Result<Vec<CellPlay>, ExperimentError> {
    let worlds = config.worlds_min().min(WORLDS_MAX);
    let mut known: BTreeMap<String, CellPlay> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let mut all = Vec::new();
    for cell in config.cells() {
        if !seen.insert(hash_of(cell.values())) {
            continue;
        }
        let key = hash_of(&world_values(cell));
        let played = match known.get(&key) {
            Some(played) => played.clone(),
            None => known.entry(key).or_insert(play_cell(config, cell, worlds)?).clone(),
        };
        all.push(CellPlay {
            cell: label(config, cell),
            first_dropped_step: first_dropped_step(config, cell)?,
            detectors: can_fire(cell.config()),
            ..played
        });
    }
    Ok(all)
}

/// The values on which the course of a scripted game depends.
pub(in crate::checks) fn world_values(cell: &Cell) -> BTreeMap<&'static str, Value> {
    let of_agent = |key: &str| key.starts_with("model.") || key.starts_with("agent.");
    let values = cell.values().iter().filter(|(key, _)| !of_agent(key));
    values.map(|(key, value)| (*key, value.clone())).collect()
}

fn play_cell(config: &Config, cell: &Cell, worlds: u64) -> Result<CellPlay, ExperimentError> {
    let settings = cell.config();
    let careful = play(config, settings, AgentPolicy::Careful, worlds)?;
    let since_v2 = settings.design != Design::V1;
    let adaptive = match since_v2 {
        true => Some(play(config, settings, AgentPolicy::Adaptive, worlds)?),
        false => None,
    };
    let share = |games: Games| games.horizon as f64 / worlds as f64;
    Ok(CellPlay {
        cell: String::new(),
        worlds,
        careful: share(careful),
        adaptive: adaptive.map(share),
        net_worth: careful.net_worth / worlds as f64,
        applied: (careful.drawn > 0).then(|| careful.applied as f64 / careful.drawn as f64),
        exposure: since_v2.then_some(careful.exposure / worlds as f64),
        first_dropped_step: None,
        detectors: Vec::new(),
    })
}

fn play(
    config: &Config,
    cell: &CellConfig,
    policy: AgentPolicy,
    worlds: u64,
) -> Result<Games, ExperimentError> {
    let mut games = Games::default();
    let settings = cell.played_by(policy);
    for replicate in 0..worlds {
        let seed = world_seed(config.study().seed, replicate, None);
        let end = Episode::play_scripted(&settings, seed)?;
        games.horizon += u64::from(end.reached_horizon);
        games.net_worth += end.net_worth;
        games.drawn += end.drawn;
        games.applied += end.applied;
        games.exposure += end.exposure;
    }
    Ok(games)
}

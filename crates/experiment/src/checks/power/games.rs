//! Games of a scripted operator, for the exposure that runs accumulate.

use super::super::audit::world_values;
use crate::config::{AgentPolicy, Cell, CellConfig, Config};
use crate::error::ExperimentError;
use crate::identity::{hash_of, world_seed};
use crate::run::episode::Episode;
use analysis::power::ExposurePath;
use base::in_parallel;
use std::collections::BTreeMap;

/// Most worlds that are played with the same settings. Further worlds have the paths of the first
/// ones again, and effects of their own.
const WORLDS_PLAYED_MAX: u64 = 40;

/// A game of the careful operator: what a run accumulates that does not crash.
#[derive(Debug, Clone)]
pub(super) struct PlayedGame {
    pub path: ExposurePath,
    /// Exposure after the last step.
    pub exposure_at_end: f64,
}

/// Settings and number of the world of a game.
type GameKey = (String, u64);

/// All games played so far. Cells that differ in the agent alone share games.
#[derive(Debug, Default)]
pub(super) struct GameLibrary {
    games: BTreeMap<GameKey, PlayedGame>,
}

/// A game to be played.
struct GameToPlay {
    key: GameKey,
    settings: CellConfig,
    seed: u64,
}

impl GameLibrary {
    /// The games of a cell's first worlds, by number.
    pub fn of_cell(&self, cell: &Cell, worlds: u64) -> Vec<&PlayedGame> {
        let settings = hash_of(&world_values(cell));
        let key = |world| (settings.clone(), world);
        (0..worlds.min(WORLDS_PLAYED_MAX)).filter_map(|world| self.games.get(&key(world))).collect()
    }

    /// Plays the games of all cells that were not yet played.
    ///
    /// # Errors
    /// A cell has settings of the world that contradict each other.
    pub fn play(
        &mut self,
        config: &Config,
        lag: u64,
        threads: usize,
    ) -> Result<(), ExperimentError> {
        let mut missing: BTreeMap<GameKey, GameToPlay> = BTreeMap::new();
        for cell in config.cells() {
            let settings = hash_of(&world_values(cell));
            let worlds = config.study().replications_of(cell.values()).min(WORLDS_PLAYED_MAX);
            for world in 0..worlds {
                let key = (settings.clone(), world);
                if self.games.contains_key(&key) || missing.contains_key(&key) {
                    continue;
                }
                let seed = world_seed(config.study().seed, world, None);
                let settings = cell.config().played_by(AgentPolicy::Careful);
                missing.insert(key.clone(), GameToPlay { key, settings, seed });
            }
        }
        let missing: Vec<GameToPlay> = missing.into_values().collect();
        let played = in_parallel(threads, &missing, |game| game.play(lag));
        for (game, played) in missing.into_iter().zip(played) {
            self.games.insert(game.key, played?);
        }
        Ok(())
    }
}

impl GameToPlay {
    fn play(&self, lag: u64) -> Result<PlayedGame, ExperimentError> {
        let mut episode = Episode::of_cell("power", &self.settings, self.seed)?;
        let mut after_step = Vec::new();
        while let Some(row) = episode.advance_scripted() {
            let exposure = row.exposure.map_or(0.0, |row| row.total());
            after_step.push(exposure);
        }
        let end = after_step.len() as u64;
        // A game that is never at risk has no time at risk: its entry is its end.
        let entry = episode.risk().and_then(|risk| risk.entry_time).unwrap_or(end);
        Ok(PlayedGame {
            path: ExposurePath::lagged(entry, &after_step, lag),
            exposure_at_end: after_step.last().copied().unwrap_or(0.0),
        })
    }
}

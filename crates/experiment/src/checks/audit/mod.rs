//! Audit of a configuration, without a model: are its factors alive, its worlds enough and
//! winnable, and does a crash mean the same in each cell?

mod dead_factors;
mod detector_reach;
mod playability;

use crate::config::{Cell, Config};
use crate::error::ExperimentError;
pub use dead_factors::DeadFactor;
use dead_factors::dead_factors;
pub(super) use playability::world_values;
pub use playability::{CellPlay, play_cells};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// Number of worlds below which no contrast of cells can be tested: with 5 worlds, a test of signs
/// has no p below .06, and robust errors find effects three times as often as they should.
pub const WORLDS_MIN: u64 = 10;

/// What an audit found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AuditReport {
    /// Dotted keys of all factors.
    pub factors: Vec<String>,
    /// Number of cells that were compared for dead factors.
    pub cells: usize,
    pub dead: Vec<DeadFactor>,
    /// The smallest number of worlds of a cell.
    pub worlds: u64,
    /// One entry for each distinct cell, in the order of the grid.
    pub played: Vec<CellPlay>,
    /// Detectors that can fire in some cells only: name -> whether they can fire, cell by cell.
    pub uneven_detectors: BTreeMap<String, Vec<bool>>,
}

impl AuditReport {
    /// Whether some factor has levels without a difference in effect.
    pub fn has_dead_factors(&self) -> bool {
        !self.dead.is_empty()
    }

    /// Whether a crash means the same in all cells.
    pub fn detectors_are_even(&self) -> bool {
        self.uneven_detectors.is_empty()
    }
}

/// Audits a configuration.
///
/// # Errors
/// A cell has settings that contradict each other.
pub fn audit(config: &Config) -> Result<AuditReport, ExperimentError> {
    let (cells, dead) = dead_factors(config)?;
    let played = play_cells(config)?;
    Ok(AuditReport {
        factors: config.factors(),
        cells,
        dead,
        worlds: config.worlds_min(),
        uneven_detectors: detector_reach::uneven(&played),
        played,
    })
}

/// The levels of the factors in a cell, such as `p_shock=0.1 pe_mag=low`; "all" without factors.
fn label(config: &Config, cell: &Cell) -> String {
    let level = |key: &str| {
        let value = cell.values().get(key).unwrap_or(&Value::Null);
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_string);
        let name = key.rsplit('.').next().unwrap_or(key);
        (!value.is_null()).then(|| format!("{name}={text}"))
    };
    let levels: Vec<String> = config.grid().iter().filter_map(|(key, _)| level(key)).collect();
    if levels.is_empty() { "all".to_string() } else { levels.join(" ") }
}

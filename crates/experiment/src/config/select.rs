//! Choice of one cell and one world of a configuration.

use super::{Cell, Config, PlannedRun};
use crate::error::{ConfigProblem, ExperimentError};
use crate::identity::{self, hash_of};
use crate::provider::ProviderInfo;
use serde_json::Value;
use std::collections::BTreeMap;

/// Which cell of a configuration is meant; by default the only one.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CellChoice {
    /// Number of the cell, counted from 1 in the order of [`Config::distinct_cells`].
    pub number: Option<usize>,
    /// Values of the cell by dotted key.
    pub levels: BTreeMap<String, Value>,
}

impl Config {
    /// The cells without repetitions, in the order of the grid.
    pub fn distinct_cells(&self) -> Vec<&Cell> {
        let mut seen = std::collections::BTreeSet::new();
        self.cells().iter().filter(|cell| seen.insert(hash_of(cell.values()))).collect()
    }

    /// The number of a cell, counted from 1.
    pub fn cell_number(&self, cell: &Cell) -> usize {
        let hash = hash_of(cell.values());
        1 + self.distinct_cells().iter().take_while(|c| hash_of(c.values()) != hash).count()
    }

    /// The chosen cell.
    ///
    /// # Errors
    /// No cell is chosen, or several are.
    pub fn choose_cell(&self, choice: &CellChoice) -> Result<&Cell, ExperimentError> {
        let cells = self.distinct_cells();
        let wrong =
            |key: &str, why| Err(ConfigProblem::Contradiction { key: key.to_string(), why }.into());
        if let Some(number) = choice.number {
            return match number.checked_sub(1).and_then(|index| cells.get(index)) {
                Some(cell) if has(cell, &choice.levels) => Ok(*cell),
                Some(_) => {
                    wrong("cell", format!("cell {number} has other levels than those given"))
                }
                None => wrong("cell", format!("expected 1 to {}, found {number}", cells.len())),
            };
        }
        if let Some(key) = choice.levels.keys().find(|key| super::keys::find(key).is_none()) {
            return wrong(key, "expected the dotted name of a key, found no such key".into());
        }
        let chosen: Vec<&&Cell> = cells.iter().filter(|cell| has(cell, &choice.levels)).collect();
        match chosen.as_slice() {
            [one] => Ok(**one),
            many => {
                let why = format!(
                    "expected levels that one of {} cells has, found {}: give the cell's number, or \
                     levels of {}",
                    cells.len(),
                    many.len(),
                    self.factors().join(", ")
                );
                wrong("cell", why)
            }
        }
    }

    /// The run of a cell in the world of a replicate, or in the world of `seed`, by an agent of
    /// this identity.
    pub(crate) fn run_of(
        &self,
        cell: &Cell,
        replicate: u64,
        seed: Option<u64>,
        info: &ProviderInfo,
    ) -> PlannedRun {
        let run = self.planned(cell, replicate, 0, info);
        let Some(seed) = seed else { return run };
        let run_id = identity::run_id(cell.values(), &info.identity, &info.dtype, seed, 0);
        PlannedRun { run_id, seed, ..run }
    }

    /// All runs that people play.
    pub fn human_runs(&self) -> Vec<PlannedRun> {
        self.runs_by_name().into_iter().filter(|run| run.cell.is_human()).collect()
    }

    /// The levels of a cell as text, in the order of the factors; empty without factors.
    pub fn levels_text(&self, cell: &Cell) -> String {
        let level = |(key, _): &(&'static str, Vec<Value>)| {
            let value = cell.values().get(key)?;
            (!value.is_null()).then(|| format!("{key}={}", plain(value)))
        };
        self.grid().iter().filter_map(level).collect::<Vec<_>>().join(" ")
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_string)
}

/// Whether the cell has all these values. Numbers are compared as numbers: 1 and 1.0 are equal.
fn has(cell: &Cell, levels: &BTreeMap<String, Value>) -> bool {
    levels.iter().all(|(key, wanted)| {
        cell.values().get(key.as_str()).is_some_and(|value| {
            value == wanted || value.is_number() && value.as_f64() == wanted.as_f64()
        })
    })
}

//! Which crash detectors can fire in a cell.

use super::CellPlay;
use crate::agent::ReplyMode;
use crate::config::CellConfig;
use std::collections::BTreeMap;
use warehouse::{CrashType, Design, PredictionFormat, PredictionMode};

/// Names of the detectors that can fire in the cell.
pub(super) fn can_fire(cell: &CellConfig) -> Vec<&'static str> {
    let possible = |kind: &&CrashType| match kind {
        CrashType::Abandonment => cell.design != Design::V1,
        // Scripted operators write no summary.
        CrashType::SlowDivergence => cell.model.is_some() && writes_summaries(cell),
        CrashType::ExplorationCollapse => cell.env.max_steps >= cell.detectors.window_size as u64,
        CrashType::Looping
        | CrashType::InvalidBurst
        | CrashType::BudgetDenial
        | CrashType::Decoupling => true,
    };
    CrashType::ALL.iter().filter(possible).map(|kind| kind.label()).collect()
}

/// Whether replies have a summary of the agent's state, which `slow_divergence` compares.
fn writes_summaries(cell: &CellConfig) -> bool {
    let interface = &cell.interface;
    cell.agent.reply_mode == ReplyMode::Text
        || interface.prediction_format == PredictionFormat::Rich
        || matches!(interface.prediction_mode, PredictionMode::Uncertainty | PredictionMode::Full)
}

/// The detectors that can fire in some of the cells only.
pub(super) fn uneven(cells: &[CellPlay]) -> BTreeMap<String, Vec<bool>> {
    let in_cells = |kind: &CrashType| -> Vec<bool> {
        cells.iter().map(|cell| cell.detectors.contains(&kind.label())).collect()
    };
    let reach = CrashType::ALL.iter().map(|kind| (kind.label().to_string(), in_cells(kind)));
    reach.filter(|(_, cells)| cells.contains(&true) && cells.contains(&false)).collect()
}

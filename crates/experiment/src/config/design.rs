//! The two designs of the experiment: which keys each has, and their defaults. Cells of design v1
//! have exactly the values that they had before there was another design, so that their run ids
//! stay the same.

use super::cell::CellValues;
use super::person::PLAYER_KEY;
use super::thinking::THINKING_KEY;
use serde_json::{Value, json};
use warehouse::Design;

/// The key of the design.
pub(super) const DESIGN_KEY: &str = "experiment.design";

/// Keys of cells that design v1 does not have.
pub(super) const SINCE_V2: [&str; 5] = [
    DESIGN_KEY,
    "demand.max_lost_share",
    "crash_detector.divergence_below",
    "agent.hazard",
    "agent.beta",
];
/// Keys of the study that design v1 does not have.
pub(super) const STUDY_SINCE_V2: [&str; 4] =
    ["experiment.phase", "experiment.replications_by", "experiment.draws", FAMILIES_KEY];

const FAMILIES_KEY: &str = "analysis.families";

/// Whether a key came after the first studies of design v2: it is recorded where it is set, so that
/// their folders can be resumed.
pub(super) fn is_recorded_if_set(key: &str) -> bool {
    [FAMILIES_KEY, THINKING_KEY, PLAYER_KEY].contains(&key)
}

/// Defaults of design v1 that differ from those of the key table.
pub(super) fn v1_defaults() -> [(&'static str, Value); 2] {
    [
        ("pe_induction.observability", json!("full")),
        ("crash_detector.continue_after_crash", json!(50)),
    ]
}

/// The design of a cell. Cells without one were stored by a version that knew design v1 only.
pub(super) fn design_of(values: &CellValues) -> Design {
    match values.get(DESIGN_KEY) {
        Some(value) if value == Design::V2.label() => Design::V2,
        _ => Design::V1,
    }
}

/// Removes the keys that the cell's design does not have.
pub(super) fn remove_other_keys(values: &mut CellValues) {
    if design_of(values) == Design::V1 {
        SINCE_V2.iter().for_each(|key| drop(values.remove(key)));
    }
}

/// Whether design v1 has the key, of a cell or of the study.
pub(super) fn is_v1_key(key: &str) -> bool {
    !SINCE_V2.contains(&key) && !STUDY_SINCE_V2.contains(&key)
}

//! One step derived again from its recorded reply, and the comparison with what was recorded.

use crate::error::ExperimentError;
use crate::run::episode::{Episode, StepInput};
use results::StepRow;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// One step again. A scripted operator acts again: its own state moves on, and its reply is derived
/// too.
pub(crate) fn retrace(episode: &mut Episode, recorded: &StepRow) -> StepRow {
    let answer = episode.scripted_answer().unwrap_or_else(|| StepInput::of(recorded));
    episode.take(answer)
}

/// The first field in which two rows differ, as an error.
pub(crate) fn difference(
    path: &Path,
    line: usize,
    derived: &StepRow,
    recorded: &StepRow,
) -> Result<(), ExperimentError> {
    compare(path, line, derived, recorded)
}

pub(crate) fn compare<T: serde::Serialize>(
    path: &Path,
    line: usize,
    derived: &T,
    recorded: &T,
) -> Result<(), ExperimentError> {
    // As text first: that is quick, and nearly always the same.
    if let (Ok(derived), Ok(recorded)) =
        (serde_json::to_string(derived), serde_json::to_string(recorded))
        && derived == recorded
    {
        return Ok(());
    }
    let (derived, recorded) = (fields(derived), fields(recorded));
    let differs = |name: &&String| derived.get(*name) != recorded.get(*name);
    let Some(field) = derived.keys().chain(recorded.keys()).find(differs) else { return Ok(()) };
    let words = |fields: &BTreeMap<String, String>| {
        clip(fields.get(field).map_or("absent", String::as_str))
    };
    Err(ExperimentError::Diverged {
        path: path.to_path_buf(),
        line,
        field: field.clone(),
        expected: words(&derived),
        found: words(&recorded),
    })
}

/// Fields as they are written: compared to the last digit, and what was read back is written again
/// first.
fn fields<T: serde::Serialize>(row: &T) -> BTreeMap<String, String> {
    match serde_json::to_value(row) {
        Ok(Value::Object(map)) => {
            map.into_iter().map(|(name, value)| (name, value.to_string())).collect()
        }
        _ => BTreeMap::new(),
    }
}

fn clip(text: &str) -> String {
    match text.char_indices().nth(300) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text.to_string(),
    }
}

//! Recomputes recorded steps and compares them with the stored rows.

use super::episode::{Episode, StepInput};
use crate::error::ExperimentError;
use results::StepRow;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// Maximum number of characters of a value that an error message quotes.
const QUOTED_CHARS_MAX: usize = 300;

/// Recomputes one step. A scripted operator acts again, because its internal state must advance;
/// the reply is then recomputed too. Otherwise the reply is the recorded one.
pub(crate) fn retrace(episode: &mut Episode, recorded: &StepRow) -> StepRow {
    let input = episode.scripted_input().unwrap_or_else(|| StepInput::of_row(recorded));
    episode.take(input)
}

/// Compares a recomputed row or record with the stored one.
///
/// # Errors
/// The two differ; the error names the first differing field.
pub(crate) fn compare_rows<T: Serialize>(
    path: &Path,
    line: usize,
    derived: &T,
    recorded: &T,
) -> Result<(), ExperimentError> {
    // Comparing the JSON texts is fast, and they are equal in nearly all cases.
    if let (Ok(derived), Ok(recorded)) =
        (serde_json::to_string(derived), serde_json::to_string(recorded))
        && derived == recorded
    {
        return Ok(());
    }
    let (derived, recorded) = (json_fields(derived), json_fields(recorded));
    let differs = |name: &&String| derived.get(*name) != recorded.get(*name);
    let Some(field) = derived.keys().chain(recorded.keys()).find(differs) else { return Ok(()) };
    let quote = |fields: &BTreeMap<String, String>| {
        truncate(fields.get(field).map_or("absent", String::as_str))
    };
    Err(ExperimentError::Diverged {
        path: path.to_path_buf(),
        line,
        field: field.clone(),
        expected: quote(&derived),
        found: quote(&recorded),
    })
}

/// The fields of a row as JSON texts, in which floats keep all their digits.
fn json_fields<T: Serialize>(row: &T) -> BTreeMap<String, String> {
    match serde_json::to_value(row) {
        Ok(Value::Object(map)) => {
            map.into_iter().map(|(name, value)| (name, value.to_string())).collect()
        }
        _ => BTreeMap::new(),
    }
}

fn truncate(text: &str) -> String {
    match text.char_indices().nth(QUOTED_CHARS_MAX) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text.to_string(),
    }
}

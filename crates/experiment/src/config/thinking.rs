//! The key `model.thinking`: its values, and the level of a cell.

use super::cell::CellValues;
use crate::provider::ModelThinking;
use serde_json::{Map, Value, json};
use std::borrow::Borrow;
use std::collections::BTreeMap;

/// The key. It came after the first studies of design v2: cells have it only where a model thinks,
/// so that the ids of earlier runs stay the same.
pub(super) const THINKING_KEY: &str = "model.thinking";
const MODEL_KEY: &str = "model.name";

/// The level of a cell, by the cell's values; `None` for a scripted operator.
fn thinking_of<K: Borrow<str> + Ord>(values: &BTreeMap<K, Value>) -> Option<ModelThinking> {
    values.get(MODEL_KEY).filter(|name| !name.is_null())?;
    let value = values.get(THINKING_KEY).filter(|value| !value.is_null());
    value.map_or(Some(ModelThinking::Off), |value| serde_json::from_value(value.clone()).ok())
}

/// The text of the level that a cell has in tables, if `key` is this key and the cell has a model.
pub(crate) fn thinking_label<K: Borrow<str> + Ord>(
    key: &str,
    values: &BTreeMap<K, Value>,
) -> Option<String> {
    thinking_of(values).filter(|_| key == THINKING_KEY).map(ModelThinking::label)
}

/// Removes the key from a cell whose agent does not think.
pub(super) fn remove_if_off(values: &mut CellValues) {
    if matches!(thinking_of(values), None | Some(ModelThinking::Off)) {
        values.remove(THINKING_KEY);
    }
}

/// The canonical form of a value of the key; `None` if it is not accepted. A budget of 0 is `off`.
/// YAML parsers may read `on` and `off` as flags.
pub(super) fn canonical_thinking(value: &Value, budget_max: u64) -> Option<Value> {
    let budget = |map: &Map<String, Value>| match map.len() {
        1 => map.get("budget").and_then(Value::as_u64).filter(|tokens| *tokens <= budget_max),
        _ => None,
    };
    match value {
        Value::String(text) if text == "off" || text == "on" => Some(value.clone()),
        Value::Bool(on) => Some(json!(if *on { "on" } else { "off" })),
        Value::Object(map) => Some(match budget(map)? {
            0 => json!("off"),
            tokens => json!({"budget": tokens}),
        }),
        _ => None,
    }
}

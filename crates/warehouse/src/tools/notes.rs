//! The agent's scratchpad.

use super::{CallOutcome, ToolResult};
use crate::state::WorldState;
use crate::tool_call::{ToolCall, clip};
use serde_json::json;

/// Maximum length of a key or a note, in characters.
const NOTE_CHARS_MAX: usize = 2000;
const NOTES_MAX: usize = 100;

pub(super) fn write(state: &mut WorldState, call: &ToolCall) -> ToolResult {
    let (key, text) = (call.text_argument("key")?, call.text_argument("text")?);
    if text.chars().count() > NOTE_CHARS_MAX || key.chars().count() > NOTE_CHARS_MAX {
        return Err(format!("a note has at most {NOTE_CHARS_MAX} characters"));
    }
    if state.scratchpad.len() >= NOTES_MAX && !state.scratchpad.contains_key(key) {
        return Err(format!("there are {NOTES_MAX} notes already; delete one"));
    }
    state.scratchpad.insert(key.to_owned(), text.to_owned());
    Ok(CallOutcome::done(json!({"kept": key})))
}

pub(super) fn delete(state: &mut WorldState, call: &ToolCall) -> ToolResult {
    let key = call.text_argument("key")?;
    match state.scratchpad.remove(key) {
        Some(_) => Ok(CallOutcome::done(json!({"deleted": key}))),
        None => Err(format!("there is no note {:?}", clip(key))),
    }
}

//! Cells that a person plays, and the key `agent.player`, their pseudonym.

use super::cell::CellValues;
use crate::error::ConfigProblem;
use crate::provider::ProviderInfo;
use serde_json::Value;

/// The key. Cells have it only where a player is named, so that the ids of earlier runs stay the
/// same.
pub(super) const PLAYER_KEY: &str = "agent.player";
/// Maximum length of a pseudonym, which is a part of the name of a folder.
const PLAYER_CHARS_MAX: usize = 40;

/// Removes the key from a cell that no named person plays.
pub(super) fn remove_unless_named(values: &mut CellValues) {
    let human = values.get("agent.policy").is_some_and(|policy| policy == "human");
    if !human || values.get(PLAYER_KEY).is_some_and(Value::is_null) {
        values.remove(PLAYER_KEY);
    }
}

/// Fails unless the pseudonym, if there is one, can be a part of a file name.
pub(super) fn check_player(player: Option<&str>) -> Result<(), ConfigProblem> {
    let Some(player) = player else { return Ok(()) };
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if (1..=PLAYER_CHARS_MAX).contains(&player.len()) && player.chars().all(plain) {
        return Ok(());
    }
    let why = format!(
        "expected 1 to {PLAYER_CHARS_MAX} letters, digits, _ and -, found {}",
        Value::from(player)
    );
    Err(ConfigProblem::Contradiction { key: PLAYER_KEY.into(), why })
}

/// The provider information of people, whose identity is part of their run ids.
pub(crate) fn human_info() -> ProviderInfo {
    ProviderInfo {
        identity: "human".to_string(),
        dtype: "none".to_string(),
        rung: String::new(),
        kernel_set: "none".to_string(),
        context_length: None,
    }
}

//! [`ModelThinking`]: whether a model thinks before each reply.

use serde::{Deserialize, Serialize};

/// Whether a model thinks before each reply.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ModelThinking {
    #[default]
    Off,
    /// Until the model ends it.
    On,
    /// For at most this many tokens; then its end is forced.
    Budget(u64),
}

impl ModelThinking {
    /// Maximum number of tokens; `None` without a limit.
    pub fn budget(self) -> Option<u64> {
        match self {
            ModelThinking::Off => Some(0),
            ModelThinking::On => None,
            ModelThinking::Budget(tokens) => Some(tokens),
        }
    }

    /// Description in tables: `off`, `on`, `budget 512`.
    pub fn label(self) -> String {
        match self {
            ModelThinking::Off => "off".to_string(),
            ModelThinking::On => "on".to_string(),
            ModelThinking::Budget(tokens) => format!("budget {tokens}"),
        }
    }
}

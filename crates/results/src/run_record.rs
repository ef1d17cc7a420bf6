use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// `run.json`: the commit of a run. Its presence says that the run is done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// [`crate::SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Hash of the effective cell, model, dtype and seed.
    pub run_id: String,
    /// The effective configuration of the cell: dotted key -> value.
    pub cell: BTreeMap<String, Value>,
    /// Which repeat of the cell, from 0.
    pub replicate: u64,
    /// The world's seed; equal where runs are paired.
    pub seed: u64,
    /// The model's name.
    pub model: String,
    /// What it really was: blob ids, or headers and sizes.
    pub model_identity: String,
    /// The dtype that it computed in.
    pub dtype: String,
    /// The kernel set and the revision of its arithmetic: `avx512/2`.
    pub kernel_set: String,
    /// How the world ended: horizon, ruin, expired, abandoned, crash.
    pub outcome: String,
    /// Steps taken.
    pub steps: u64,
    /// The last day.
    pub days: u64,
    /// Customer orders shipped.
    pub orders_shipped: u64,
    /// Cash and stock at cost at the end.
    pub net_worth: f64,
    /// Mean of the known errors by type; null where none was ever known.
    pub mean_pe: BTreeMap<String, Option<f64>>,
    /// The first crash, if any.
    pub crash: Option<CrashRecord>,
    /// All that fired.
    pub crashes: Vec<CrashRecord>,
    /// Shocks that occurred.
    pub shocks: u64,
    /// Replies that were no action, by kind.
    pub parse_failures: BTreeMap<String, u64>,
    /// Required cards that were absent or bad.
    pub cards_missing: u64,
    /// Tokens of all prompts.
    pub prompt_tokens: u64,
    /// Tokens of all replies.
    pub reply_tokens: u64,
    /// Figures that only some configurations have (calibration, ...).
    #[serde(default)]
    pub extra: Value,
    /// The log that holds the rows, and what it must be.
    pub rows: RowsRecord,
    /// All that depends on the machine, apart from the rest: two records of one run may differ
    /// here and nowhere else.
    pub timing: Timing,
}

/// A crash as a detector saw it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CrashRecord {
    /// looping, invalid_burst, ...
    #[serde(rename = "type")]
    pub kind: String,
    /// The first step of its window.
    pub onset_step: u64,
    /// The step in which the detector fired.
    pub detected_step: u64,
    /// soft, hard or abandoned; none while that is not known.
    pub severity: Option<String>,
}

/// What a committed log holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowsRecord {
    /// Rows.
    pub lines: u64,
    /// Bytes.
    pub bytes: u64,
    /// The chain's value after the last row.
    pub chain: String,
}

/// What depends on the machine and the day.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Timing {
    /// The attempt whose `steps.<attempt>.jsonl` is the run's.
    pub attempt: u64,
    /// Steps that were replayed from an earlier attempt.
    pub steps_replayed: u64,
    /// Wall time of this attempt in seconds.
    pub seconds: f64,
    /// Of these, spent waiting for replies.
    pub reply_seconds: f64,
    /// Reply tokens of this attempt (replayed steps cost none).
    pub reply_tokens: u64,
    /// Prompt tokens of this attempt that came from the prefix cache.
    pub cached_prompt_tokens: u64,
    /// The host.
    pub host: String,
    /// The rung of the ladder of fallbacks by which the model was loaded; empty where none was.
    #[serde(default)]
    pub rung: String,
    /// Seconds since 1970 at the commit.
    pub committed_unix_s: u64,
}

impl Timing {
    /// Reply tokens per second of waiting, in this attempt.
    pub fn tokens_per_s(&self) -> Option<f64> {
        (self.reply_seconds > 0.0).then(|| self.reply_tokens as f64 / self.reply_seconds)
    }
}

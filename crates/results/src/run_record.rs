//! The record of a finished run, `run.json`, and of a failed attempt, `failed.<attempt>.json`.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// `run.json`: the commit of a run. The run is done once it exists.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// [`crate::SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Hash of the effective cell, model, dtype and seed.
    pub run_id: String,
    /// The effective configuration of the cell: dotted key -> value.
    pub cell: BTreeMap<String, Value>,
    /// Index of the repeat, from 0.
    pub replicate: u64,
    /// The world's seed; equal where runs are paired.
    pub seed: u64,
    pub model: String,
    /// Hash of the weights: blob ids, or headers and sizes.
    pub model_identity: String,
    /// The dtype of the computation.
    pub dtype: String,
    /// The kernel set and the revision of its arithmetic: `avx512/2`.
    pub kernel_set: String,
    /// How the episode ended: horizon, ruin, expired, abandoned, crash.
    pub outcome: String,
    pub steps: u64,
    pub days: u64,
    pub orders_shipped: u64,
    /// Cash, and stock at cost, at the end.
    pub net_worth: f64,
    /// Mean of the known errors by kind; null where none was known.
    pub mean_pe: BTreeMap<String, Option<f64>>,
    /// The first crash.
    pub crash: Option<CrashRecord>,
    /// One per detector that fired.
    pub crashes: Vec<CrashRecord>,
    pub shocks: u64,
    /// Replies without a valid action, by kind.
    pub parse_failures: BTreeMap<String, u64>,
    /// Required cards that were absent or malformed.
    pub cards_missing: u64,
    pub prompt_tokens: u64,
    pub reply_tokens: u64,
    /// Figures of some configurations only (calibration, ...).
    #[serde(default)]
    pub extra: Value,
    /// Length and chain value of the log.
    pub rows: RowsRecord,
    /// All that depends on the machine. Two records of one run may differ here and nowhere else.
    pub timing: Timing,
}

/// A crash as its detector reported it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CrashRecord {
    /// looping, invalid_burst, ...
    #[serde(rename = "type")]
    pub kind: String,
    /// The first step of its window.
    pub onset_step: u64,
    /// The step in which the detector fired.
    pub detected_step: u64,
    /// soft, hard or abandoned; `None` while that is not known.
    pub severity: Option<String>,
}

/// Length and chain value of a committed log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowsRecord {
    pub lines: u64,
    pub bytes: u64,
    /// The chain's value after the last row.
    pub chain: String,
}

/// Times, host and other values that depend on the machine.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Timing {
    /// The committed attempt: its log is `steps.<attempt>.jsonl`.
    pub attempt: u64,
    /// Steps that were replayed from an earlier attempt.
    pub steps_replayed: u64,
    /// Wall time of this attempt in seconds.
    pub seconds: f64,
    /// Part of `seconds` that was spent waiting for replies.
    pub reply_seconds: f64,
    /// Reply tokens of this attempt (replayed steps cost none).
    pub reply_tokens: u64,
    /// Prompt tokens of this attempt that came from the prefix cache.
    pub cached_prompt_tokens: u64,
    pub host: String,
    /// The rung of the ladder of fallbacks that loaded the model; empty without a model.
    #[serde(default)]
    pub rung: String,
    /// Unix time of the commit.
    pub committed_unix_s: u64,
}

impl Timing {
    /// Reply tokens of this attempt per second of waiting for replies.
    pub fn tokens_per_s(&self) -> Option<f64> {
        (self.reply_seconds > 0.0).then(|| self.reply_tokens as f64 / self.reply_seconds)
    }
}

/// `failed.<attempt>.json`: why an attempt ended without a result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunFailure {
    pub attempt: u64,
    /// The step that failed.
    pub step: u64,
    pub reason: String,
}

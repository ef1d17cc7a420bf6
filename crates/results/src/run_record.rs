//! The record of a finished run, `run.json`, and of a failed attempt, `failed.<attempt>.json`.

use crate::accumulated::{DoseRow, ExposureRow};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// `run.json`: the commit of a run. A run is done once this file exists.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Format version, [`crate::SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Hash of the effective cell configuration, model identity, dtype and world seed.
    pub run_id: String,
    /// The effective configuration of the cell: dotted key -> value.
    pub cell: BTreeMap<String, Value>,
    /// Index of the seeded repeat, from 0.
    pub replicate: u64,
    /// Seed of the world; the same in all cells of a replicate if the experiment is paired.
    pub seed: u64,
    pub model: String,
    /// Hash that identifies the weights, from blob ids or from file headers and sizes; for a remote
    /// model, its name.
    pub model_identity: String,
    /// Dtype of the model's computation.
    pub dtype: String,
    /// Kernel set and revision of its arithmetic, such as `avx512/3`.
    pub kernel_set: String,
    /// Version of the experiment's design; `None` in design v1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub design: Option<String>,
    /// Number of the run among those of its cell in its world, from 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub draw: u64,
    /// What happened first: `horizon`, `ruin`, `expired` or `crash`; since design v2 also
    /// `never_competent`, and `crash` only for a primary crash after the entry.
    pub outcome: String,
    /// The times at risk; `None` in design v1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risk: Option<RiskRecord>,
    pub steps: u64,
    pub days: u64,
    pub orders_shipped: u64,
    /// Cash, plus stock and supplier orders in transit at the cheapest price, at the end.
    pub net_worth: f64,
    /// Mean prediction error by kind, since design v2 by field; null without a known error.
    pub mean_pe: BTreeMap<String, Option<f64>>,
    /// The crash that was detected first.
    pub crash: Option<CrashRecord>,
    /// All crashes in the order of their detection; in design v1 the first one of each detector.
    pub crashes: Vec<CrashRecord>,
    /// Shocks that acted; in design v1 all that were drawn.
    pub shocks: u64,
    /// Shocks by type; `None` in design v1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dose: Option<DoseRow>,
    /// Accumulated delivery errors at the end; `None` in design v1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exposure: Option<ExposureRow>,
    /// Measures of the agent's calls; `None` in design v1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<RunMetrics>,
    /// Maximum number of tokens of prompt and reply; `None` in design v1 and without a model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_length: Option<u64>,
    /// Number of replies without a valid action, by kind.
    pub parse_failures: BTreeMap<String, u64>,
    /// Number of steps with a card problem: a required card is absent, or a card is malformed or
    /// has invalid fields.
    pub cards_missing: u64,
    pub prompt_tokens: u64,
    pub reply_tokens: u64,
    /// Additional measures: expired orders, published mean errors, calibration.
    #[serde(default)]
    pub extra: Value,
    /// Length and chain value of the log.
    pub rows: RowsRecord,
    /// All values that depend on the machine. Two records of the same run may differ only in these.
    pub timing: Timing,
}

/// When a run was at risk, and what ended that time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RiskRecord {
    /// How the episode ended: `horizon`, `ruin`, `expired` or `crash`.
    pub ending: String,
    /// The step after which the run is at risk: the last of its first twenty that belong to no
    /// primary crash, once a supplier order was delivered. `None` if the agent never was competent.
    pub entry_time: Option<u64>,
    /// Onset of the first primary crash after the entry, or the last step.
    pub event_time: u64,
    /// `crash:<detector>`, `ruin`, `expired` or `horizon`.
    pub event_type: String,
}

/// Measures of an agent's calls over a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct RunMetrics {
    /// Share of steps that write, read or delete notes.
    pub scratchpad_use: f64,
    /// Largest number of identical calls in a row.
    pub repeat_streak: u64,
    /// Entropy of the tools called, in nats.
    pub tool_diversity: f64,
    /// Share of steps that call another tool than the step before.
    pub switching_rate: f64,
    /// Share of steps that only read.
    pub monitoring_rate: f64,
    /// Cash lost per day, in currency units; negative if it grew.
    pub budget_burn: f64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// A crash, as reported by its detector.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CrashRecord {
    /// Name of the detector: `looping`, `invalid_burst`, ...
    #[serde(rename = "type")]
    pub kind: String,
    /// First step of the crash, within the detector's window.
    pub onset_step: u64,
    /// The step in which the detector fired.
    pub detected_step: u64,
    /// The first step in which the detector no longer fired; `None` if it fired until the end, and
    /// in design v1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovered_step: Option<u64>,
    /// `soft`, `hard` or `abandoned`; `None` while the severity is not known.
    pub severity: Option<String>,
}

/// Length and chain value of a committed log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowsRecord {
    pub lines: u64,
    pub bytes: u64,
    /// Chain value after the last row.
    pub chain: String,
}

/// Times, host and other values that depend on the machine.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Timing {
    /// Number of the committed attempt, whose log is `steps.<attempt>.jsonl`.
    pub attempt: u64,
    /// Number of steps replayed from an earlier attempt.
    pub steps_replayed: u64,
    /// Wall time of this attempt in seconds.
    pub seconds: f64,
    /// Part of `seconds` that was spent waiting for replies.
    pub reply_seconds: f64,
    /// Reply tokens generated by this attempt, without those of replayed steps.
    pub reply_tokens: u64,
    /// Prompt tokens of this attempt that came from the prefix cache.
    pub cached_prompt_tokens: u64,
    pub host: String,
    /// The rung (attempt) of the fallback ladder that loaded the model; empty if no model was
    /// loaded.
    #[serde(default)]
    pub rung: String,
    /// Unix time of the commit, in seconds.
    pub committed_unix_s: u64,
}

impl Timing {
    /// Reply tokens generated by this attempt per second of waiting for replies; `None` if there
    /// was no waiting.
    pub fn tokens_per_s(&self) -> Option<f64> {
        (self.reply_seconds > 0.0).then(|| self.reply_tokens as f64 / self.reply_seconds)
    }
}

/// `failed.<attempt>.json`: why an attempt ended without a result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunFailure {
    pub attempt: u64,
    /// Number of the failed step, counted from 1.
    pub step: u64,
    pub reason: String,
}

//! One row of `steps.<attempt>.jsonl`.

use crate::raw_json::RawJson;
use crate::run_record::CrashRecord;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// One message of the prompt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromptMessage {
    /// system, user or assistant.
    pub role: Cow<'static, str>,
    pub content: String,
}

/// A reply without a valid action. It counts as an outcome: it is recorded and shown to the agent,
/// and no action replaces it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParseFailure {
    /// cut_off, invalid_json, schema_mismatch, refusal, no_call, several_calls.
    pub kind: String,
    /// The problem, as the agent reads it.
    pub detail: String,
}

/// A tool call, as passed to the world.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ActionRow {
    pub tool: String,
    pub arguments: Map<String, Value>,
}

/// The world's answer to a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResultRow {
    /// Whether the call succeeded.
    pub success: bool,
    pub failure: Option<String>,
    /// The tool's answer, as data.
    pub answer: Value,
}

/// One scored field of a card.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PairRow {
    /// The step of the card.
    pub card_step: u64,
    pub field: Cow<'static, str>,
    /// temporal, quantity, cost or causal.
    pub kind: Cow<'static, str>,
    pub predicted: f64,
    pub actual: f64,
    /// |predicted - actual| / max(|actual|, 1); for causal 0 or 1.
    pub error: f64,
    /// |predicted - actual| / max(|predicted|, 1): the published form.
    pub error_published: f64,
}

/// Similarity of the agent's summary to its first summaries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SimilarityRow {
    /// Identity of the embedding model.
    pub embedder: String,
    /// Cosine of the summary's embedding and the mean embedding of the first eight summaries.
    pub cosine: f64,
}

/// One step of a run. A row depends only on the run's seed and the replies, not on clock, host or
/// cache.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepRow {
    pub run_id: String,
    /// Counted from 1.
    pub step: u64,
    /// The world's day, from 1.
    pub day: u64,
    /// Messages added to the conversation since the last reply. These messages, the replies and
    /// the history policy determine each prompt completely. Where exchanges are dropped, the
    /// prices at the head of the first observation and a line about the gap precede the first
    /// kept message.
    pub prompt: Vec<PromptMessage>,
    /// Number of oldest exchanges dropped from this request.
    #[serde(default)]
    pub history_dropped: u64,
    /// Seed of the sampler in this step.
    pub sampling_seed: u64,
    /// The complete reply.
    pub reply: String,
    /// Finish reason: stop, length or deadline.
    pub finish: Cow<'static, str>,
    /// Set if the reply holds no valid action.
    pub parse_failure: Option<ParseFailure>,
    pub action: Option<ActionRow>,
    /// The prediction card as the agent gave it.
    pub card: Option<Value>,
    /// Why a required card is missing, or what is wrong with the card.
    #[serde(default)]
    pub card_problem: Option<String>,
    pub result: ResultRow,
    /// Prediction errors that became known in this step: kind -> mean, null where none did.
    pub pe: BTreeMap<Cow<'static, str>, Option<f64>>,
    /// The scored fields.
    #[serde(default)]
    pub pe_pairs: Vec<PairRow>,
    /// EWMA and window means after this step.
    #[serde(default)]
    pub pe_scales: RawJson,
    /// Shocks of this step, each with its effect.
    pub shocks: Vec<RawJson>,
    /// Crash detectors that fired in this step, each with its onset.
    pub crashes: Vec<CrashRecord>,
    /// Input of the crash detectors, for running them again on this log.
    #[serde(default)]
    pub detector: RawJson,
    /// Set where embeddings are available.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub similarity: Option<SimilarityRow>,
    /// Figures of the world after the step (cash, stock, orders shipped, ...).
    #[serde(default)]
    pub state: RawJson,
    /// How the episode ended, in its last row.
    #[serde(default)]
    pub ending: Option<String>,
    pub prompt_tokens: u64,
    pub reply_tokens: u64,
    /// Kernel set of the row, if it differs from the folder's (--accept-mixed).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mixed_kernels: Option<String>,
}
